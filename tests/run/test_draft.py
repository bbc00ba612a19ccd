"""Recipes drafted from what one has: columns, methods, measures and slices are recognised."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from toolkit import recipe as recipes
from toolkit.cli import main
from toolkit.data import load_examples, load_rows
from toolkit.data.formats import guess_rename
from toolkit.errors import DataError
from toolkit.recipe import Recipe
from toolkit.run.draft import Ingredients, draft_recipe

SQL = 'question;sql;db\n"How many lamps?";SELECT count(*) FROM lamps;shop\n"All?";SELECT * FROM lamps;shop\n'


def rows(file: Path, *found: dict[str, Any]) -> str:
    file.write_text("".join(json.dumps(row) + "\n" for row in found))
    return str(file)


def drafted(file: Path, **found: Any) -> Recipe:
    text, _ = draft_recipe(file, Ingredients(**found))
    file.write_text(text)
    return recipes.load(file)


def test_columns_and_separators_are_recognised_and_the_recipe_renames(tmp_path: Path):
    (tmp_path / "train.csv").write_text(SQL)
    recipe = drafted(tmp_path / "r.yaml", data=str(tmp_path / "train.csv"))
    assert recipe.data["train"].rename == {"question": "prompt", "sql": "completion"}
    first = load_rows(recipe.data["train"]).rows[0]
    assert [turn.content for turn in first.messages] == ["How many lamps?", "SELECT count(*) FROM lamps"]


@pytest.mark.parametrize(
    ("name", "text", "prompt", "answer"),
    [
        ("a.csv", "ticket text;queue\nIt hums, badly;repair\n", "ticket text", "queue"),
        ("a.tsv", "question\tanswer\nWhat is 2, and 3?\t5\n", "question", "answer"),
        ("a.csv", "question|sql\nHow many, in all?|SELECT 1, 2\n", "question", "sql"),
        ("a.csv", "text,label\nGood lamp,praise\n", "text", "label"),
        ("a.jsonl", '{"question": "What is 2 and 3?", "answer": 5}\n', "question", "answer"),
    ],
)
def test_files_as_people_have_them(tmp_path: Path, name: str, text: str, prompt: str, answer: str):
    file = tmp_path / name
    file.write_text(text)
    recipe = drafted(tmp_path / "r.yaml", data=str(file), examples=str(file))
    assert recipe.data["train"].rename == {prompt: "prompt", answer: "completion"}
    first = load_rows(recipe.data["train"]).rows[0].messages
    assert load_examples(recipe.data["test"])[0].reference == first[-1].content


def test_test_examples_get_their_reference(tmp_path: Path):
    file = rows(tmp_path / "test.jsonl", {"query": "2 and 2?", "answer": "4"}, {"query": "3?", "answer": "3"})
    recipe = drafted(tmp_path / "r.yaml", examples=file, data=file, base="x/y")
    examples = load_examples(recipe.data["test"])
    assert [each.reference for each in examples] == ["4", "3"]
    assert recipe.scoring is not None
    assert recipe.scoring.primary == "number"


def test_pairs_add_dpo_on_sft_and_shots_the_fair_baseline(tmp_path: Path):
    data = rows(tmp_path / "a.jsonl", {"prompt": "a lamp", "completion": "lamp"})
    pairs = rows(tmp_path / "p.jsonl", {"prompt": "a bag", "preferred": "bag", "worse": "no"})
    test = rows(
        tmp_path / "t.jsonl", {"prompt": "an urn", "reference": "a large urn of clay, well made and old"}
    )
    recipe = drafted(tmp_path / "r.yaml", data=data, pairs=pairs, examples=test)
    assert [(stage.method, stage.start) for stage in recipe.stages] == [("sft", "base"), ("dpo", "sft")]
    assert recipe.data["pairs"].rename == {"preferred": "chosen", "worse": "rejected"}
    assert list(recipe.contestants) == ["base", "base-fewshot", "sft", "dpo"]
    assert recipe.contestants["base-fewshot"].shots == "auto"


def test_adapters_made_elsewhere_compete_on_their_base(tmp_path: Path):
    for name in ("one", "two"):
        (tmp_path / name / "best").mkdir(parents=True)
        config = {"base_model_name_or_path": "org/model"}
        (tmp_path / name / "best" / "adapter_config.json").write_text(json.dumps(config))
    test = rows(tmp_path / "t.jsonl", {"prompt": "an urn", "reference": "an urn"})
    adapters = tuple(str(tmp_path / name / "best") for name in ("one", "two"))
    recipe = drafted(tmp_path / "r.yaml", adapters=adapters, examples=test)
    assert recipe.base == "org/model"
    assert list(recipe.contestants) == ["base", "best", "best-2"]
    assert recipe.stages == ()


def test_files_of_answers_are_their_own_examples(tmp_path: Path):
    turns = [{"role": "user", "content": "an urn"}]
    for name in ("a", "b"):
        rows(
            tmp_path / f"{name}.jsonl",
            {"messages": turns, "completion": f"{name} urn", "reference": "an urn"},
        )
    recipe = drafted(tmp_path / "r.yaml", answers=(str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")))
    assert list(recipe.contestants) == ["a", "b"]
    assert recipe.base == ""
    assert [each.messages[-1].content for each in load_examples(recipe.data["test"])] == ["an urn"]


@pytest.mark.parametrize(
    ("references", "kind"),
    [
        (['{"a": 1, "b": 2}', '{"a": 3}'], "json_schema"),
        (["so it is #### 42", "#### 1,000"], "number"),
        (["yes", "No", "yes", "no", "yes", "yes"], "exact_match"),
        (["a lamp that stands on the table", "a bag"], None),
    ],
)
def test_the_measure_that_decides_is_chosen_by_the_references(tmp_path: Path, references, kind):
    file = rows(
        tmp_path / "t.jsonl", *({"prompt": f"q{i}", "reference": r} for i, r in enumerate(references))
    )
    recipe = drafted(tmp_path / "r.yaml", examples=file, adapters=(), data=None, base="x/y")
    assert recipe.scoring is not None
    own = recipe.scoring.checks
    assert ([each.kind for each in own] or [None]) == [kind]
    if kind == "json_schema":
        assert own[0].json_schema == {"type": "object", "required": ["a"]}


def test_columns_of_few_values_are_slices(tmp_path: Path):
    own = [
        {"prompt": f"q{i}", "reference": "x", "language": "en de".split()[i % 2], "no": str(i)}
        for i in range(12)
    ]
    recipe = drafted(tmp_path / "r.yaml", examples=rows(tmp_path / "t.jsonl", *own), base="x/y")
    assert recipe.scoring is not None
    assert recipe.scoring.slices == ("language",)


def test_paths_are_relative_to_where_the_command_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "recipes").mkdir()
    monkeypatch.chdir(tmp_path)
    rows(tmp_path / "t.jsonl", {"prompt": "an urn", "completion": "urn"})
    done = CliRunner().invoke(main, ["init", "recipes/r.yaml", "--base", "x/y", "--data", "t.jsonl"])
    assert done.exit_code in (0, 2), done.output  # the check cannot find x/y here
    assert load_rows(recipes.load(Path("recipes/r.yaml")).data["train"]).rows


def test_messages_give_the_mend_that_works(tmp_path: Path):
    file = rows(tmp_path / "train.jsonl", {"question": "a lamp", "sql": "lamp"})
    raw = {"name": "r", "base": "x/y", "data": {"d": {"source": file}}}
    with pytest.raises(DataError, match=r"set `rename: \{question: prompt, sql: completion\}`"):
        load_rows(recipes.parse(raw, tmp_path / "r.yaml").data["d"])
    raw["data"] = {"d": {"source": str(tmp_path / "tain.jsonl")}}
    with pytest.raises(DataError, match=r"no such data file; did you mean train\.jsonl\?"):
        load_rows(recipes.parse(raw, tmp_path / "r.yaml").data["d"])


@pytest.mark.parametrize(
    "columns", [{"id": "7", "b": "y"}, {"a": "x", "b": "y", "c": "z"}, {"question": "x"}, {"text_a": 1}]
)
def test_what_cannot_be_guessed_is_not(columns):
    assert guess_rename(columns) == {}
