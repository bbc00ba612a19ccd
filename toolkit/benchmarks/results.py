"""lm-eval's result files -> scores."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from toolkit import records
from toolkit.types import Score

Z = 1.959964
"""97.5% quantile of the normal distribution."""


def scores_of(file: Path, contestant: str) -> list[Score]:
    """Every figure of an lm-eval result file, with an interval from its standard error.

    Metrics are named `<task>/<metric>`, with lm-eval's filter where it is not `none`.

    Raises:
        DataError: the file is missing or is no lm-eval result.
    """
    result = records.read_json(file)
    counts = result.get("n-samples", {})
    return [
        score
        for task, figures in result.get("results", {}).items()
        for score in _scores(contestant, task, figures, int(counts.get(task, {}).get("effective", 0)))
    ]


def _scores(contestant: str, task: str, figures: dict[str, Any], n: int) -> list[Score]:
    scores = []
    for key, value in figures.items():
        metric, _, kind = key.partition(",")
        if not isinstance(value, (int, float)) or not kind or metric.endswith("_stderr"):
            continue
        error = figures.get(f"{metric}_stderr,{kind}")
        margin = Z * error if isinstance(error, (int, float)) and math.isfinite(error) else None
        name = f"{task}/{metric}" if kind == "none" else f"{task}/{metric},{kind}"
        low, high = (None, None) if margin is None else (value - margin, value + margin)
        scores.append(Score(contestant=contestant, metric=name, value=value, low=low, high=high, n=n))
    return scores
