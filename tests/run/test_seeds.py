"""A recipe with `seeds`: stages are trained several times, and claims are about the way of training."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from safetensors.torch import load_file

from toolkit import recipe as recipes
from toolkit.cli import main
from toolkit.errors import RecipeError
from toolkit.report.load import load_run
from toolkit.run import run
from toolkit.types import Completion, Summary


def go(file: Path, out: Path, seeds: int) -> Summary:
    raw = yaml.safe_load(file.read_text())
    raw |= {"seeds": seeds, "contestants": {"base": {}, "dpo": {"stage": "dpo"}}}
    raw["scoring"] |= {"metrics": ["perplexity", "chrf"]}
    raw.pop("judge", None)
    for stage in raw["stages"]:
        stage["trainer"] |= {"max_steps": 2}
    file.write_text(yaml.safe_dump(raw))
    return run(recipes.load(file), out)


@pytest.mark.slow
def test_three_seeds_are_trained_scored_and_in_every_interval(small_recipe: Path, tmp_path: Path):
    two = go(small_recipe, tmp_path, 2)
    folder = tmp_path / "small"
    weights = "adapters/dpo/adapter_model.safetensors"
    first, second = (load_file(place / weights) for place in (folder, folder / "seeds" / "2"))
    assert any(not first[key].equal(second[key]) for key in first)
    assert {name: len(found["chrf"]) for name, found in two.notes["seeds"]["values"].items()} == {"dpo": 2}
    report = (folder / "report.md").read_text()
    assert "two seeds were trained, and claims are about the first" in report
    assert "| contestant | seed 1 | seed 2 |" in report
    ours = next(score for score in two.scores if (score.contestant, score.metric) == ("dpo", "perplexity"))
    assert ours.value == two.notes["seeds"]["values"]["dpo"]["perplexity"][0]

    three = go(small_recipe, tmp_path, 3)
    assert {"train sft", "train dpo", "answer dpo", "measure dpo"} <= set(three.skipped)
    by_seed = three.notes["seeds"]["values"]["dpo"]["perplexity"]
    ours = next(score for score in three.scores if (score.contestant, score.metric) == ("dpo", "perplexity"))
    assert ours.value == pytest.approx(sum(by_seed) / 3)
    assert "examples and 3 seeds" in (folder / "report.md").read_text()
    assert "95% interval over examples and 3 training seeds" in (folder / "report.html").read_text()
    scored = CliRunner().invoke(main, ["score", str(folder), "--metric", "chrf", "--json"])
    printed = {(s["contestant"], s["metric"]): s for s in json.loads(scored.stdout)["scores"]}
    for each in three.scores:
        assert printed[each.contestant, each.metric] == pytest.approx(each.model_dump()), "as in the report"
    board = json.loads(CliRunner().invoke(main, ["leaderboard", str(folder), "--json"]).stdout)
    cells = {row["contestant"]: row["cells"][0]["score"] for row in board["rows"]}
    shown = {score.contestant: score.model_dump() for score in three.scores if score.metric == "chrf"}
    assert (board["tasks"], cells) == (["chrf"], {name: pytest.approx(each) for name, each in shown.items()})
    assert (folder / "report.html").read_text().count('class="ring') == 3
    assert not (folder / "seeds" / "3" / "completions" / "base.jsonl").exists()
    view = load_run(folder)
    assert {len(each.replicas) for each in view.measurements["dpo"]} == {2}
    assert {len(each.replicas) for each in view.measurements["base"]} == {0}

    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}
    go(small_recipe, tmp_path, 3)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")} == before


@pytest.mark.slow
def test_several_answers_an_example_are_scored_together(small_recipe: Path, tmp_path: Path):
    raw = yaml.safe_load(small_recipe.read_text())
    raw["scoring"]["generation"] |= {"temperature": 1.5, "samples": 3, "max_new_tokens": 4}
    raw["scoring"] |= {"metrics": ["chrf", {"regex": "[a-m]", "name": "early"}, "length"]}
    raw |= {"stages": raw["stages"][:1], "contestants": {"base": {}, "sft": {"stage": "sft"}}}
    raw.pop("judge")
    small_recipe.write_text(yaml.safe_dump(raw))
    summary, folder = run(recipes.load(small_recipe), tmp_path), tmp_path / "small"
    answers, first = (
        [Completion.model_validate_json(line) for line in (folder / place).read_text().splitlines()]
        for place in ("samples/sft.jsonl", "completions/sft.jsonl")
    )
    assert (answers[:6], len(answers), summary.notes["samples"]) == (first, 18, 3)
    by_example = {
        each.example_id: {a.completion for a in answers if a.example_id == each.example_id} for each in first
    }
    assert all(len(texts) == 3 for texts in by_example.values()), "drawn anew"
    early = next(s for s in summary.scores if (s.contestant, s.metric) == ("sft", "early"))
    assert early.value == pytest.approx(sum(bool(re.search("[a-m]", a.completion)) for a in answers) / 18)
    assert early.n == 6
    assert "scores are of 3 sampled answers" in (folder / "report.md").read_text()
    scored = CliRunner().invoke(main, ["score", str(folder), "--metric", "chrf", "--json"])
    printed = {(s["contestant"], s["metric"]): s for s in json.loads(scored.stdout)["scores"]}
    for each in summary.scores:
        if each.metric in ("chrf", "early"):
            assert printed[each.contestant, each.metric] == pytest.approx(each.model_dump())
    one = recipes.load(small_recipe, {"scoring.generation.samples": 1, "name": "one"})
    other = run(one, tmp_path)
    assert (tmp_path / "one/completions/sft.jsonl").read_bytes() == (
        folder / "completions/sft.jsonl"
    ).read_bytes()
    assert (
        "1 other run in this results folder (small) was scored on the same test set"
        in (tmp_path / "one/report.md").read_text()
    )
    assert other.run == "one"


def test_samples_need_sampling(small_recipe: Path):
    with pytest.raises(RecipeError, match="at temperature 0 all answers are alike"):
        recipes.load(small_recipe, {"scoring.generation.samples": 2})
