"""Every common format reads into the same rows; bad rows are named by file and line."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.data import Conversation, Preference, Text, load_examples, load_rows, readers, split_heldout
from toolkit.data.filters import parse_filter
from toolkit.errors import DataError
from toolkit.recipe import DataSource

ASK, SAY = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}


def lines(path: Path, *rows: object) -> DataSource:
    path.write_text(
        "\n".join(json.dumps(row) for row in rows)
    )  # no newline at the end, as users' files have it
    return DataSource(source=str(path))


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [ASK, SAY]},
        {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]},
        {"instruction": "hi", "input": "", "output": "hello"},
        {"prompt": "hi", "completion": "hello"},
        {"prompt": [ASK], "completion": [SAY]},
    ],
)
def test_supervised_formats_agree(tmp_path, row):
    (found,) = load_rows(lines(tmp_path / "d.jsonl", row)).rows
    assert isinstance(found, Conversation)
    assert [(turn.role, turn.content) for turn in found.messages] == [("user", "hi"), ("assistant", "hello")]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "hi", "chosen": "yes", "rejected": "no"},
        {"prompt": [ASK], "chosen": [SAY | {"content": "yes"}], "rejected": [SAY | {"content": "no"}]},
        {"chosen": [ASK, SAY | {"content": "yes"}], "rejected": [ASK, SAY | {"content": "no"}]},
    ],
)
def test_preference_formats_agree(tmp_path, row):
    (found,) = load_rows(lines(tmp_path / "d.jsonl", row)).rows
    assert isinstance(found, Preference)
    assert (found.prompt[-1].content, found.chosen, found.rejected) == ("hi", "yes", "no")


@pytest.mark.parametrize("margin", ["much", True, "nan", [1]])
def test_a_margin_is_a_number(tmp_path, margin):
    pair = {"prompt": "hi", "chosen": "yes", "rejected": "no"}
    (found,) = load_rows(lines(tmp_path / "d.jsonl", pair | {"margin": "0.5"})).rows
    assert found.margin == 0.5
    with pytest.raises(DataError, match=r"d\.jsonl:1: `margin` is"):
        load_rows(lines(tmp_path / "d.jsonl", pair | {"margin": margin}))


def test_csv_parquet_json_and_text_files(tmp_path):
    frame = pd.DataFrame({"instruction": ["hi"], "output": ["hello"]})
    frame.to_csv(tmp_path / "d.csv", index=False)
    frame.to_parquet(tmp_path / "d.parquet")
    frame.to_json(tmp_path / "d.json", orient="records")
    for name in ("d.csv", "d.parquet", "d.json"):
        (row,) = load_rows(DataSource(source=str(tmp_path / name))).rows
        assert isinstance(row, Conversation)
    (tmp_path / "d.txt").write_text("one\n\ntwo\n")
    rows = load_rows(DataSource(source=str(tmp_path / "d.txt"))).rows
    assert [row.text for row in rows if isinstance(row, Text)] == ["one", "two"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("d.jsonl", '{"text": "one"}\n\n{"text": "two"}'),
        ("d.json", '[{"text": "one"},\n {"text": "two"}]'),
        ("d.csv", "text\none\ntwo"),
        ("d.txt", "one\n\ntwo"),
    ],
)
def test_a_byte_order_mark_and_windows_line_ends_are_no_part_of_a_text(tmp_path, name, text):
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    rows = load_rows(DataSource(source=str(tmp_path / name))).rows
    assert [row.text for row in rows if isinstance(row, Text)] == ["one", "two"]


@pytest.mark.parametrize(
    "name", ["./rows", "my rows", "~nobody/rows", "a\0b", "x/" * 3000, "x" * 300 + ".csv"]
)
def test_a_name_that_can_be_neither_a_file_nor_on_the_hub(name):
    with pytest.raises(DataError, match="no such"):
        load_rows(DataSource(source=name))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"messages": [ASK]}, "last turn is the user's"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "unknown role 'robot'"),
        ({"messages": [ASK, SAY | {"content": " "}]}, r"`messages`\[1\] is empty"),
        ({"prompt": "hi", "chosen": "a", "rejected": "a"}, "are the same"),
        ({"prompt": "", "completion": "a"}, "`prompt` is empty"),
        ({"chosen": "a", "rejected": "b"}, "no prompt: give a `prompt` column"),
        ({"conversations": 5}, "`conversations` is not a list of messages"),
        ({"question": "hi"}, "no known format"),
        ([1, 2], "a row is a JSON object"),
    ],
)
def test_a_bad_row_is_named_and_can_be_skipped(tmp_path, row, message):
    source = lines(tmp_path / "d.jsonl", {"messages": [ASK, SAY]}, row)
    with pytest.raises(DataError, match=rf"d\.jsonl:2: .*{message}"):
        load_rows(source)
    if isinstance(row, dict):
        rows = load_rows(source.model_copy(update={"skip_bad_rows": True}))
        assert (len(rows.rows), rows.skipped) == (1, 1)


def test_a_row_without_the_columns_of_its_format_is_named(tmp_path):
    source = lines(tmp_path / "d.jsonl", {"prompt": "hi", "chosen": "a"})
    with pytest.raises(DataError, match=r"d\.jsonl:1: no column `rejected`; the row has prompt, chosen"):
        load_rows(source.model_copy(update={"format": "preference"}))


def test_filter_rename_shuffle_limit(tmp_path):
    rows = [{"input": f"q{i}", "chosen": "yes", "rejected": "no", "score": i} for i in range(10)]
    source = lines(tmp_path / "d.jsonl", *rows)
    chosen = source.model_copy(
        update={"rename": {"input": "prompt"}, "filter": "score >= 4", "shuffle": True, "limit": 3}
    )
    first, again, other = (load_rows(chosen, seed=seed) for seed in (1, 1, 2))
    assert first == again != other
    assert len(first.rows) == 3
    assert all(isinstance(row, Preference) and int(row.prompt[0].content[1:]) >= 4 for row in first.rows)


@pytest.mark.parametrize(
    ("expression", "row", "passes"),
    [
        ('status != "tie" and chosen_score >= 8 and not in_gsm8k_train',
         {"status": "ok", "chosen_score": 9, "in_gsm8k_train": False}, True),
        ("score in [1, 2] or x is None", {"score": 3, "x": None}, True),
        ("0 < score <= 2", {"score": 3}, False),
        ("score > -1", {"score": 0}, True),
    ],
)  # fmt: skip
def test_filters(expression, row, passes):
    assert parse_filter(expression)(row) is passes


@pytest.mark.parametrize(
    "expression",
    ["__import__('os').system('x')", "a.b", "a[0]", "lambda: 1", "a +", "f'{a}'", "[x for x in a]"],
)
def test_filters_are_not_code(expression):
    with pytest.raises(DataError, match="filter"):
        parse_filter(expression)


@given(st.text(max_size=60))
def test_no_filter_text_does_anything_but_parse_or_refuse(expression):
    try:
        parse_filter(expression)
    except DataError:
        return


def test_examples_keep_ids_categories_and_references(tmp_path):
    rows = [
        {"id": "x", "prompt": "hi", "reference": "hello", "category": "greeting"},
        {"messages": [ASK, SAY]},
    ]
    first, second = load_examples(lines(tmp_path / "d.jsonl", *rows))
    assert (first.id, first.reference, first.category) == ("x", "hello", "greeting")
    assert (second.reference, len(second.messages)) == ("hello", 1)
    with pytest.raises(DataError, match="taken by"):
        load_examples(lines(tmp_path / "e.jsonl", rows[0], rows[0]))
    requested = {"instruction": "Translate", "input": "hi", "history": [["a", "b"]], "references": ["x", "y"]}
    (found,) = load_examples(lines(tmp_path / "g.jsonl", requested))
    assert [turn.content for turn in found.messages] == ["a", "b", "Translate\n\nhi"]
    assert (found.reference, found.references) == ("x", ("y",))
    with pytest.raises(DataError, match="`images` cannot be"):
        load_examples(lines(tmp_path / "h.jsonl", {"prompt": "p", "images": ["x.png"]}))
    numbered = [{"id": number, "prompt": "1 - 1?", "reference": 0} for number in (0, 1)]
    found = load_examples(lines(tmp_path / "f.jsonl", *numbered))
    assert [(example.id, example.reference) for example in found] == [("0", "0"), ("1", "0")]


@given(st.integers(2, 200), st.floats(0.01, 0.9), st.integers(0, 99))
def test_a_split_loses_and_doubles_nothing(count, share, seed):
    rows = [Text(id=str(i), text=str(i)) for i in range(count)]
    train, heldout = split_heldout(rows, share, seed)
    assert heldout
    assert sorted(row.id for row in train + heldout) == sorted(row.id for row in rows)
    assert split_heldout(rows, share, seed) == (train, heldout)


def test_a_local_folder_is_read_by_datasets(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    lines(folder / "train.jsonl", {"prompt": "hi", "completion": "hello"})
    (row,) = load_rows(DataSource(source=str(folder))).rows
    assert isinstance(row, Conversation)


def test_real_data_reads(shared_data):
    for name, kind in (
        ("sft_gsm8k", Conversation),
        ("pref_gsm8k", Preference),
        ("pref_dpo_demo", Preference),
    ):
        rows = load_rows(DataSource(source=str(shared_data / name / "train.jsonl"))).rows
        assert len(rows) >= 200
        assert all(isinstance(row, kind) for row in rows)


def test_examples_are_parsed_once_until_their_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    parsed = []
    plain = readers._example
    monkeypatch.setattr(readers, "_example", lambda *args: parsed.append(args) or plain(*args))
    file = tmp_path / "a.jsonl"
    for answer in ("b", "c"):
        file.write_text(json.dumps({"prompt": "a", "completion": answer}) + "\n")
        source = DataSource(source=str(file))
        assert [load_examples(source)[0].reference for _ in range(3)] == [answer] * 3
    assert len(parsed) == 2
