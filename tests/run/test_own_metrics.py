"""A recipe's own metrics: tried by the check, measured by the run, measured again when their file changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from toolkit import recipe as recipes
from toolkit.cli import main
from toolkit.run.checks import check

METRIC = """
def named(completion, reference, example):
    return {"right": reference.split(": ")[1] in completion, "words": len(completion.split())}
"""


@pytest.fixture
def own(small_recipe: Path) -> Path:
    """The small recipe without stages, with metrics of its own."""
    raw = yaml.safe_load(small_recipe.read_text())
    raw["stages"], raw["contestants"] = [], {"base": {}, "again": {}}
    raw["scoring"] |= {
        "metrics": ["length", "mine.py:named", {"regex": "lamp", "name": "lamp", "lower_is_better": True}],
        "primary": "named_right",
        "guard": "sft",
        "slices": ["length"],
    }
    del raw["judge"]
    small_recipe.write_text(yaml.safe_dump(raw))
    small_recipe.with_name("mine.py").write_text(METRIC)
    return small_recipe


def change(recipe: Path, **scoring: Any) -> Path:
    raw = yaml.safe_load(recipe.read_text())
    raw["scoring"] |= scoring
    recipe.write_text(yaml.safe_dump(raw))
    return recipe


def test_own_metrics_are_scored_and_follow_their_file(own: Path, tmp_path: Path):
    def run() -> dict[str, Any]:
        done = CliRunner().invoke(main, ["run", str(own), "--out", str(tmp_path / "out"), "--json"])
        assert done.exit_code == 0, done.output
        return dict(json.loads(done.stdout))

    summary = run()
    metrics = {score["metric"] for score in summary["scores"]}
    assert {"named_right", "named_words", "lamp", "guard_bits_per_byte"} <= metrics
    assert summary["notes"]["primary"] == "named_right"
    sliced = {
        (each["value"], each["score"]["metric"]) for each in summary["notes"]["slices"] if "score" in each
    }
    assert {("short", "named_right"), ("long", "lamp")} <= sliced
    assert {each["metric"] for each in summary["differences"]} >= {"named_right", "lamp"}
    folder = tmp_path / "out" / summary["run"]
    assert '"lower_is_better":true' in (folder / "measurements" / "base.jsonl").read_text().replace(" ", "")

    assert "is not shown to have got worse in any of" in (folder / "report.html").read_text()

    own.with_name("mine.py").write_text(METRIC.replace('"words"', '"length"'))
    summary = run()
    assert "named_length" in {score["metric"] for score in summary["scores"]}
    assert {step for step in summary["skipped"] if "base" in step} == {"answer base"}

    scored = CliRunner().invoke(main, ["score", str(folder), "--metric", "length", "--json"])
    assert "named_right" in {score["metric"] for score in json.loads(scored.stdout)["scores"]}


@pytest.mark.parametrize(
    ("scoring", "message"),
    [
        ({"metrics": ["nothere.py:f"]}, "no such file"),
        ({"metrics": ["mine.py:other"]}, "has no function `other`"),
        ({"metrics": [{"json_schema": {"type": "objekt"}}]}, "not a JSON schema"),
        ({"metrics": [{"number": "last"}]}, "there is no number in its reference"),
        ({"metrics": [{"executes": "tests", "allow_code_execution": True}]}, "no tests in a column `tests`"),
        ({"slices": ["language"]}, "no example has a column `language`"),
        ({"primary": "named_wrong"}, "no metric of the recipe gives `named_wrong`"),
    ],
)
def test_the_check_tries_them(own: Path, scoring: dict[str, Any], message: str):
    found = check(recipes.load(change(own, **({"primary": None} | scoring)))).findings
    errors = [each.message for each in found if each.severity == "error"]
    assert any(message in each for each in errors), found


def test_slices_of_a_few_examples_are_warned_of(own: Path):
    found = check(recipes.load(own)).findings
    assert "have 2 examples in the median" in next(each.message for each in found if each.code == "slices")
