"""Recipes that leave most of it out still end with a report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import forked


def ran(recipe: Path, folder: Path, changes: dict[str, Any]) -> tuple[int, str]:
    raw = yaml.safe_load(recipe.read_text()) | changes
    recipe.write_text(yaml.safe_dump({key: value for key, value in raw.items() if value is not None}))
    code, _, err = forked.command(["run", str(recipe), "--out", str(folder / "out")], folder)
    return code, err


SCORING = {"examples": "heldout", "generation": {"max_new_tokens": 8}, "metrics": ["rouge"]}


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"stages": None, "scoring": SCORING, "judge": None},
        {"stages": None, "scoring": None, "judge": None},
    ],
    ids=["one contestant and no judge", "nothing to do"],
)
def test_what_a_recipe_leaves_out_the_report_does_without(small_recipe: Path, tmp_path: Path, changes):
    code, err = ran(small_recipe, tmp_path, changes)
    assert code == 0, err
    folder = tmp_path / "out" / "small"
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["contestants"] == ["base"]
    assert summary["ratings"] == {"people": [], "judge": []}
    page = (folder / "report.html").read_text()
    assert "no two contestants were compared" in page
    assert "Judge and people" not in page


@pytest.mark.slow
def test_training_alone_is_reported(small_recipe: Path, tmp_path: Path):
    stages = yaml.safe_load(small_recipe.read_text())["stages"][:1]
    code, err = ran(small_recipe, tmp_path, {"stages": stages, "scoring": None, "judge": None})
    assert code == 0, err
    page = (tmp_path / "out" / "small" / "report.html").read_text()
    assert '<h2 id="training-title">' in page
    assert '<h2 id="scores-title">' not in page


@pytest.mark.parametrize("name", ["sft", "heldout"])
def test_an_empty_data_file_is_named(small_recipe: Path, tmp_path: Path, name: str):
    (tmp_path / f"{name}.jsonl").write_text("")
    code, err = ran(small_recipe, tmp_path, {})
    assert code == 2, err
    assert f"{name}.jsonl: no rows" in err
    assert "Traceback" not in err


@pytest.mark.slow
def test_an_error_of_the_check_stops_the_run_unless_overridden(small_recipe: Path, tmp_path: Path):
    raw = yaml.safe_load(small_recipe.read_text())
    raw["stages"][1]["trainer"] = raw["stages"][1]["trainer"] | {"beta": -0.1}
    code, err = ran(small_recipe, tmp_path, {"stages": raw["stages"], "judge": None})
    assert code == 2, err
    assert "error: stages.dpo.trainer.beta" in err
    assert "go on with --anyway" in err
    assert not (tmp_path / "out" / "small" / "adapters").exists()
    arguments = ["run", str(small_recipe), "--out", str(tmp_path / "out")]
    code, _, err = forked.command([*arguments, "--anyway"], tmp_path)
    assert code == 0, err
    code, _, err = forked.command(arguments, tmp_path)
    assert code == 2, err  # told once is not told for ever
