"""How sure a figure is: intervals over examples, paired differences, and what would settle them.

Intervals of proportions are Wilson's (1927). All others are bootstrap intervals over examples: bias-corrected
and accelerated (BCa, Efron 1987), with the tails widened for small samples as Hesterberg (2015) advises. For
corpus metrics the column sums are resampled, so BLEU costs what a mean costs. Differences are paired, and
their p-values come from swapping the two contestants' results at random (approximate randomisation, Riezler
& Maxwell 2005), exactly where there are few examples or only right and wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist

import numpy as np

from toolkit.metrics.measurement import Array, Measurement, combine, paired
from toolkit.types import Difference, Score

RESAMPLES = 4000
LEVEL = 0.95
EXACT_UP_TO = 13
"""With so few pairs all 2^n swaps are tried."""

NORMAL = NormalDist()

Statistic = Callable[[Array, int], Array]
"""Column sums (..., columns) and the number of rows -> values (...)."""


def score(measurement: Measurement, *, seed: int = 0) -> Score:
    """A measurement as a figure with its 95% interval (none with fewer than two examples)."""
    low, high = interval(measurement, seed=seed)
    return Score(
        contestant=measurement.contestant,
        metric=measurement.metric,
        value=measurement.value,
        low=low,
        high=high,
        n=len(measurement.rows),
    )


def interval(measurement: Measurement, *, seed: int = 0) -> tuple[float | None, float | None]:
    """The 95% interval of a metric over examples like these."""
    table = measurement.table
    if len(table) < 2:
        return None, None
    if measurement.kind == "mean" and is_binary(table):
        return wilson(table.sum(), len(table))
    return bootstrap(table, lambda sums, n: combine(measurement.kind, sums, n), seed=seed)


def difference(first: Measurement, second: Measurement, *, seed: int = 0) -> Difference | None:
    """`first` minus `second` in their metric, on the examples both have; `None` with fewer than two."""
    left, right = paired(first, second)
    n, columns = left.shape
    if n < 2:
        return None

    def statistic(sums: Array, rows: int) -> Array:
        """Of the two tables side by side."""
        return combine(first.kind, sums[..., :columns], rows) - combine(first.kind, sums[..., columns:], rows)

    both = np.concatenate([left, right], axis=1)
    if first.kind == "mean" and is_binary(both):
        low, high = paired_proportions(left[:, 0], right[:, 0])
        p_value = mcnemar(left[:, 0], right[:, 0])
    else:
        low, high = bootstrap(both, statistic, seed=seed)
        p_value = permutation(left, right, statistic, seed=seed)
    return Difference(
        metric=first.metric,
        contestant=first.contestant,
        against=second.contestant,
        value=float(statistic(both.sum(axis=0), n)),
        low=low,
        high=high,
        p_value=p_value,
        n=n,
    )


def is_binary(table: Array) -> bool:
    """Whether every value is 0 or 1."""
    return bool(np.isin(table, (0.0, 1.0)).all())


def wilson(successes: float, n: int) -> tuple[float, float]:
    """Wilson's score interval of a proportion: has width after five successes in five, unlike a bootstrap."""
    z, share = NORMAL.inv_cdf((1 + LEVEL) / 2), successes / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def paired_proportions(left: Array, right: Array) -> tuple[float, float]:
    """Interval of a difference of paired proportions: Wald with half a pair added to each cell (Agresti & Min 2005)."""
    n = len(left) + 2
    gains, losses = float((left > right).sum()) + 0.5, float((left < right).sum()) + 0.5
    middle = (gains - losses) / n
    half = NORMAL.inv_cdf((1 + LEVEL) / 2) / n * math.sqrt(gains + losses - (gains - losses) ** 2 / n)
    return max(-1.0, middle - half), min(1.0, middle + half)


def mcnemar(left: Array, right: Array) -> float:
    """Two-sided exact p-value: could so many more gains than losses come from a fair coin?"""
    gains, losses = int((left > right).sum()), int((left < right).sum())
    tosses, fewer = gains + losses, min(gains, losses)
    tail = sum(math.comb(tosses, k) for k in range(fewer + 1)) / 2**tosses
    return min(1.0, 2 * tail)


def permutation(left: Array, right: Array, statistic: Statistic, *, seed: int = 0) -> float:
    """Two-sided p-value of a difference, from swapping the two sides of each example at random.

    Args:
        left: table of the first contestant (n, columns).
        right: table of the second, same examples.
        statistic: of the sums of both tables side by side.
        seed: of the swaps.
    """
    n = len(left)
    total, change = (
        np.concatenate([left, right], axis=1),
        np.concatenate([right - left, left - right], axis=1),
    )
    exact = n <= EXACT_UP_TO
    swaps = _all_swaps(n) if exact else np.random.default_rng(seed).random((RESAMPLES, n)) < 0.5
    values = np.abs(statistic(total.sum(axis=0) + swaps.astype(np.float64) @ change, n))
    observed = abs(float(statistic(total.sum(axis=0), n)))
    as_large = int((values >= observed - 1e-12 * max(1.0, observed)).sum())
    return as_large / len(swaps) if exact else (1 + as_large) / (1 + len(swaps))


def _all_swaps(n: int) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    return (np.arange(2**n)[:, None] >> np.arange(n)) % 2 == 1


def bootstrap(table: Array, statistic: Statistic, *, seed: int = 0) -> tuple[float, float]:
    """BCa interval of a function of column sums, rows resampled.

    Args:
        table: one row an example (n, columns), n at least 2.
        statistic: of column sums.
        seed: of the resampling.
    """
    n = len(table)
    sums = table.sum(axis=0)
    observed = float(statistic(sums, n))
    values = np.sort(statistic(_resampled_sums(table, seed), n))
    below = float((values < observed).mean() + (values == observed).mean() / 2)
    bias = NORMAL.inv_cdf(min(max(below, 0.5 / RESAMPLES), 1 - 0.5 / RESAMPLES))
    left_out = statistic(sums - table, n - 1)
    apart = left_out.mean() - left_out
    spread = float((apart**2).sum())
    skew = float((apart**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0
    tail = _small_sample_quantile(n)
    return (
        float(np.quantile(values, _shifted(-tail, bias, skew))),
        float(np.quantile(values, _shifted(tail, bias, skew))),
    )


def _resampled_sums(table: Array, seed: int) -> Array:
    """Column sums of `RESAMPLES` resamples (resamples, columns), in pieces of at most 32 MB."""
    rng, n = np.random.default_rng(seed), len(table)
    piece = max(1, min(RESAMPLES, 4_000_000 // n))
    parts = [
        rng.multinomial(n, np.full(n, 1 / n), size=min(piece, RESAMPLES - start)).astype(np.float64) @ table
        for start in range(0, RESAMPLES, piece)
    ]
    return np.concatenate(parts)


def _small_sample_quantile(n: int) -> float:
    """The normal quantile whose bootstrap tail has Student's width: bootstrap spread is too small by (n-1)/n."""
    return student_quantile((1 + LEVEL) / 2, n - 1) * math.sqrt(n / (n - 1))


def _shifted(z: float, bias: float, skew: float) -> float:
    """BCa's quantile level for a normal quantile `z`."""
    moved = bias + z
    return NORMAL.cdf(bias + moved / (1 - skew * moved)) if skew * moved < 1 else float(z > 0)


def student_quantile(level: float, freedom: int) -> float:
    """Quantile of Student's t with `freedom` degrees of freedom."""
    from scipy.stats import t

    return float(t.ppf(level, freedom))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for how many comparisons were made (Holm 1979), in the order given."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = largest
    return corrected
