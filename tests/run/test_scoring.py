"""A recipe's scoring options do what the same options of the commands do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from toolkit import records
from toolkit.metrics import Measurement
from toolkit.metrics.comparing import compare
from toolkit.metrics.measuring import Encoding, measure_texts
from toolkit.recipe import load
from toolkit.run import run
from toolkit.types import Completion, Summary


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
    return [found for file in files for found in records.read(file, Measurement)]


def test_intervals_are_over_the_groups_that_a_column_names(scored, tmp_path: Path):
    summary = scored(groups="passage", metrics=["perplexity", "chrf"])
    groups = {f"h{number}": f"p{number // 2}" for number in range(6)}
    expected = compare(measured(tmp_path / "small"), against="base", groups=groups)
    assert list(summary.scores) == expected.scores
    assert {score.n for score in summary.scores} == {3}
    assert list(summary.differences) == expected.differences
    report = (tmp_path / "small" / "report.md").read_text()
    assert "With 95% intervals over groups of examples (by passage)." in report


def test_bertscore_is_made_as_the_recipe_says(scored, tmp_path: Path):
    baseline = tmp_path / "baseline.tsv"
    baseline.write_text("LAYER,P,R,F\n" + "".join(f"{layer},0.5,0.5,0.5\n" for layer in range(4)))
    scored(bertscore_layer=3, bertscore_idf=True, bertscore_rescale="baseline.tsv")
    said = list(records.read(tmp_path / "small" / "completions" / "told.jsonl", Completion))
    made = Encoding(layer=3, idf=True, rescale=baseline)
    expected = measure_texts(said, ["bertscore"], encoding=made)
    found = [each for each in measured(tmp_path / "small") if each.contestant == "told"]
    assert [each for each in found if each.metric.startswith("bertscore")] == expected

    baseline.write_text(baseline.read_text().replace("0.5", "0.4"))
    again = scored(bertscore_layer=3, bertscore_idf=True, bertscore_rescale="baseline.tsv")
    assert "answer told" in again.skipped
    assert "measure told" not in again.skipped
