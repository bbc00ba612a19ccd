"""What an evaluation split chooses: the point of a grid (`sweep`), the checkpoint of a stage (`select`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from toolkit import recipe as recipes
from toolkit.errors import RecipeError
from toolkit.run import checks, run

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


@pytest.mark.slow
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
    assert (again.notes["sweep"], again.executed) == (sweep, ())
    more = run(recipes.load(swept(small_recipe, [1e-5, 2e-2, 1e-3])), out)
    assert len(list((out / "small-sweep").glob("*/adapters/sft"))) == 3
    assert len(more.notes["sweep"]["variants"]) == 3
    assert "train sft" in more.executed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sweep": {"stages.sfft.trainer.beta": [1]}}, "no such place"),
        ({"sweep": {"seed": [1, 2]}}, "sweep keys of stages"),
        ({"sweep": {RATE: []}}, "no value to try"),
        ({"sweep": {RATE: [n / 100 for n in range(1, 66)]}}, "at most 64"),
        ({"sweep": {RATE: [0.1, 0.2, 0.1]}}, "a value is there twice"),
        ({"sweep": {"stages.sft.data": ["sft", "sftt"]}}, "no data set is named `sftt`"),
        ({"scoring": {"validation": "heldout"}}, "is the test set"),
        ({"scoring": {"validation": None}}, "name a data set"),
        ({"scoring": {"validation": "deev"}}, "did you mean `dev`"),
    ],
)
def test_what_a_grid_lacks_is_reported(changes: dict[str, Any], message: str, small_recipe: Path):
    with pytest.raises(RecipeError, match=message):
        recipes.load(swept(small_recipe, [1e-3], **changes))


def selecting(file: Path, **select: Any) -> Path:
    raw = yaml.safe_load(swept(file, [1e-3], sweep={}).read_text())
    raw["stages"][0]["select"] = {"every": 2} | select
    file.write_text(yaml.safe_dump(raw))
    return file


@pytest.mark.slow
def test_a_stage_follows_what_its_checkpoint_is_chosen_by(small_recipe: Path, tmp_path: Path):
    file = selecting(small_recipe)
    first = run(recipes.load(file), tmp_path / "results")
    assert first.stages[0].selected_step in (2, 4)
    report = (tmp_path / "results/small/report.html").read_text()
    assert f"chrF on the evaluation split, step {first.stages[0].selected_step} published" in report
    again = run(recipes.load(file, {"stages.0.trainer.save_steps": 3}), tmp_path / "results")
    assert "train sft" in again.skipped, "where checkpoints are kept besides changes nothing"
    dev = small_recipe.parent / "dev.jsonl"
    dev.write_text(dev.read_text().replace("Product: bag", "A bag?"))
    anew = run(recipes.load(file), tmp_path / "results")
    assert (anew.run, "train sft" in anew.skipped) == ("small-2", False)


SPLIT = {"prompt": "the lamp", "completion": "x"}


@pytest.mark.parametrize(
    ("every", "rows", "message"),
    [
        (4, [SPLIT], "the first evaluation is at step 4 of 4, which leaves no choice"),
        (2, [SPLIT], None),
        (2, [{"prompt": "my old fan"}], "no example has a reference, and the choice is made by chrf"),
        (2, [SPLIT, {"prompt": "old bag", "completion": "x"}], "1 of 2 examples are in the test set"),
        (2, [{"prompt": 3}], "dev.jsonl:1: "),
    ],
)
def test_check_finds_what_leaves_no_choice(
    every: int, rows: list[Any], message: str | None, small_recipe: Path
):
    file = selecting(small_recipe, every=every)
    (file.parent / "dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tested = [{"prompt": f"old {word}", "completion": f"Product: {word}"} for word in ("bag", "fan")]
    (file.parent / "heldout.jsonl").write_text("".join(json.dumps(row) + "\n" for row in tested))
    findings = checks.check(recipes.load(file)).findings
    found = [each for each in findings if each.code in ("select", "validation")]
    assert [each.severity for each in found] == (["error"] if message else [])
    assert not message or message in found[0].message


def test_every_value_of_a_grid_is_checked_before_the_first_is_trained(small_recipe: Path, tmp_path: Path):
    recipe = recipes.load(swept(small_recipe, [1e-5, -1.0], sweep={RATE: [1e-5, -1.0, "x"]}))
    found = [each for each in checks.check(recipe).findings if each.place == f"sweep.{RATE}"]
    assert [each.severity for each in found] == ["error", "error"]
    assert "with -1.0: stages.sft.trainer.learning_rate: -1.0 is no number above 0" in found[0].message
    with pytest.raises(RecipeError, match="with 'x': "):
        run(recipe, tmp_path / "results")
    assert not (tmp_path / "results").exists()
    ranks = swept(small_recipe, [], sweep={"stages.sft.adapter.r": [4, 8]})
    assert not [each for each in checks.check(recipes.load(ranks)).findings if each.place.startswith("sweep")]
