"""Training logs -> the curves worth looking at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from toolkit.report import charts

CURVES = {
    "Loss": {"loss": "training", "eval_loss": "held out"},
    "Preference accuracy": {"rewards/accuracies": "training", "eval_rewards/accuracies": "held out"},
    "Reward margin": {"rewards/margins": "training", "eval_rewards/margins": "held out"},
    "Accuracy of the reward": {"accuracy": "training", "eval_accuracy": "held out"},
    "Margin of the reward": {"margin": "training", "eval_margin": "held out"},
    "Reward": {"reward": "training", "eval_reward": "held out"},
    "KL from the start": {"kl": "training", "eval_kl": "held out"},
    "Tokens of an answer": {
        "completions/mean_length": "training",
        "eval_completions/mean_length": "held out",
    },
    "Token accuracy": {"mean_token_accuracy": "training", "eval_mean_token_accuracy": "held out"},
    "Gradient norm": {"grad_norm": "training"},
    "Learning rate": {"learning_rate": "training"},
    "Tokens per second": {"tokens_per_second": "training"},
    "Peak memory, GB": {"memory_bytes": "so far"},
}
"""Title -> column of a training log -> what its line is called."""

SCALES = {"memory_bytes": 1e-9}
"""Columns that are drawn in another unit than they are logged in."""

Drawing = tuple[str, tuple[str, ...], Markup]
"""Title, names of its lines, chart."""


def drawings(rows: Sequence[dict[str, Any]]) -> list[Drawing]:
    """The charts that one training log has figures for."""
    found = []
    for title, columns in CURVES.items():
        lines = [charts.Curve(name, _points(rows, key), name == "held out") for key, name in columns.items()]
        lines = [line for line in lines if line.points]
        chart = charts.curves(title, lines)
        if chart:
            found.append((title, tuple(line.label for line in lines), chart))
    return found


def _points(rows: Sequence[dict[str, Any]], key: str) -> list[tuple[float, float]]:
    numbers = (int, float)
    return [
        (float(row["step"]), float(row[key]) * SCALES.get(key, 1))
        for row in rows
        if isinstance(row.get(key), numbers) and isinstance(row.get("step"), numbers)
    ]
