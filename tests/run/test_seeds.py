"""A recipe with `seeds`: stages are trained several times, and claims are about the way of training."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file

from toolkit import recipe as recipes
from toolkit.report.load import load_run
from toolkit.run import run
from toolkit.types import Summary


def go(file: Path, out: Path, seeds: int) -> Summary:
    raw = yaml.safe_load(file.read_text())
    raw |= {"seeds": seeds, "contestants": {"base": {}, "dpo": {"stage": "dpo"}}}
    raw["scoring"] |= {"metrics": ["perplexity", "chrf"]}
    raw.pop("judge", None)
    for stage in raw["stages"]:
        stage["trainer"] |= {"max_steps": 2}
    file.write_text(yaml.safe_dump(raw))
    return run(recipes.load(file), out)


def test_three_seeds_are_trained_scored_and_in_every_interval(small_recipe: Path, tmp_path: Path):
    two = go(small_recipe, tmp_path, 2)
    folder = tmp_path / "small"
    weights = "adapters/dpo/adapter_model.safetensors"
    first, second = (load_file(place / weights) for place in (folder, folder / "seeds" / "2"))
    assert any(not first[key].equal(second[key]) for key in first)
    assert {name: len(found["chrf"]) for name, found in two.notes["seeds"]["values"].items()} == {"dpo": 2}
    assert "two seeds were trained, and claims are about the first" in (folder / "report.md").read_text()
    ours = next(score for score in two.scores if (score.contestant, score.metric) == ("dpo", "perplexity"))
    assert ours.value == two.notes["seeds"]["values"]["dpo"]["perplexity"][0]

    three = go(small_recipe, tmp_path, 3)
    assert {"train sft", "train dpo", "answer dpo", "measure dpo"} <= set(three.skipped)
    by_seed = three.notes["seeds"]["values"]["dpo"]["perplexity"]
    ours = next(score for score in three.scores if (score.contestant, score.metric) == ("dpo", "perplexity"))
    assert ours.value == pytest.approx(sum(by_seed) / 3)
    assert "examples and 3 seeds" in (folder / "report.md").read_text()
    assert not (folder / "seeds" / "3" / "completions" / "base.jsonl").exists()
    view = load_run(folder)
    assert {len(each.replicas) for each in view.measurements["dpo"]} == {2}
    assert {len(each.replicas) for each in view.measurements["base"]} == {0}

    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}
    go(small_recipe, tmp_path, 3)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")} == before
