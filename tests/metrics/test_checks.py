"""Metrics of a recipe's own: functions, schemas, patterns, numbers, texts, tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from toolkit.errors import DataError, RecipeError
from toolkit.metrics.checks import measure_check, metric_identity
from toolkit.metrics.compare import score_completions
from toolkit.metrics.registry import measure_texts
from toolkit.recipe import Check, parse
from toolkit.types import Completion, Message


def completion(text: str, reference: str | None = None, example: str = "e1", **fields: Any) -> Completion:
    requested = (Message(role="user", content="q"),)
    return Completion(
        example_id=example,
        contestant="sft",
        messages=requested,
        completion=text,
        reference=reference,
        finish="stop",
        tokens=1,
        **fields,
    )


def value(check: Check, *arguments: Any, **row: Any) -> float:
    (found,) = measure_check([completion(*arguments)], check, {"e1": row})
    return found.value


SCHEMA = {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("check", "text", "reference", "expected"),
    [
        ({"json_schema": SCHEMA}, '{"a": 1}', None, 1),
        ({"json_schema": SCHEMA}, 'Here:\n```json\n{"a": 1}\n```', None, 1),
        ({"json_schema": SCHEMA}, '{"a": "1"}', None, 0),
        ({"json_schema": SCHEMA}, "a: 1", None, 0),
        ({"json_schema": SCHEMA}, "[" * 100_000, None, 0),
        ({"regex": r"^Order: \d+$"}, "Order: 17", None, 1),
        ({"regex": r"^Order: \d+$"}, "Order: none", None, 0),
        ({"number": "last"}, "12 + 30 makes 1,042.", "#### 1042", 1),
        ({"number": "last"}, "1042, or 7", "1042", 0),
        ({"number": "first"}, "1042, or 7", "1042", 1),
        ({"number": "last"}, "none", "1042", 0),
        ({"number": "last"}, "\u22123.50", "-3.5", 1),
        ({"exact_match": {}}, "  Yes\n", "yes", 1),
        ({"exact_match": {"fold_case": False}}, "Yes", "yes", 0),
        ({"exact_match": {"punctuation": False}}, "yes.", "Yes", 1),
        ({"contains": "ok"}, "it is ok", None, 1),
        ({"contains": ["a", "z"]}, "abc", None, 0),
        ({"contains": True}, "the answer is 42", "42", 1),
    ],
)
def test_each_kind(check: dict[str, Any], text: str, reference: str | None, expected: float):
    assert value(Check(**check), text, reference) == expected


def test_code_is_run_against_the_tests_of_its_row():
    check = Check(executes="tests", allow_code_execution=True)
    row = {"tests": ["assert double(2) == 4"]}
    good, bad = "```python\ndef double(x):\n    return 2 * x\n```", "def double(x):\n    return x"
    assert value(check, good, **row) == 1
    assert value(check, bad, **row) == 0
    with pytest.raises(DataError, match="example e1: its row has no tests in a column `tests`"):
        value(check, good)


FUNCTIONS = """
from helper import parts

def fields(completion, reference, example):
    return {"right": parts(completion) == parts(reference), "long": len(completion) / example["limit"]}

def uneven(completion, reference, example):
    return {completion: 1}

def broken(completion, reference, example):
    return 1 / len(completion.strip())

def text(completion, reference, example):
    return "good"
"""


@pytest.fixture
def functions(tmp_path: Path) -> str:
    """A file of metrics, and one beside it that it imports."""
    (tmp_path / "helper.py").write_text("def parts(text):\n    return sorted(text.split())\n")
    (tmp_path / "mine.py").write_text(FUNCTIONS)
    return str(tmp_path / "mine.py")


def test_a_function_gives_figures_with_intervals_and_paired_differences(functions: str):
    answers = [completion(f"b a {i}", f"a b {i % 2}", f"e{i}") for i in range(10)]
    rows = {f"e{i}": {"limit": 10} for i in range(10)}
    found = {each.metric: each for each in measure_texts(answers, [f"{functions}:fields"], rows=rows)}
    assert found["fields_right"].value == 0.2
    assert found["fields_long"].value == 0.5
    other = [each.model_copy(update={"contestant": "base", "completion": "x"}) for each in answers]
    compared = score_completions([*other, *answers], [Check(regex="a b|b a", name="both")])
    (difference,) = compared.differences
    assert (difference.metric, difference.value) == ("both", 1.0)
    assert compared.scores[0].low is not None


@pytest.mark.parametrize(
    ("function", "text", "message"),
    [
        ("nothing", "x", "has no function `nothing`"),
        ("text", "x", r"the value is 'good'; return a number"),
        ("broken", " ", r"ZeroDivisionError: division by zero \(.*mine.py:11\)"),
        ("fields", "x", r"KeyError: 'limit' \(.*mine.py:5\)"),
    ],
)
def test_a_function_that_fails_is_one_line(functions: str, function: str, text: str, message: str):
    with pytest.raises(DataError, match=message) as raised:
        measure_texts([completion(text, "r")], [f"{functions}:{function}"])
    assert "\n" not in str(raised.value)


def test_figures_must_be_the_same_for_every_example(functions: str):
    with pytest.raises(DataError, match="example e2 has the figures uneven_y, others uneven_x"):
        measure_texts([completion("x"), completion("y", example="e2")], [f"{functions}:uneven"])


def test_the_content_of_a_check_is_its_file_with_what_it_imports(functions: str):
    check = Check(function=f"{functions}:fields")
    before = metric_identity(check)
    Path(functions).with_name("helper.py").write_text("def parts(text):\n    return text\n")
    assert metric_identity(check) != before


RECIPE = {"name": "x", "base": "b", "data": {"t": {"source": "t.jsonl"}}}


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("rogue", "scoring.metrics.0: unknown metric `rogue`; did you mean `rouge`"),
        ("mine.py", "a metric of your own is `FILE.py:FUNCTION`, not `mine.py`"),
        ({"regexp": "a"}, "unknown key; did you mean `regex`"),
        ({"regex": "("}, "scoring.metrics.0: regex: "),
        ({"regex": "a", "number": "last"}, "give exactly one of function, json_schema"),
        ({"executes": "tests"}, "allow_code_execution: true"),
        ({"regex": "a", "name": "rougeL"}, "metrics: two are called rougeL; give one a `name`"),
        ({"exact_match": {"fold": True}}, "unknown key"),
        ({"contains": ["a", ""]}, "contains: an empty text is found in every answer"),
        ({"contains": []}, "contains: an empty text is found in every answer"),
        ({"regex": ""}, "regex: an empty text is found in every answer"),
    ],
)
def test_mistakes_in_a_recipe(metric: Any, message: str, tmp_path: Path):
    raw = RECIPE | {"scoring": {"examples": "t", "metrics": [metric]}}
    with pytest.raises(RecipeError) as raised:
        parse(raw, tmp_path / "r.yaml")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_files_are_found_beside_the_recipe(tmp_path: Path):
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA))
    metrics = ["mine.py:fields", {"json_schema": "schema.json"}, "rouge"]
    recipe = parse(RECIPE | {"scoring": {"examples": "t", "metrics": metrics}}, tmp_path / "r.yaml")
    assert recipe.scoring is not None
    function, schema = recipe.scoring.checks
    assert function.function == f"{tmp_path / 'mine.py'}:fields"
    assert schema.json_schema == str(tmp_path / "schema.json")
