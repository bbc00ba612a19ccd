"""Records: frozen, strict, and with ids that mean what they say."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from toolkit.types import SWAPPED, WINNERS, Battle, Completion, Message, Rating, Record, Score, Vote, digest

word = st.text(max_size=12)
battle = st.builds(
    Battle,
    example_id=word,
    messages=st.lists(st.builds(Message, role=st.just("user"), content=word), max_size=2).map(tuple),
    model_a=word,
    model_b=word,
    completion_a=word,
    completion_b=word,
)


def kinds(root: type[Record]) -> list[type[Record]]:
    return [kind for child in root.__subclasses__() for kind in (child, *kinds(child))]


OURS = sorted((k for k in kinds(Record) if k.__module__ == "toolkit.types"), key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.__name__)
def test_every_record_is_frozen_and_refuses_unknown_fields(kind):
    assert kind.model_config["frozen"]
    assert kind.model_config["extra"] == "forbid"


def test_a_record_cannot_be_changed():
    score = Score(contestant="c", metric="m", value=1.0, n=3)
    with pytest.raises(ValidationError, match="frozen"):
        score.value = 2.0


@given(battle)
def test_the_same_battle_has_the_same_id_and_another_has_not(first):
    again = Battle.model_validate_json(first.model_dump_json())
    assert again.id == first.id
    for change in (
        {"completion_a": first.completion_a + "."},
        {"reference": "another reference"},
        {"messages": (*first.messages, Message(role="user", content="and?"))},
        {"messages_b": (Message(role="user", content="and?"),)},
    ):
        assert first.model_copy(update=change).id != first.id
    for names in ({"model_b": first.model_b + "."}, {"example_id": first.example_id + "."}):
        assert first.model_copy(update=names).id == first.id
        assert first.model_copy(update=names).former_id != first.former_id


def test_texts_are_not_run_together_in_a_digest():
    assert digest("ab", "c") != digest("a", "bc")
    assert len(digest("x")) == 16


def test_swapping_twice_is_nothing():
    assert {SWAPPED[SWAPPED[outcome]] == outcome for outcome in WINNERS} == {True}
    assert list(SWAPPED) == list(WINNERS)


def test_a_completion_is_one_line_with_the_documented_keys():
    row = Completion(
        example_id="e",
        contestant="c",
        messages=(Message(role="user", content="one\ntwo"),),
        completion="a\nb\u2028c",
        finish="stop",
        tokens=2,
    )
    line = row.model_dump_json()
    assert "\n" not in line
    assert set(json.loads(line)) == {
        "example_id",
        "contestant",
        "messages",
        "completion",
        "reference",
        "finish",
        "tokens",
    }
    assert json.loads(row.model_copy(update={"category": "lamps"}).model_dump_json())["category"] == "lamps"
    assert row.id == "e/c"


def test_machine_output_has_the_documented_keys():
    assert set(Score.model_fields) == {"contestant", "metric", "value", "low", "high", "n"}
    assert set(Rating.model_fields) == {"contestant", "value", "low", "high", "battles", "rank"}


def test_a_vote_weighs_at_least_nothing():
    with pytest.raises(ValidationError, match="weight"):
        Vote(model_a="x", model_b="y", outcome="a", weight=-1)


@pytest.mark.parametrize(
    ("text", "reasoning", "answer"),
    [
        ("plain", None, "plain"),
        ("<think>\nhm\n</think>\n\nyes", "hm", "yes"),
        ("hm\n</think>\n\nyes", "hm", "yes"),  # the template began the thought
        ("<think>\nnever done", "never done", ""),
        ("analysisIt is easy.assistantfinalyes", "It is easy.", "yes"),
        (
            "Write `<think>` before and `</think>` after.",
            None,
            "Write `<think>` before and `</think>` after.",
        ),
        ("<think></think>yes", "", "yes"),
    ],
)
def test_thinking_is_kept_apart_from_the_answer(text, reasoning, answer):
    fields = {"example_id": "e", "contestant": "c", "messages": [], "finish": "stop", "tokens": 1}
    made = Completion.model_validate(fields | {"completion": text})
    assert (made.reasoning, made.completion) == (reasoning, answer)
    assert Completion.model_validate_json(made.model_dump_json()) == made
    assert ("reasoning" in made.model_dump()) is (reasoning is not None)
