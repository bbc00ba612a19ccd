"""`sweep`: a grid is trained, chosen by an evaluation split, and the chosen point is run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from toolkit import recipe as recipes
from toolkit.errors import RecipeError
from toolkit.run import run

RATE = "stages.sft.trainer.learning_rate"


def swept(file: Path, values: list[float], **changes: Any) -> Path:
    raw = yaml.safe_load(file.read_text())
    raw["stages"] = raw["stages"][:1]
    raw["stages"][0]["trainer"]["max_steps"] = 4
    raw["data"]["dev"] = {"source": "dev.jsonl"}
    rows = [{"prompt": f"my new {word} broke", "completion": f"Product: {word}"} for word in ("fan", "bag")]
    (file.parent / "dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    raw["scoring"] |= {"validation": "dev", "metrics": ["rouge", "chrf"], "primary": "chrf"}
    raw |= {"sweep": {RATE: values}, "contestants": {"base": {}, "sft": {"stage": "sft"}}}
    raw.pop("judge", None)
    raw["scoring"] |= changes.pop("scoring", {})
    file.write_text(yaml.safe_dump(raw | changes))
    return file


def test_the_best_on_the_evaluation_split_is_run_and_not_trained_again(small_recipe: Path, tmp_path: Path):
    out = tmp_path / "results"
    summary = run(recipes.load(swept(small_recipe, [1e-5, 2e-2])), out)
    sweep = summary.notes["sweep"]
    values = {each["settings"][RATE]: each["value"] for each in sweep["variants"]}
    assert sweep["chosen"] == {RATE: max(values, key=values.__getitem__)}
    assert (sweep["validation"], sweep["metric"]) == ("dev", "chrf")
    assert "train sft" in summary.skipped
    assert {score.n for score in summary.scores} == {6}, "scored on the test set"
    trained = recipes.load(out / "small" / "recipe.yaml")
    assert trained.stages[0].trainer["learning_rate"] == sweep["chosen"][RATE]
    assert "chosen of 2 variants" in (out / "small" / "report.md").read_text()
    again = run(recipes.load(small_recipe), out)
    assert again.notes["sweep"] == sweep
    more = run(recipes.load(swept(small_recipe, [1e-5, 2e-2, 1e-3])), out)
    assert len(list((out / "small-sweep").glob("*/adapters/sft"))) == 3
    assert len(more.notes["sweep"]["variants"]) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sweep": {"stages.sfft.trainer.beta": [1]}}, "no such place"),
        ({"sweep": {"seed": [1, 2]}}, "sweep keys of stages"),
        ({"sweep": {RATE: []}}, "no value to try"),
        ({"sweep": {RATE: [0.1] * 65}}, "at most 64"),
        ({"scoring": {"validation": "heldout"}}, "is the test set"),
        ({"scoring": {"validation": None}}, "name a data set"),
        ({"scoring": {"validation": "deev"}}, "did you mean `dev`"),
    ],
)
def test_what_a_grid_lacks_is_said(changes: dict[str, Any], message: str, small_recipe: Path):
    with pytest.raises(RecipeError, match=message):
        recipes.load(swept(small_recipe, [1e-3], **changes))
