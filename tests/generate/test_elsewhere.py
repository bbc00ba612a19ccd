"""Completions of other tools are read as they wrote them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from toolkit import records
from toolkit.errors import DataError
from toolkit.generate.elsewhere import read_completions, read_references
from toolkit.types import Completion, Message


def rows(path: Path, *values: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return path


def test_our_own_files_come_back_as_they_were(tmp_path: Path):
    made = Completion(
        example_id="e",
        contestant="sft",
        messages=(),
        completion="hi",
        reference="ho",
        finish="stop",
        tokens=1,
    )
    records.write(tmp_path / "sft.jsonl", [made])
    assert read_completions(tmp_path / "sft.jsonl") == [made]


def test_alpaca_eval_outputs(tmp_path: Path):
    file = tmp_path / "model_outputs.json"
    file.write_text(json.dumps([{"instruction": "Add.", "input": "1 2", "output": "3", "generator": "m7"}]))
    (found,) = read_completions(file)
    assert (found.contestant, found.completion) == ("m7", "3")
    assert found.messages == (Message(role="user", content="Add.\n\n1 2"),)


def test_two_models_outputs_answer_the_same_examples(shared_data: Path):
    folder = shared_data / "judge_alpacaeval_NC"
    one, other = (read_completions(folder / f"{name}.jsonl") for name in ("phi-2", "alpaca-7b"))
    assert (one[0].contestant, other[0].contestant) == ("phi-2", "alpaca-7b")
    assert (len(one), len(other)) == (803, 805)  # as many as the files have
    assert {made.example_id for made in one} < {made.example_id for made in other}


def test_mt_bench_answers_with_references(tmp_path: Path):
    said = rows(
        tmp_path / "m.jsonl",
        {"question_id": 81, "model_id": "m", "choices": [{"index": 0, "turns": ["first", "second"]}]},
    )
    known = rows(
        tmp_path / "gpt-4.jsonl",
        {
            "question_id": 81,
            "model_id": "gpt-4",
            "choices": [{"index": 0, "turns": ["known one", "known two"]}],
        },
    )
    found = [(made.example_id, made.completion) for made in read_completions(said)]
    assert found == [("81", "first"), ("81/2", "second")]
    assert read_references([known, said]) == {
        "81": ["known one", "first"],
        "81/2": ["known two", "second"],
    }


def test_lm_eval_samples_count_once_whatever_the_filters(tmp_path: Path):
    sample = {
        "doc_id": 4,
        "arguments": {"gen_args_0": {"arg_0": "Question: 1+1\nAnswer:", "arg_1": {"until": ["\n"]}}},
        "resps": [[" 2"]],
        "target": "2",
    }
    file = rows(tmp_path / "s.jsonl", sample | {"filter": "strict-match"}, sample | {"filter": "flexible"})
    (found,) = read_completions(file, contestant="me")
    assert (found.example_id, found.contestant, found.completion, found.reference) == ("4", "me", " 2", "2")


def test_plain_rows(tmp_path: Path):
    file = rows(
        tmp_path / "gpt.jsonl", {"id": "q1", "prompt": "Hi", "response": "Hello", "reference": "Hello!"}
    )
    (found,) = read_completions(file)
    assert (found.example_id, found.contestant, found.completion) == ("q1", "gpt", "Hello")


def test_the_number_0_is_an_id_and_an_empty_reference_is_one(tmp_path: Path):
    file = rows(tmp_path / "x.jsonl", {"id": 0, "prompt": "Hi", "response": "Hello", "reference": ""})
    (found,) = read_completions(file)
    assert (found.example_id, found.reference) == ("0", "")
    assert read_references([file]) == {"0": [""]}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([{"a": 1}], r"x\.jsonl:1: columns a are of no known format"),
        (
            [{"instruction": "a", "output": "b"}, {"instruction": "a"}],
            r"x\.jsonl:2: not as the file's first row \(KeyError: 'output'\)",
        ),
        (
            [{"instruction": "a", "output": "b"}, {"instruction": "a", "output": None}],
            r"x\.jsonl:2: not as the file's first row \(ValidationError",
        ),
        (
            [{"prompt": "a", "response": "b"}, {"prompt": "a", "response": None}],
            r"x\.jsonl:2: not as the file's first row \(TypeError: the answer is missing\)",
        ),
        (
            [
                {
                    "doc_id": 1,
                    "arguments": {"gen_args_0": {"arg_0": "x"}},
                    "resps": [[[-1.5, True]]],
                    "target": "0",
                }
            ],
            "only samples of generating tasks",
        ),
    ],
)
def test_what_does_not_fit_is_named_by_its_line(tmp_path: Path, values: list[dict[str, Any]], message: str):
    with pytest.raises(DataError, match=message):
        read_completions(rows(tmp_path / "x.jsonl", *values))


def test_an_empty_file_has_no_completions(tmp_path: Path):
    with pytest.raises(DataError, match="no rows"):
        read_completions(rows(tmp_path / "x.jsonl"))
