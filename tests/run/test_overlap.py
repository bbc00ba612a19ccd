"""Benchmark questions among the training rows are named on the leaderboard."""

from __future__ import annotations

import json
from pathlib import Path

from toolkit.run.checks.overlap import contamination_notes, find_contamination

QUESTION = "How many apples does Ann have if she buys three bags of five apples each?"
OTHER = "What is the name of the longest river that flows through the old town of Basel in spring?"


def test_long_questions_count_when_nearly_all_is_there_and_short_ones_when_all_is():
    training = [f"Some text. {QUESTION.upper().replace(' ', '  ')} Fifteen.", "my old lamp is broken, help"]
    requested = {"sums": [QUESTION, OTHER], "short": ["My old lamp is broken!", "the lamp", ""]}
    sums, short = contamination_notes("sft", requested, training)
    assert sums.startswith("sft: 1 of 2 questions of sums are in its training data ('How many apples")
    assert short.startswith("sft: 1 of 3 questions of short")
    assert contamination_notes("sft", {"sums": [OTHER]}, training) == []


def test_a_run_is_compared_with_what_each_contestant_was_trained_on(tmp_path: Path):
    rows = [{"prompt": QUESTION, "completion": "Fifteen."}]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = {
        "name": "t",
        "base": "smollm2-135m-instruct",
        "data": {name: {"source": str(tmp_path / f"{name}.jsonl")} for name in ("train", "gone")},
        "stages": [
            {"name": "sft", "method": "sft", "data": "train"},
            {"name": "more", "method": "sft", "start": "sft", "data": "gone"},
        ],
    }
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    for name in ("base", "sft", "more"):
        log = tmp_path / "benchmarks" / name / "samples_sums.jsonl"
        log.parent.mkdir(parents=True)
        sample = {"doc_id": 0, "doc": {"question": QUESTION, "answer": "15"}}
        log.write_text((json.dumps(sample) + "\n") * 2)
    known, unreadable = find_contamination(tmp_path)
    assert known.startswith("sft: 1 of 1 questions of sums are in its training data")
    assert unreadable.startswith("more: its training data cannot be compared")
    assert find_contamination(tmp_path / "benchmarks") == []
