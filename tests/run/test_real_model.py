"""The whole path once on the packaged model, with a few rows of the demo."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

CHANGES = [
    "data.tickets.limit=6",
    "data.pairs.limit=2",
    "data.pairs-heldout.limit=2",
    "data.heldout.limit=2",
    "stages.0.trainer.max_steps=2",
    "data.dev={source: package:tickets/sft.jsonl, shuffle: true, limit: 2}",
    "scoring.validation=dev",
    "stages.0.select={every: 1, examples: 2}",
    "stages.1.trainer.max_steps=1",
    "scoring.generation.max_new_tokens=8",
    "scoring.benchmarks.0.limit=2",
    "judge.limit=1",
    "contestants.base-fewshot.shots=2",
]


@pytest.mark.slow
def test_the_demo_with_a_few_rows(tmp_path: Path):
    options = [part for change in CHANGES for part in ("--set", change)]
    command = [sys.executable, "-m", "toolkit.cli", "run", "demo", "--out", str(tmp_path), "--json", *options]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr[-2000:]
    summary = json.loads(finished.stdout)
    assert summary["contestants"] == ["base", "base-fewshot", "sft", "dpo"]

    scores = {(score["contestant"], score["metric"]): score["value"] for score in summary["scores"]}
    assert scores["sft", "perplexity"] < scores["base", "perplexity"]
    assert {"fields_right", "card_right", "rougeL", "bertscore_f1", "bits_per_byte"} <= {
        metric for _, metric in scores
    }
    assert ("dpo", "tickets_choice/acc") in scores
    assert summary["stages"][0]["selected_step"] in (1, 2)
    assert all(stage["train_loss"] > 0 for stage in summary["stages"])
    assert len(summary["ratings"]["judge"]) == 4

    page = (tmp_path / "demo" / "report.html").read_text()
    assert "<script" not in page
    assert "http://" not in page.replace("http://www.w3.org", "")
