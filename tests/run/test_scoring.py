"""A recipe's scoring options do what the same options of the commands do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from toolkit import io
from toolkit.cli import main
from toolkit.metrics import Measurement
from toolkit.metrics.compare import compare, load_groups
from toolkit.metrics.registry import Encoding, measure_texts
from toolkit.recipe import load
from toolkit.report.compare_runs import build_comparison
from toolkit.report.load import load_run
from toolkit.run import run
from toolkit.types import Completion, Score, Summary


@pytest.fixture
def scored(small_recipe: Path, tmp_path: Path):
    """Runs the small recipe without training or judge, scored with these options."""
    rows = [json.loads(line) for line in (tmp_path / "heldout.jsonl").read_text().splitlines()]
    rows = [row | {"passage": f"p{number // 2}"} for number, row in enumerate(rows)]
    (tmp_path / "heldout.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def score(**options: object) -> Summary:
        raw = yaml.safe_load(small_recipe.read_text())
        raw["data"] = {"heldout": raw["data"]["heldout"]}
        for section in ("stages", "judge"):
            raw.pop(section, None)
        raw["contestants"] = {"base": {}, "told": {"prompt": [{"role": "system", "content": "Be brief."}]}}
        raw["scoring"] |= {"metrics": ["perplexity", "chrf", "bertscore"], **options}
        small_recipe.write_text(yaml.safe_dump(raw))
        return run(load(small_recipe), tmp_path)

    return score


def measured(folder: Path) -> list[Measurement]:
    files = sorted((folder / "measurements").glob("*.jsonl"))
    return [found for file in files for found in io.read(file, Measurement)]


def test_intervals_are_over_the_groups_that_a_column_names(scored, tmp_path: Path):
    summary = scored(groups="passage", metrics=["perplexity", "chrf"])
    groups = {f"h{number}": f"p{number // 2}" for number in range(6)}
    expected = compare(measured(tmp_path / "small"), against="base", groups=groups)
    assert list(summary.scores) == expected.scores
    assert {score.n for score in summary.scores} == {3}
    assert list(summary.differences) == expected.differences
    report = (tmp_path / "small" / "report.md").read_text()
    assert "With 95% intervals over groups of examples (by passage)." in report


def test_a_runs_groups_are_taken_over_by_score_and_by_comparisons_of_runs(scored, tmp_path: Path):
    summary = scored(groups="passage", metrics=["perplexity", "chrf"])
    folder = tmp_path / "small"
    reply = CliRunner().invoke(
        main,
        ["score", str(folder), "--metric", "chrf", "--against", "base", "--json"],
        catch_exceptions=False,
    )
    found = json.loads(reply.stdout)
    by_figure = {(row["contestant"], row["metric"]): Score.model_validate(row) for row in found["scores"]}
    assert by_figure == {(score.contestant, score.metric): score for score in summary.scores}
    assert sorted(found["differences"], key=lambda row: str(row["metric"])) == sorted(
        (row.model_dump() for row in summary.differences), key=lambda row: str(row["metric"])
    )

    copy = load_run(shutil.copytree(folder, tmp_path / "copy"))
    facts = build_comparison(load_run(folder), copy)
    of_the_copies = [*facts["summary"].scores]
    for score in summary.scores:
        for run_name in ("small", "copy"):
            of_the_copies.remove(score.model_copy(update={"contestant": f"{score.contestant} ({run_name})"}))
    assert of_the_copies == []
    assert {(row.value, row.n) for row in facts["summary"].differences} == {(0.0, 3)}
    assert facts["summary"].notes == {"groups": "passage"}


def test_a_run_without_groups_keeps_none(scored, tmp_path: Path):
    scored(groups="passage", metrics=["chrf"])
    assert load_groups([tmp_path / "small"]) == {f"h{number}": f"p{number // 2}" for number in range(6)}
    assert {score.n for score in scored(groups=None).scores} == {6}
    assert load_groups([tmp_path / "small"]) == {}


def test_bertscore_is_made_as_the_recipe_sets_it(scored, tmp_path: Path):
    baseline = tmp_path / "baseline.tsv"
    baseline.write_text("LAYER,P,R,F\n" + "".join(f"{layer},0.5,0.5,0.5\n" for layer in range(4)))
    scored(bertscore_layer=3, bertscore_idf=True, bertscore_rescale="baseline.tsv")
    reply = list(io.read(tmp_path / "small" / "completions" / "told.jsonl", Completion))
    made = Encoding(layer=3, idf=True, rescale=baseline)
    expected = measure_texts(reply, ["bertscore"], encoding=made)
    found = [each for each in measured(tmp_path / "small") if each.contestant == "told"]
    assert [each for each in found if each.metric.startswith("bertscore")] == expected

    baseline.write_text(baseline.read_text().replace("0.5", "0.4"))
    again = scored(bertscore_layer=3, bertscore_idf=True, bertscore_rescale="baseline.tsv")
    assert "answer told" in again.skipped
    assert "measure told" not in again.skipped
