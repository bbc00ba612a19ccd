"""What a row says is what is learned, or the row is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from toolkit.data import Conversation, Preference, Rated, load_examples, load_rows
from toolkit.data.formats import RowError, convert, passed_over
from toolkit.errors import DataError
from toolkit.recipe import DataSource


def user(text: str) -> dict:
    return {"role": "user", "content": text}


def reply(text: str, **more: object) -> dict:
    return {"role": "assistant", "content": text, **more}


def turns(messages) -> list[str]:
    return [f"{turn.role[0]}:{turn.content}" for turn in messages]


HISTORY = [user("q1"), reply("a1"), user("q2")]


@pytest.mark.parametrize(
    "row",
    [
        {"chosen": [*HISTORY, reply("yes")], "rejected": [*HISTORY, reply("no")]},
        {"prompt": HISTORY, "chosen": [reply("yes")], "rejected": [reply("no")]},
        {"prompt": HISTORY, "chosen": [*HISTORY, reply("yes")], "rejected": [*HISTORY, reply("no")]},
        {"prompt": [user("q1")], "chosen": [reply("a1"), user("q2"), reply("yes")],
         "rejected": [reply("a1"), user("q2"), reply("no")]},
        {"prompt": "q1", "chosen": [*HISTORY, reply("yes")], "rejected": [*HISTORY, reply("no")]},
        {"prompt": HISTORY, "chosen": "yes", "rejected": "no"},
        {"chosen": "\n\nHuman: q1\n\nAssistant: a1\n\nHuman: q2\n\nAssistant: yes",
         "rejected": "\n\nHuman: q1\n\nAssistant: a1\n\nHuman: q2\n\nAssistant: no"},
        {"prompt": "\n\nHuman: q1\n\nAssistant: a1\n\nHuman: q2\n\nAssistant:", "chosen": "yes",
         "rejected": "no"},
    ],
)  # fmt: skip
def test_the_common_beginning_is_the_prompt(row):
    pair = convert(row, "auto", "x")
    assert isinstance(pair, Preference)
    assert (turns(pair.prompt), pair.chosen, pair.rejected) == (["u:q1", "a:a1", "u:q2"], "yes", "no")


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"chosen": [*HISTORY, reply("yes")], "rejected": [user("q1"), reply("b1"), user("q2"), reply("no")]},
         r"differ before their last answers \(turn 2\)"),
        ({"chosen": [*HISTORY, reply("yes")], "rejected": [user("q1"), reply("no")]}, "differ before"),
        ({"chosen": "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d",
          "rejected": "\n\nHuman: a\n\nAssistant: x\n\nHuman: c\n\nAssistant: d"}, "differ before"),
        ({"prompt": "other", "chosen": [user("q"), reply("yes")], "rejected": [user("q"), reply("no")]},
         "`prompt` is not what `chosen` answers"),
        ({"chosen": [user("q"), reply("a")], "rejected": [user("q"), reply("a")]}, "are the same"),
        ({"chosen": [user("q"), reply("a"), user("x")], "rejected": [user("q"), reply("a"), user("y")]},
         "does not end with an assistant turn"),
        ({"prompt": "q", "completion": [reply("a"), user("b"), reply("c")], "label": True}, "several turns"),
        ({"messages": [user("q"), reply("", tool_calls=[{"name": "f"}])]}, r"\[1\] calls tools"),
        ({"messages": [user("q"), reply("a")], "tools": [{"name": "f"}]}, "`tools` cannot be learned"),
        ({"messages": [user("q"), reply("a")], "images": ["x.png"]}, "`images` cannot be learned"),
        ({"messages": [user("q"), reply("a")], "weight": 0.5}, "`weight` is 0.5"),
        ({"messages": [user("q"), reply("a", weight=0.5)]}, r"\[1\] has weight 0.5"),
        ({"messages": [user("q"), reply("a", weight=0)]}, "no assistant turn is to be learned"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}, reply("a")]}, "part of type"),
        ({"messages": [user("q"), reply("\u200b\ufeff")]}, r"\[1\] is empty"),
        ({"instruction": "q", "output": "a", "history": "x"}, "`history` is not a list"),
        ({"instruction": "q", "output": "a", "history": [["x"]]}, r"`history`\[0\]"),
        ({"system": "one", "messages": [{"role": "system", "content": "two"}, user("q"), reply("a")]},
         "different system turns"),
        ({"prompt": "q", "completion": "a", "label": "maybe"}, "`label` is 'maybe'"),
        ({"prompt": "q", "completion": "a", "label": -1}, "`label` is -1"),
        ({"messages": [user("q") | {"name": "bob"}, reply("a")]}, r"\[0\] has `name`, which cannot"),
        ({"messages": [user("q"), reply("a", loss_weight=0.1)]}, r"\[1\] has `loss_weight`"),
        ({"messages": [user("q"), reply("a", train=True, loss=0)]}, r"\[1\] has loss 0, and another mark"),
        ({"messages": [user("q") | {"train": True}, reply("a")]}, "only the assistant's turns can be"),
        ({"messages": [user("q") | {"thinking": "t"}, reply("a")]}, r"\[0\] has thinking, and is not"),
        ({"messages": [user("q"), reply("<think>t</think>a", thinking="t")]}, "two of it; keep one"),
        ({"messages": [user("q"), reply("a", thinking="t", reasoning="u")]}, "two of it; keep one"),
        ({"prompt": [user("q")], "completion": [reply("a", weight=0)]}, "no assistant turn is to be learned"),
        ({"prompt": "q", "chosen": "a", "rejected": [reply("b", train=False)]}, "`rejected` is marked"),
        ({"messages": [user("q"), reply("a", weight=0)], "label": 1}, "its answer is marked as not"),
        ({"messages": [user("q"), reply("a")], "documents": [{"text": "k"}]}, "`documents` cannot"),
        ({"messages": [user("q"), reply("a")], "kto_tag": False}, "set `rename: {kto_tag: label}`"),
        ({"messages": [user("q"), reply([{"type": "thinking", "text": "t"}])]}, "part of type 'thinking'"),
        ({"prompt": "q", "completion": "<think>no end"}, "`completion` is thinking without an answer"),
        ({"prompt": "q", "completion": "a", "train": False}, "`train` is False"),
        ({"prompt": "q", "completion": "a", "system_prompt": "s"}, "set `rename: {system_prompt: system}`"),
        ({"prompt": "q", "completion": "a", "system": ["s"]}, "`system` is not text"),
        ({"instruction": "q", "input": ["x"], "output": "a"}, "`input` is not text"),
        ({"messages": [user("q"), reply("a")], "prompt": "q", "completion": "b"},
         "one conversation as `messages`, another as `prompt_completion`; set `format`"),
    ],
)  # fmt: skip
def test_what_cannot_be_honoured_is_refused(row, problem):
    with pytest.raises(RowError, match=problem):
        convert(row, "auto", "x")


def test_answers_of_the_prompt_are_context_and_those_of_the_completion_are_learned():
    row = {"prompt": HISTORY, "completion": [reply("a2"), user("q3"), reply("a3")]}
    found = convert(row, "auto", "x")
    assert isinstance(found, Conversation)
    assert turns(found.messages) == ["u:q1", "a:a1", "u:q2", "a:a2", "u:q3", "a:a3"]
    assert found.unlearned == (1,)
    marked = {"prompt": 1, "completion": [reply("a", weight=0), user("q2"), reply("a2")]}
    assert convert(marked, "auto", "x").model_dump(include={"unlearned"}) == {"unlearned": (1,)}
    with_system = convert({**row, "system": "s"}, "auto", "x")
    assert isinstance(with_system, Conversation)
    assert with_system.unlearned == (2,)


def test_marks_of_turns_that_are_not_learned_are_kept():
    for mark in ({"weight": 0}, {"train": False}, {"loss": 0, "train": False}):
        found = convert(
            {"messages": [user("q"), reply("a", **mark), user("r"), reply("b", weight=1)]}, "auto", "x"
        )
        assert isinstance(found, Conversation)
        assert found.unlearned == (1,)
    plain = convert({"messages": [user("q"), reply("a", weight=None, train=True)]}, "auto", "x")
    assert "unlearned" not in plain.model_dump()


def test_reasoning_text_parts_history_and_developer_turns_are_read():
    parts = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]
    row = {"messages": [{"role": "developer", "content": "s"}, {"role": "user", "content": parts},
                        reply("a", reasoning_content="why", tool_calls=None)]}  # fmt: skip
    found = convert(row, "auto", "x")
    assert turns(found.messages) == ["s:s", "u:one two", "a:<think>\nwhy\n</think>\n\na"]
    alpaca = convert(
        {"instruction": "q2", "input": 0, "output": "a2", "history": [["q1", "a1"]]}, "auto", "x"
    )
    assert turns(alpaca.messages) == ["u:q1", "a:a1", "u:q2\n\n0", "a:a2"]


def test_notes_on_turns_and_a_second_form_of_the_same_conversation_are_no_mistakes():
    noted = {"id": 3, "created_at": "2026", "language": "en", "toxic": False, "name": None, "tool_calls": []}
    row = {"messages": [user("q") | noted, reply("a", **noted)], "prompt": "q", "completion": "a"}
    found = convert(row, "auto", "x")
    assert turns(found.messages) == ["u:q", "a:a"]


@pytest.mark.parametrize(
    ("label", "expected"),
    [("true", True), ("False", False), ("1", True), (" 0 ", False), (1.0, True), (0, False)],
)
def test_labels_of_csv_files_are_read(label, expected):
    row = convert({"prompt": "q", "completion": "a", "label": label}, "auto", "x")
    assert isinstance(row, Rated)
    assert row.desirable is expected


def test_a_labelled_conversation_is_a_rated_answer():
    told = [{"from": "human", "value": "q1"}, {"from": "gpt", "value": "a1"}, user("q2"), reply("a2")]
    for turned in ({"messages": [*HISTORY, reply("a2")]}, {"conversations": told}):
        for label in (False, 0, "false"):
            row = convert({**turned, "label": label}, "auto", "x")
            assert isinstance(row, Rated)
            assert turns(row.prompt) == ["u:q1", "a:a1", "u:q2"]
            assert (row.completion, row.desirable) == ("a2", False)
    assert isinstance(
        convert({"messages": [*HISTORY, reply("a2")], "label": "news"}, "auto", "x"), Conversation
    )


def test_what_is_not_read_of_a_row_is_named():
    row = {"messages": [user("q") | {"id": 3}, reply("a")], "system": "s", "topic": "art", "score": None}
    assert passed_over({**row, "input": "i"}) == {"topic", "input", "id of turns"}
    assert passed_over({"instruction": "q", "input": "i", "output": "o"}) == set()


def source(path: Path, *rows: object, **fields: object) -> DataSource:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return DataSource(source=str(path), **fields)


def test_references_are_answers_without_their_thinking(tmp_path):
    row = {"prompt": "q", "completion": "<think>\nhm\n</think>\n\nyes"}
    (example,) = load_examples(source(tmp_path / "d.jsonl", row))
    assert example.reference == "yes"


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"rename": {"qq": "question"}}, "rename: no row has a column `qq`"),
        ({"rename": {"other": "prompt"}}, r"d\.jsonl:1: after `rename`, two columns are called `prompt`"),
        ({"filter": "score > 1"}, r"d\.parquet:2: .*score is not a number"),
    ],
)
def test_renames_and_filters_that_go_wrong_in_silence_are_refused(tmp_path, fields, problem):
    rows = [
        {"prompt": f"q{i}", "completion": "a", "other": "o", "score": 2.0 if i % 2 == 0 else None}
        for i in range(3)
    ]
    found = source(tmp_path / "d.jsonl", *rows, **fields)
    if "filter" in fields:
        import pandas as pd
        import pyarrow as pa
        from pyarrow import parquet

        table = pa.Table.from_pandas(pd.DataFrame(rows).assign(score=1.0)).set_column(
            3, "score", pa.array([2.0, float("nan"), 2.0])
        )
        parquet.write_table(table, tmp_path / "d.parquet")
        found = found.model_copy(update={"source": str(tmp_path / "d.parquet")})
    with pytest.raises(DataError, match=problem):
        load_rows(found)


def test_a_limit_bounds_reading(tmp_path):
    rows = [{"prompt": f"q{i}", "completion": "a"} for i in range(3)]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "not json\n")
    assert len(load_rows(DataSource(source=str(tmp_path / "d.jsonl"), limit=2)).rows) == 2
    with pytest.raises(DataError, match=r"d\.jsonl:4"):
        load_rows(DataSource(source=str(tmp_path / "d.jsonl")))


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"prompt": "a", "completion": "b", "context": "c"}, "`context` is not read beside `prompt`"),
        ({"prompt": "a", "completion": "b", "input": "c"}, "`input` is not read beside `prompt`"),
        ({"prompt": "a", "chosen": "b", "rejected": "c", "history": [["x", "y"]]}, "`history` is not read"),
        ({"instruction": "a", "output": "b", "context": "c"}, "set `rename: {context: input}`"),
    ],
)
def test_a_part_of_the_question_is_not_dropped(row: dict[str, object], problem: str):
    with pytest.raises(RowError, match=problem):
        convert(row, "auto", "r")
    convert(row | dict.fromkeys(row.keys() & {"context", "input", "history"}, ""), "auto", "r")
