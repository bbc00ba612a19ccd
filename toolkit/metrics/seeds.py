"""Figures of stages that were trained several times: their error is over examples and over training seeds.

Examples and seeds are crossed: every trained model answers every example. The variance of the mean is split
by the mean squares of that layout, and each part of the margin has Student's quantile of its own degrees of
freedom (Graybill & Wang 1980). With three seeds, one quantile for both by Satterthwaite's rule covered 92%
where the parts are alike, and this 95%. A statistic that is no mean is taken by its jackknife pseudo-values
(Tukey 1958). `perf/coverage.py` measures it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from toolkit import io
from toolkit.metrics.measurement import Array, Kind, Measurement, combine, tables_by_seed
from toolkit.statistics import LEVEL

FEWEST_SEEDS = 3
"""Two seeds say next to nothing of a third: their values are shown, and claims are about the first."""
NO_ERROR = 1e-12
SMALLEST_P = 1e-9


def seed_folder(run: Path, number: int) -> Path:
    """Where the models trained with the `number`-th seed (from 2) of a run are, and their figures."""
    return run / "seeds" / str(number)


def read_by_seed(run: Path, contestant: str, seeds: int) -> list[list[Measurement]]:
    """A contestant's measurements, of the first seed and of all others whose figures are there."""
    name = Path("measurements") / f"{contestant}.jsonl"
    files = [seed_folder(run, number) / name for number in range(2, seeds + 1)]
    there = [run / name, *(file for file in files if file.is_file())]
    return [list(io.read(file, Measurement)) for file in there]


def join_seeds(by_seed: Sequence[Sequence[Measurement]], seeds: int) -> list[Measurement]:
    """The measurements of the first seed, with those of the others where all of three or more are there."""
    first, *others = by_seed
    if seeds < FEWEST_SEEDS or len(by_seed) < seeds:
        return list(first)
    by_metric = [{each.metric: each for each in other} for other in others]
    return [_with_replicas(each, [other.get(each.metric) for other in by_metric]) for each in first]


def read_measurements(run: Path, contestant: str, seeds: int) -> list[Measurement]:
    """A contestant's measurements, with those of its other seeds where there are three or more in all."""
    return join_seeds(read_by_seed(run, contestant, seeds), seeds)


def _with_replicas(measured: Measurement, others: Sequence[Measurement | None]) -> Measurement:
    rows = [dict(zip(each.example_ids, each.rows, strict=True)) for each in others if each]
    if len(rows) < len(others) or any(row.keys() != set(measured.example_ids) for row in rows):
        return measured  # of a run that was interrupted
    replicas = tuple(tuple(row[example] for example in measured.example_ids) for row in rows)
    return measured.model_copy(update={"replicas": replicas})


def values_by_seed(by_seed: Sequence[Sequence[Measurement]]) -> dict[str, list[float]]:
    """Metric -> its value for each seed."""
    found: dict[str, list[float]] = {}
    for each in (each for measured in by_seed for each in measured):
        found.setdefault(each.metric, []).append(each.value)
    return found


def over_examples_and_seeds(
    first: Measurement, second: Measurement | None = None
) -> tuple[float, float, float] | None:
    """Value, margin of the 95% interval and p-value of a metric, or of its difference.

    `None` where no stage was trained several times, or nothing varies.
    """
    if not first.replicas and not (second and second.replicas):
        return None
    values = pseudo_values(first, second)
    if len(values) < 2 or np.ptp(values) < NO_ERROR:  # noqa: PLR2004 - no spread of one
        return None
    mine, theirs = tables_by_seed(first, second)
    value = float(np.mean([_value(first.kind, *pair) for pair in zip(mine, theirs, strict=True)]))
    return value, crossed_margin(values, 1 - LEVEL), crossed_p_value(values, abs(value))


def student_quantile(level: float, freedom: float) -> float:
    """Quantile of Student's t with `freedom` degrees of freedom."""
    from scipy.stats import t

    return float(t.ppf(level, freedom))


def _value(kind: Kind, left: Array, right: Array | None) -> Array:
    value = combine(kind, left.sum(axis=0), len(left))
    return value if right is None else value - combine(kind, right.sum(axis=0), len(right))


def pseudo_values(first: Measurement, second: Measurement | None = None) -> Array:
    """Jackknife pseudo-values of a metric, or of its difference, shape (examples, seeds).

    Of two contestants with seeds, seed i is paired with seed i: stages of one chain share what they stand on.
    One without, such as the base, is the same beside each.
    """
    mine, theirs = tables_by_seed(first, second)
    columns = []
    for left, right in zip(mine, theirs, strict=True):
        n = len(left)
        without = combine(first.kind, left.sum(axis=0) - left, n - 1)
        if right is not None:
            without = without - combine(first.kind, right.sum(axis=0) - right, n - 1)
        columns.append(n * _value(first.kind, left, right) - (n - 1) * without)
    return np.stack(columns, axis=1)


def crossed_margin(values: Array, level: float) -> float:
    """Half the width of the interval of a table's mean (examples, seeds); `level` is how often it misses."""
    n, seeds = values.shape
    rows, columns, mean = values.mean(axis=1), values.mean(axis=0), values.mean()
    by_example = seeds * float(((rows - mean) ** 2).sum()) / (n - 1)
    by_seed = n * float(((columns - mean) ** 2).sum()) / (seeds - 1)
    rest = float(((values - rows[:, None] - columns + mean) ** 2).sum()) / ((n - 1) * (seeds - 1))
    quantiles = student_quantile(1 - level / 2, n - 1), student_quantile(1 - level / 2, seeds - 1)
    parts = by_example, max(by_seed - rest, 0.0)
    return math.sqrt(sum(q**2 * part for q, part in zip(quantiles, parts, strict=True)) / (n * seeds))


def crossed_p_value(values: Array, apart: float) -> float:
    """Two-sided p-value of a mean this far from zero: the level whose interval just reaches zero."""
    from scipy.optimize import brentq

    if crossed_margin(values, SMALLEST_P) <= apart:
        return SMALLEST_P
    # by logarithms, since small levels need as many digits as large ones
    return math.exp(brentq(lambda x: crossed_margin(values, math.exp(x)) - apart, math.log(SMALLEST_P), 0.0))
