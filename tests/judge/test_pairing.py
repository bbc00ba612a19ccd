from __future__ import annotations

import pytest

from tests.judge.battlefield import completion
from toolkit.errors import DataError
from toolkit.judge import battles
from toolkit.recipe import Judge

FIELD = {name: [completion(name, i, f"{name} {i}") for i in range(6)] for name in ("base", "sft", "dpo")}


def test_all_pairs_meet_on_every_example():
    fought = battles(FIELD, Judge())
    assert len(fought) == 3 * 6
    assert {(b.model_a, b.model_b) for b in fought} == {("base", "sft"), ("base", "dpo"), ("sft", "dpo")}
    assert fought[0].completion_a == "base 0"


def test_a_baseline_meets_everyone_else():
    fought = battles(FIELD, Judge(pairs="baseline", baseline="base"))
    assert {(b.model_a, b.model_b) for b in fought} == {("sft", "base"), ("dpo", "base")}


def test_a_limit_keeps_the_same_seeded_examples_for_every_pair():
    fought = battles(FIELD, Judge(limit=2), seed=3)
    examples = {b.example_id for b in fought}
    assert len(examples) == 2
    assert len(fought) == 3 * 2
    assert examples == {b.example_id for b in battles(FIELD, Judge(limit=2), seed=3)}
    assert any(examples != {b.example_id for b in battles(FIELD, Judge(limit=2), seed=s)} for s in range(5))


def test_battles_that_lack_an_answer_are_left_out_and_said(caplog: pytest.LogCaptureFixture):
    fought = battles({"base": FIELD["base"], "sft": FIELD["sft"][:4]}, Judge())
    assert len(fought) == 4
    assert "2 answers are missing" in caplog.text


@pytest.mark.parametrize(
    ("field", "judge", "message"),
    [
        ({"base": FIELD["base"]}, Judge(), "takes two contestants, and there is base"),
        (FIELD, Judge(pairs="baseline", baseline="best"), "best has no completions; known: base, sft, dpo"),
        ({"base": [*FIELD["base"], FIELD["base"][3]], "sft": []}, Judge(), "example 3 is answered twice"),
    ],
)
def test_what_cannot_be_paired_is_named(field: dict, judge: Judge, message: str):
    with pytest.raises(DataError, match=message):
        battles(field, judge)
