"""Worked examples from training rows: which are drawn, how many, what fits, where answers end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from toolkit import recipe as recipes
from toolkit.data.chat import with_prompt
from toolkit.data.formats import Conversation, Preference, Rated, Row
from toolkit.errors import DataError, RecipeError
from toolkit.metrics import Measurement
from toolkit.recipe import Contestant, with_fewshot_baseline
from toolkit.run.checks.config import _tokenizers
from toolkit.run.checks.rows import HeldOut
from toolkit.run.checks.template import shots_fit
from toolkit.run.folder import RunFolder
from toolkit.run.plan import plan_steps
from toolkit.run.resolve import Execution
from toolkit.run.shots import Choice, Exchange, Measure, Reader, draw_exchanges, exchange_of, stop_strings
from toolkit.types import Example, Message


def turns(*texts: str, system: str = "") -> tuple[Message, ...]:
    roles = ("user", "assistant")
    found = [Message(role=roles[i % 2], content=text) for i, text in enumerate(texts)]  # type: ignore[arg-type]
    return (*([Message(role="system", content=system)] if system else []), *found)


def row(number: int, answer: str | None = None) -> Conversation:
    text = f"please tell me about the thing numbered {number} today"
    return Conversation(id=f"r{number}", messages=turns(text, answer or f"Thing: {number}\nColour: red"))


def exchanges(count: int) -> list[Exchange]:
    return draw_exchanges([row(i) for i in range(count)], [], seed=0)


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        (Conversation(id="a", messages=turns("q", "x", "more", "y", system="be kind")), "x"),
        (Conversation(id="a", messages=turns("q", "<think>hm</think>x")), "x"),
        (Conversation(id="a", messages=turns("q", "x", "more", "y"), unlearned=(1,)), None),
        (Preference(id="a", prompt=turns("q"), chosen="x", rejected="y"), "x"),
        (Rated(id="a", prompt=turns("q"), completion="x", desirable=True), "x"),
        (Rated(id="a", prompt=turns("q"), completion="x", desirable=False), None),
    ],
)
def test_only_answers_to_learn_from_are_worked_examples(options: Row, answer: str | None):
    found = exchange_of(options)
    assert (found.answer.content if found else None) == answer
    assert found is None or found.question.content == "q"


def test_no_held_out_text_is_drawn_and_the_order_is_fixed():
    rows = [row(i) for i in range(30)]
    close = "PLEASE, tell me about the thing numbered 3 today"
    held = [
        Example(id="h", messages=turns(close, system="be kind")),
        Example(id="i", messages=turns("another question"), reference="Thing: 7\nColour: red"),
        Example(id="j", messages=turns("long"), references=("Thing: 8\nColour: red",)),
    ]
    drawn = draw_exchanges(rows, held, seed=0)
    assert {each.id for each in drawn} == {f"r{i}" for i in range(30)} - {"r3", "r7", "r8"}
    assert [each.id for each in draw_exchanges(rows, held, seed=0)] == [each.id for each in drawn]
    assert [each.id for each in draw_exchanges(rows, held, seed=1)] != [each.id for each in drawn]
    labels = [row(i, "this is a positive text") for i in range(30)]  # an answer of many rows is no leak
    same = Example(id="h", messages=turns("x y z"), reference="this is a positive text")
    assert len(draw_exchanges(labels, [same], seed=0)) == 30


def test_answers_stop_where_their_format_ends():
    assert stop_strings(exchanges(9)) == ("\n\n", "\nThing:")
    single = draw_exchanges([row(i, f"label {i}") for i in range(9)], [], seed=0)
    assert stop_strings(single) == ("\n",)
    mixed = draw_exchanges([row(i, f"{i}. one\n\n\n\nQ: two") for i in range(9)], [], seed=0)
    assert stop_strings(mixed) == ()
    assert stop_strings(exchanges(3)) == ()  # too few answers to know their format


def choice(count: int, window: int = 10**6, shots: Any = "auto") -> Choice:
    class Words:
        chat_template = "{% for m in messages %}{{ m.content }} {% endfor %}"

        def apply_chat_template(self, options: list[dict[str, str]], **_: Any) -> str:
            return " ".join(turn["content"] for turn in options)

        def __call__(self, texts: Any, **_: Any) -> dict[str, Any]:
            if isinstance(texts, str):
                return {"input_ids": [0] * len(texts.split())}
            return {"input_ids": [[0] * len(text.split()) for text in texts]}

        def decode(self, ids: list[int], **_: Any) -> str:
            return ""

    requested = [Example(id="t", messages=turns("one two three"))]
    return Choice(
        "few", Contestant(shots=shots), "rows", exchanges(count), requested, Reader(Words(), window)
    )


def by_table(
    scores: dict[int, float],
    tried: list[tuple[int, list[str]]],
    *,
    lower: bool = False,
    ties: dict[int, float] | None = None,
) -> Measure:
    def measure(worked: Any, rows: list[Example]) -> list[Measurement]:
        ids = tuple(each.id for each in rows)
        tried.append((worked.shots, list(ids)))
        values = tuple((scores[worked.shots],) for _ in ids)
        who = {"contestant": "few", "kind": "mean", "example_ids": ids}
        found = [Measurement(**who, metric="mine", rows=values, lower_is_better=lower)]
        if ties:
            found += [Measurement(**who, metric="rougeL", rows=tuple((ties[worked.shots],) for _ in ids))]
        return found

    return measure


def test_the_number_is_tuned_on_rows_that_are_not_shown():
    tried: list[tuple[int, list[str]]] = []
    found = choice(100).tuned(by_table({1: 0.2, 3: 0.6, 5: 0.6, 8: 0.1}, tried), "mine")
    assert (found.shots, found.metric, found.n) == (3, "mine", 40)  # of equal ones the smaller
    assert [count for count, _ in tried] == [1, 3, 5, 8]
    shown = {each.id for each in choice(100).exchanges[:8]}
    assert all(shown.isdisjoint(ids) and len(ids) == 40 for _, ids in tried)
    assert choice(100).tuned(by_table({1: 0.2, 3: 0.6, 5: 0.6, 8: 0.1}, [], lower=True), "mine").shots == 8
    nothing_right = by_table(dict.fromkeys((1, 3, 5, 8), 0.0), [], ties={1: 0.2, 3: 0.3, 5: 0.7, 8: 0.5})
    assert choice(100).tuned(nothing_right, "mine").shots == 5
    few = choice(6).tuned(by_table({1: 0.1, 3: 0.9}, tried), "mine")
    assert (few.shots, few.n) == (3, 3)


def test_worked_examples_that_do_not_fit_are_refused_or_left_out(caplog: pytest.LogCaptureFixture):
    room = 3 + 3 * 13  # three examples of 13 words before a question of three
    with pytest.raises(DataError, match=r"few.shots: 5 worked examples .* do not fit .*; at most 3 do"):
        choice(20, room).fixed(5)
    assert choice(20, room).fixed(3).shots == 3
    with pytest.raises(DataError, match="64 worked examples are more than 20 rows of `rows`"):
        choice(20).fixed(64)
    assert choice(100, room).tuned(by_table({1: 0.2, 3: 0.6}, []), "mine").shots == 3
    assert "few.shots: 5 or 8 worked examples do not fit" in caplog.text
    assert choice(100, 5).tuned(by_table({}, []), "mine").shots == 0
    assert "it is shown no worked example" in caplog.text


def test_system_turns_of_prompt_and_example_become_one():
    shown = with_prompt(turns("q", "x", system="task"), turns("now", system="be kind"))
    assert [turn.role for turn in shown] == ["system", "user", "assistant", "user"]
    assert shown[0].content == "task\n\nbe kind"
    assert with_prompt((), turns("now")) == turns("now")


def test_run_adds_a_fair_baseline_only_where_there_is_none(small_recipe: Path):
    raw = yaml.safe_load(small_recipe.read_text())
    del raw["scoring"]["fewshot_baseline"]

    def names(**changes: Any) -> list[str]:
        recipe = recipes.parse(raw | {"judge": None} | changes, small_recipe)
        return list(with_fewshot_baseline(recipe).contestants)

    assert names() == ["base", "base-fewshot", "sft", "dpo"]
    assert names(contestants={"sft": {"stage": "sft"}}) == ["base-fewshot", "sft"]
    assert names(contestants={"told": {"shots": 2}, "sft": {"stage": "sft"}}) == ["told", "sft"]
    assert names(stages=[]) == []
    assert names(scoring=raw["scoring"] | {"fewshot_baseline": False}) == []
    with pytest.raises(
        RecipeError, match=r"contestants.few.shots: should be `auto`, or a number from 1 to 64$"
    ):
        names(contestants={"few": {"shots": 0}})
    with pytest.raises(RecipeError, match=r"contestants.few.shots: no stage learns from rows with answers"):
        names(stages=[], contestants={"few": {"shots": 2}})


def test_a_run_draws_tunes_and_answers_and_does_nothing_twice(small_recipe: Path, tmp_path: Path):
    raw = yaml.safe_load(small_recipe.read_text())
    raw["contestants"] = {"base": {}, "few": {"shots": "auto"}, "two": {"shots": 2}}
    recipe = recipes.parse(raw, small_recipe)
    folder = RunFolder(tmp_path / "out" / "small")
    execution = Execution(recipe, folder)
    steps = {step.name: step for step in plan_steps(execution)}
    order = list(steps)
    assert order.index("shots few") < order.index("train sft")
    for name in ("shots few", "shots two", "answer two"):
        assert steps[name].inputs() == steps[name].inputs()
        steps[name].work()
        assert all(path.exists() for path in steps[name].outputs)
    few, two = (json.loads(folder.shots(name).read_text()) for name in ("few", "two"))
    assert few["metric"] == "rougeL"
    assert set(few["scores"]) == {"1", "3", "5"}
    assert few["n"] == 5
    assert [turn["content"] for turn in two["prompt"]] == [
        turn.content for turn in execution.prompt(execution.contestants[2])
    ]
    before = {file: file.stat().st_mtime_ns for file in folder.answers.glob("*.jsonl")}
    steps["shots few"].work()
    assert {file: file.stat().st_mtime_ns for file in folder.answers.glob("*.jsonl")} == before


def test_the_check_finds_shots_that_do_not_fit_and_letters_that_are_not_read(small_recipe: Path):
    raw = yaml.safe_load(small_recipe.read_text()) | {"judge": None}
    raw["contestants"] = {"few": {"shots": 3}, "many": {"shots": 60}, "sft": {"stage": "sft"}}
    recipe = recipes.parse(raw, small_recipe)
    rows, requested = (
        [row(i) for i in range(20)],
        [Example(id="t", messages=turns("one two three"), reference="кот 5")],
    )
    reader = choice(20).reader
    assert reader is not None
    (found,) = shots_fit(recipe, rows, requested, reader.tokenizer, None)
    assert (found.code, found.severity, found.place) == ("shots", "error", "contestants.many.shots")
    assert found.message.startswith("60 worked examples are more than 20 rows of `sft`")
    (found, *_) = _tokenizers(recipe, HeldOut(requested, ["heldout.jsonl:1"]))
    assert (found.code, found.message) == (
        "tokenizer",
        "ROUGE sees no words in 1 of 1 references: right answers get 0",
    )
    raw["scoring"]["tokenizer"] = "auto"
    assert not list(_tokenizers(recipes.parse(raw, small_recipe), HeldOut(requested, ["heldout.jsonl:1"])))
