"""Completions of other tools are read as they wrote them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from toolkit import io
from toolkit.errors import DataError
from toolkit.generate.importers import match_answers, read_answer_files, read_completions, read_references
from toolkit.metrics import measure_texts
from toolkit.types import Completion, Example, Message, question_and_turn


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
    io.write(tmp_path / "sft.jsonl", [made])
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
    reply = rows(
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
    found = [(made.example_id, made.completion) for made in read_completions(reply)]
    assert found == [("81", "first"), ("81/2", "second")]
    assert read_references([known, reply]) == {
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


def test_answers_need_no_prompt_where_an_id_finds_it(tmp_path: Path):
    talk = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    whole = rows(
        tmp_path / "whole.jsonl",
        {"messages": talk, "answer": "Hello"},
        {"id": "q2", "prompt": "Bye", "answer": "Ciao"},
    )
    bare = rows(tmp_path / "bare.jsonl", {"example_id": "q2", "completion": "So long"})
    both = read_answer_files([bare, whole])
    assert [each.messages[-1].content for each in both["whole"]] == ["Hi", "Bye"]
    assert both["bare"][0].messages == both["whole"][1].messages
    question = Example(id="q2", messages=(Message(role="user", content="Bye"),))
    assert match_answers(bare, [question], "x")[0].completion == "So long"
    with pytest.raises(DataError, match="question q2 is not known"):
        read_answer_files([bare])


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
            r"x\.jsonl:2: completion: Input should be a valid string",
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


def test_rows_without_an_answer_are_no_empty_table(tmp_path: Path):
    with pytest.raises(DataError, match=r"x\.jsonl: no answer in its 1 rows"):
        read_completions(
            rows(tmp_path / "x.jsonl", {"question_id": 1, "model_id": "m", "choices": [{"turns": []}]})
        )


def test_an_empty_file_has_no_completions(tmp_path: Path):
    with pytest.raises(DataError, match="no rows"):
        read_completions(rows(tmp_path / "x.jsonl"))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"question": "q", "answer": "gold", "prediction": "said"},
            "answer and prediction could each be the model's",
        ),
        ({"instruction": "q", "output": "gold", "prediction": "said"}, "could each be the model's answer"),
        ({"instruction": "q", "output": "gold", "model_output": "said", "generator": "m"}, "could each be"),
        ({"input": "q", "output": "gold", "generated": "said"}, "could each be the model's answer"),
        ({"question": "q", "response": "a", "output": "b"}, "could each be the model's answer; rename"),
        ({"question": "q", "completion": "said", "answer": "gold"}, "could each be the model's answer"),
        (
            {"question": "q", "input": "more", "response": "a"},
            "question and input could each be the question",
        ),
        ({"question": "q", "response": "a", "target": "x", "label": "y"}, "could each be the reference"),
        (
            {"prompt": "q", "response": "a", "reference": {"text": "x"}},
            "`reference` is neither text nor a list",
        ),
        ({"prompt": [{"role": "user", "content": "q"}], "response": "a"}, "must be texts"),
    ],
)
def test_what_could_be_two_things_is_not_guessed(tmp_path: Path, row: dict[str, Any], message: str):
    with pytest.raises(DataError, match=rf"x\.jsonl:1: .*{message}"):
        read_completions(rows(tmp_path / "x.jsonl", row))


def test_several_references_are_all_known(tmp_path: Path):
    file = rows(
        tmp_path / "x.jsonl",
        {"id": "HumanEval/2", "prompt": "q", "completion": "b", "answer": "z", "reference": ["a", "b"]},
    )
    (found,) = read_completions(file)
    assert (found.reference, found.references, found.completion) == ("a", ("b",), "b")
    assert read_references([file]) == {"HumanEval/2": ["a", "b"]}
    (match,) = (each for each in measure_texts([found], ["exact_match"]) if each.metric == "exact_match")
    assert match.rows[0][0] == 1
    assert question_and_turn("HumanEval/2") == ("HumanEval/2", 1)
    assert question_and_turn("81/2") == ("81", 2)


def test_no_row_is_dropped_or_read_in_part(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    row = {"instruction": "Translate", "response": "a", "reference": "x", "references": ["y"]}
    found = read_completions(rows(tmp_path / "x.jsonl", *(row | {"input": word} for word in ("one", "two"))))
    assert [each.messages[0].content for each in found] == ["Translate\n\none", "Translate\n\ntwo"]
    assert (found[0].reference, found[0].references) == ("x", ("y",))
    first = {"id": "e", "prompt": "q", "answer": "a"}
    for second, message in (
        (first | {"prompt": "r"}, r"x\.jsonl:2: e is another question in an earlier row"),
        (first | {"id": "f", "prediction": "b"}, r"x\.jsonl:2: answer and prediction could each be"),
    ):
        with pytest.raises(DataError, match=message):
            read_completions(rows(tmp_path / "x.jsonl", first, second))
    (one,) = read_completions(rows(tmp_path / "x.jsonl", first, first | {"answer": "b"}))
    assert one.completion == "a"
    assert "1 more answers to questions that are there" in caplog.text


def test_thinking_of_other_tools_files_is_no_answer(tmp_path: Path):
    (found,) = read_completions(
        rows(tmp_path / "x.jsonl", {"prompt": "q", "response": "<think>hm</think>yes"})
    )
    assert (found.completion, found.reasoning) == ("yes", "hm")
