"""`adapter-arena runs`: versions with what they changed, and removal that loses no vote."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.arena.voting import import_rows
from toolkit import io
from toolkit.arena.battles import load_battle_pool
from toolkit.arena.service import ArenaService, Rules
from toolkit.arena.store import Store
from toolkit.cli import main

EXAMPLE = Path(__file__).parents[2] / "results" / "demo-example"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two versions of the demo and a run that did not finish."""
    for name in ("demo", "demo-2", "other"):
        shutil.copytree(EXAMPLE, tmp_path / name)
        manifest = io.read_json(tmp_path / name / "manifest.json")
        io.write_json(tmp_path / name / "manifest.json", manifest | {"name": name.removesuffix("-2")})
    recipe = tmp_path / "demo-2" / "recipe.yaml"
    text = recipe.read_text()
    assert "learning_rate: 0.0012" in text
    recipe.write_text(text.replace("learning_rate: 0.0012", "learning_rate: 0.001"))
    (tmp_path / "other" / "summary.json").unlink()
    return tmp_path


def runs(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["runs", *map(str, arguments)])


def test_versions_are_listed_with_what_they_changed(results: Path):
    done = runs("--out", results, "--json")
    assert done.exit_code == 0, done.output
    found: dict[str, dict[str, Any]] = {each["run"]: each for each in json.loads(done.stdout)["runs"]}
    assert found["demo"]["changed"] == {}
    assert found["demo-2"]["changed"] == {"stages.0.trainer.learning_rate": [0.0012, 0.001]}
    summary = json.loads((EXAMPLE / "summary.json").read_text())
    assert found["demo"]["score"]["metric"] == summary["notes"]["primary"]
    assert found["demo"]["score"]["contestant"] == summary["contestants"][-1]
    assert not found["other"]["finished"]
    table = runs("--out", results).stdout
    assert "learning_rate: 0.0012 -> 0.001" in table
    assert "not finished" in table
    assert runs(results).stdout == table


@pytest.mark.parametrize("file", ["manifest.json", "recipe.yaml", "summary.json"])
def test_a_torn_run_is_left_out_with_its_reason(results: Path, file: str, caplog: pytest.LogCaptureFixture):
    (results / "demo-2" / file).write_text("{")
    done = runs("--out", results, "--json")
    assert done.exit_code == 0, done.output
    assert {each["run"] for each in json.loads(done.stdout)["runs"]} == {"demo", "other"}
    assert "demo-2 is left out: " in caplog.text


def test_a_run_is_removed_but_not_people_s_votes(results: Path):
    row = {"model_a": "sft", "model_b": "dpo", "winner": "model_a", "question_id": "q", "voter": "ann"}
    import_rows(Store(f"sqlite:///{results / 'demo' / 'arena.db'}"), [row], run="demo", source="v.jsonl")
    refused = runs("rm", results / "demo")
    assert refused.exit_code == 2
    assert "1 votes of people would be lost" in refused.stderr
    assert runs("rm", results / "nothing").exit_code == 2
    assert runs("rm", results / "demo-2", results / "demo", "--with-votes").exit_code == 0
    assert sorted(path.name for path in results.iterdir()) == ["other"]


def test_votes_that_do_not_count_are_not_removed_either(results: Path):
    """A blocked voter may be unblocked."""
    run = results / "demo"
    store = Store(f"sqlite:///{run / 'arena.db'}")
    service = ArenaService(load_battle_pool(run, ("sft", "dpo")), store, Rules())
    service.register_voter("ann")
    ballot = service.ballot("ann")
    assert ballot
    service.vote("ann", ballot.id, "a")
    store.block("ann", "clicks at random", at=0)
    store.close()
    refused = runs("rm", run)
    assert refused.exit_code == 2
    assert "1 votes of people would be lost" in refused.stderr
    assert (run / "arena.db").exists()
