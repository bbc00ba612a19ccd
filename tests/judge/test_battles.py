from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.judge.example_battles import completion
from toolkit.errors import DataError
from toolkit.judge.battles import build_battles
from toolkit.judge.prompts import load_prompt, render
from toolkit.judge.verdicts import Comparison
from toolkit.recipe import Judge
from toolkit.types import Completion, Message

FIELD = {name: [completion(name, i, f"{name} {i}") for i in range(6)] for name in ("base", "sft", "dpo")}


def test_all_pairs_meet_on_every_example():
    battles = build_battles(FIELD, Judge())
    assert len(battles) == 3 * 6
    assert {(b.model_a, b.model_b) for b in battles} == {("base", "sft"), ("base", "dpo"), ("sft", "dpo")}
    assert battles[0].completion_a == "base 0"


def test_a_baseline_meets_everyone_else():
    battles = build_battles(FIELD, Judge(pairs="baseline", baseline="base"))
    assert {(b.model_a, b.model_b) for b in battles} == {("sft", "base"), ("dpo", "base")}


def test_a_limit_keeps_the_same_seeded_examples_for_every_pair():
    battles = build_battles(FIELD, Judge(limit=2), seed=3)
    examples = {b.example_id for b in battles}
    assert len(examples) == 2
    assert len(battles) == 3 * 2
    assert examples == {b.example_id for b in build_battles(FIELD, Judge(limit=2), seed=3)}
    assert any(
        examples != {b.example_id for b in build_battles(FIELD, Judge(limit=2), seed=s)} for s in range(5)
    )


def test_battles_that_lack_an_answer_are_left_out_and_reported(caplog: pytest.LogCaptureFixture):
    battles = build_battles({"base": FIELD["base"], "sft": FIELD["sft"][:4]}, Judge())
    assert len(battles) == 4
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
        build_battles(field, judge)


def test_a_budget_is_spread_evenly_over_pairs_and_categories():
    field = {
        name: [
            row.model_copy(update={"category": "sums" if int(row.example_id) < 4 else "poems"})
            for row in rows
        ]
        for name, rows in FIELD.items()
    }
    battles = build_battles(field, Judge(budget=7), seed=1)
    pairs = Counter((b.model_a, b.model_b) for b in battles)
    assert len(battles) == 7
    assert max(pairs.values()) - min(pairs.values()) <= 1
    assert {b.category for b in battles} == {"sums", "poems"}


@given(st.integers(1, 18), st.integers(0, 5))
def test_a_larger_budget_keeps_what_was_judged(budget: int, seed: int):
    smaller = {b.id for b in build_battles(FIELD, Judge(budget=budget), seed)}
    assert len(smaller) == budget
    assert smaller <= {b.id for b in build_battles(FIELD, Judge(budget=budget + 3), seed)}


def test_own_earlier_turns_are_kept_apart_and_other_questions_refused():
    def second_turn(contestant: str, first_answer: str, question: str = "And why?") -> Completion:
        turns = [("user", "What?"), ("assistant", first_answer), ("user", question)]
        messages = tuple(Message(role=role, content=text) for role, text in turns)
        return completion(contestant, 0).model_copy(update={"messages": messages})

    (battles,) = build_battles({"x": [second_turn("x", "this")], "y": [second_turn("y", "that")]}, Judge())
    assert [battles.messages[1].content, battles.messages_b[1].content] == ["this", "that"]
    ab, ba = (Comparison(battles, order).case() for order in ("ab", "ba"))
    assert [history[1].content for history in ba.histories] == ["that", "this"]
    _, requested = render(load_prompt("multi-turn"), "letter", ab)
    assert requested.content.index("this") < requested.content.index("that")
    with pytest.raises(DataError, match="example 0: x and y answered different prompts"):
        build_battles({"x": [second_turn("x", "this")], "y": [second_turn("y", "that", "How?")]}, Judge())
