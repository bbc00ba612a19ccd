"""A run's tables load with `datasets`, whole, and its scores stand in its models' cards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.report.runs import write_run
from toolkit import io, run_datasets
from toolkit.cli import main
from toolkit.recipe import load
from toolkit.report.export import write_scores
from toolkit.report.load import load_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "synthetic")


def test_tables_load_as_they_were(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from datasets import load_dataset

    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    done = CliRunner().invoke(main, ["export", str(run), str(tmp_path / "out"), "--json"])
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)["rows"]
    view, there = load_run(run), run_datasets(run)
    for name in ("completions", "scores", "votes"):
        loaded = load_dataset(
            str(tmp_path / "out"), name, split="train", cache_dir=str(tmp_path / "cache")
        ).to_list()
        assert loaded == there[name].to_list()
        assert len(loaded) == rows[name] > 0
    reply = [row.model_dump(mode="json") for rows in view.completions.values() for row in rows]
    assert there["completions"].to_list() == reply
    assert there["scores"].to_list() == [score.model_dump() for score in view.summary.scores]
    again = CliRunner().invoke(main, ["export", str(run), str(tmp_path / "out")])
    assert again.exit_code == 2
    assert "is there already" in again.stderr


def test_people_are_nameless_in_an_export(run: Path, monkeypatch: pytest.MonkeyPatch):
    from dataclasses import replace

    from toolkit.report import export

    view = load_run(run)
    person = view.judge_votes[0].model_copy(update={"kind": "person", "voter": "ann@example.org"})
    monkeypatch.setattr(export, "load_run", lambda _run: replace(view, people=[person]))
    voters = run_datasets(run)["votes"]["voter"]
    assert "ann@example.org" not in voters
    assert len(set(voters)) == 2


def test_cards_show_the_scores_as_the_hub_reads_them(run: Path, tmp_path: Path):
    from huggingface_hub import ModelCard

    summary, recipe, card = load_run(run).summary, load(run / "recipe.yaml"), tmp_path / "README.md"
    body = "# synthetic/dpo\n\nAs it was trained.\n"
    io.write_text(card, f"---\nbase_model: some/base\ntags:\n- dpo\n---\n{body}")
    for _ in range(2):  # written again, nothing is doubled
        write_scores(card, recipe, "dpo", summary, run / "completions")
    read = ModelCard.load(card)
    ours = [score for score in summary.scores if score.contestant == "dpo"]
    found = read.data.eval_results
    assert [(result.metric_type, result.metric_value) for result in found] == [
        (score.metric.rpartition("/")[2], score.value) for score in ours
    ]
    assert {result.dataset_type for result in found} >= {"h"}
    assert f"n = {ours[0].n})" in found[0].metric_name
    assert read.data.base_model == "some/base"
    text, _, scores = read.text.partition("## Scores")
    assert text.strip() == body.strip()
    assert "| held-out examples, 95% intervals | dpo | base-fewshot | difference | n |" in scores
    assert "An example, prompt and answer:" in scores
    none_right = ours[0].model_copy(update={"value": 0.0, "low": 0.0, "high": 0.0})
    write_scores(card, recipe, "dpo", summary.model_copy(update={"scores": (none_right,)}), run)
    (result,) = ModelCard.load(card).data.eval_results
    assert "(95% 0 to 0, n = " in result.metric_name

    before = card.read_text()
    write_scores(card, recipe, "reward", summary, run)
    assert card.read_text() == before
