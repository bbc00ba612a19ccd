"""Completions of a run are found and ordered by its own files, whatever figures these hold."""

from __future__ import annotations

import json
import math
from pathlib import Path

from toolkit.metrics.compare import sort_by_recipe
from toolkit.recipe.files import completion_files
from toolkit.types import Ratings, Score, Summary


def test_an_infinite_score_hides_no_contestant(tmp_path: Path):
    score = Score(contestant="sft", metric="perplexity", value=math.inf, n=3)
    summary = Summary(
        run="r",
        contestants=("sft", "base"),
        scores=(score,),
        differences=(),
        ratings=Ratings(),
        stages=(),
        skipped=(),
        seconds=0.0,
    )
    (tmp_path / "summary.json").write_text(json.dumps(summary.model_dump(mode="json")))
    (tmp_path / "scores.json").write_text(json.dumps([score.model_dump(mode="json")]))
    assert "Infinity" in (tmp_path / "summary.json").read_text()
    (tmp_path / "completions").mkdir()
    for name in ("base", "sft", "gone"):
        (tmp_path / "completions" / f"{name}.jsonl").touch()
    assert list(completion_files(tmp_path)) == ["base", "sft"]
    assert sort_by_recipe(tmp_path, ["base", "sft"]) == ["sft", "base"]
