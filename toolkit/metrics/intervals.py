"""Confidence intervals over examples, paired differences, and the number of examples needed.

Intervals of proportions are Wilson's (1927). Other scores have bootstrap intervals over examples: bias-
corrected and accelerated (BCa, Efron 1987), tails widened for small samples as in Hesterberg (2015). For
corpus metrics the column sums are resampled, so BLEU costs what a mean costs. Differences are paired; they
are nearly symmetric with long tails, where BCa covered 88% of real ones and Student's interval with the
jackknife's error (Tukey 1958) 95%. BLEU, chrF and shares over groups, which have two ends, have that interval
on the logit scale. Where long examples count most, as in these and in perplexity, degrees of freedom are the
fewer the more unlike the sizes are. P-values come from swapping the two contestants' results at random
(approximate randomisation, Riezler & Maxwell 2005), exactly where there are few examples or only right and
wrong. `perf/score_coverage.py` measures interval coverage. Every interval of a bounded metric
has a positive width (`widen`).

Of stages that were trained several times, examples and seeds are crossed: every trained model answers every
example. The variance of the mean is split by the mean squares of that layout, and each part of the margin has
Student's quantile of its own degrees of freedom (Graybill & Wang 1980). With three seeds, one quantile for
both by Satterthwaite's rule covered 92% where the parts are alike, and this 95%. A statistic that is no mean
is taken by its jackknife pseudo-values (Tukey 1958). `perf/coverage.py` measures it.
"""

import math
from collections.abc import Callable, Container, Iterator, Mapping

import numpy as np

from toolkit.metrics.measurement import Array, Kind, Measurement, combine, paired, tables_by_seed
from toolkit.statistics import LEVEL, NORMAL, effective_freedom, smallest_p, wilson
from toolkit.types import Difference, Score

RESAMPLES = 4000
RARE = 10
"""With fewer random swaps as large, their share is too rough a p-value for corrections over many tests."""
MIN_EXAMPLES = 2  # one example says nothing about others
EXACT_UP_TO = 13  # with so few pairs all 2^n swaps are tried

UPPER_END: dict[Kind, float] = {"bleu": 100.0, "chrf": 100.0, "share": 1.0}
"""Of the metrics with intervals on the logit scale; their second column is the size of an example."""

ENDS: dict[Kind, float] = UPPER_END | {"ter": 100.0}  # the same and TER, whose values beyond it are rare
NO_ERROR = 1e-12  # a standard error that is rounding alone
FEW_UNLIKE = 8  # examples unlike the others from which on their spread is known
Statistic = Callable[[Array, int], Array]  # column sums (..., columns) and the number of rows -> values (...)


def score(measurement: Measurement, *, seed: int = 0) -> Score:
    """A measurement as a figure with its 95% interval (none with fewer than two examples)."""
    low, high = interval(measurement, seed=seed)
    names = {"contestant": measurement.contestant, "metric": measurement.metric}
    return Score(**names, value=measurement.value, low=low, high=high, n=len(measurement.rows))


def interval(measurement: Measurement, *, seed: int = 0) -> tuple[float | None, float | None]:
    """The 95% interval of a metric over examples like these, and over training seeds like these."""
    table, kind = measurement.table, measurement.kind
    if len(table) < MIN_EXAMPLES:
        return None, None
    over_seeds = over_examples_and_seeds(measurement)
    if over_seeds is None:
        return _over_examples(table, kind, seed)
    value, margin, _ = over_seeds
    end = 1.0 if kind == "mean" and is_share(table) else UPPER_END.get(kind)
    inside = end is not None and 0 < value < end
    return on_logit_scale(value, margin, end) if end and inside else (value - margin, value + margin)


def _over_examples(table: Array, kind: Kind, seed: int) -> tuple[float, float]:
    if kind == "mean" and is_binary(table):
        return wilson(table.sum(), len(table))
    if kind in UPPER_END:
        return logit_interval(table, kind)
    freedom = degrees_of_freedom(kind, table)
    low, high = bootstrap(table, lambda sums, n: combine(kind, sums, n), seed=seed, freedom=freedom)
    if kind == "mean" and is_share(table):
        return widen(table[:, 0], low, high, (0.0, 1.0))
    if kind == "ter" and high - low < NO_ERROR:  # all alike: as if each edit were one of at most 100
        return widen(combine(kind, table, 1), low, high, (0.0, 100.0))
    return low, high


def widen(values: Array, low: float, high: float, ends: tuple[float, float]) -> tuple[float, float]:
    """An interval of a mean of values that lie between two ends, wide enough where most values are alike.

    Few examples unlike the others say little of how many there are and how far they may lie: at most
    Wilson's upper end of their share, as far as they do on average with one at the end imagined among them.
    """
    alike, counts = np.unique(values, return_counts=True)
    mode, unlike = float(alike[counts.argmax()]), len(values) - int(counts.max())
    if unlike >= FEW_UNLIKE or 2 * unlike > len(values):
        return low, high
    apart, share = values - mode, wilson(unlike, len(values))[1] / (unlike + 1)
    below = share * (float(np.maximum(-apart, 0).sum()) + mode - ends[0])
    above = share * (float(np.maximum(apart, 0).sum()) + ends[1] - mode)
    return max(ends[0], min(low, mode - below)), min(ends[1], max(high, mode + above))


def difference(
    first: Measurement, second: Measurement, *, seed: int = 0, resamples: int = RESAMPLES
) -> Difference | None:
    """`first` minus `second` on the examples both have, at least two; `resamples` swaps for its p-value."""
    left, right = paired(first, second)
    n, columns = left.shape
    if n < MIN_EXAMPLES:
        return None

    def statistic(sums: Array, rows: int) -> Array:
        """Of the two tables side by side."""
        return combine(first.kind, sums[..., :columns], rows) - combine(first.kind, sums[..., columns:], rows)

    both = np.concatenate([left, right], axis=1)
    value = float(statistic(both.sum(axis=0), n))
    over_seeds = over_examples_and_seeds(first, second)
    if over_seeds:
        value, margin, p_value = over_seeds
        low, high = value - margin, value + margin
    elif first.kind == "mean" and is_binary(both):
        low, high = paired_proportions(left[:, 0], right[:, 0])
        p_value = mcnemar(left[:, 0], right[:, 0])
    else:
        margin = student_quantile((1 + LEVEL) / 2, n - 1) * jackknife_error(both, statistic)
        low, high = value - margin, value + margin
        if first.kind == "mean" and is_share(both):
            low, high = widen(left[:, 0] - right[:, 0], low, high, (-1.0, 1.0))
        elif first.kind in ENDS and margin < NO_ERROR:  # no two apart: as far as one more may move it
            reach = ENDS[first.kind] * wilson(0, n)[1]
            low, high = value - reach, value + reach
        p_value = permutation(left, right, statistic, seed=seed, resamples=resamples)
    names = {"metric": first.metric, "contestant": first.contestant, "against": second.contestant}
    return Difference(**names, value=value, low=low, high=high, p_value=p_value, n=n)


def is_share(table: Array) -> bool:
    """Whether every value is between 0 and 1."""
    return bool(((table >= 0) & (table <= 1)).all())


def is_binary(table: Array) -> bool:
    """Whether every value is 0 or 1."""
    return bool(np.isin(table, (0.0, 1.0)).all())


def paired_proportions(left: Array, right: Array) -> tuple[float, float]:
    """Interval of a difference of paired proportions: half a pair added to each cell (Agresti & Min 2005)."""
    n = len(left) + 2
    gains, losses = float((left > right).sum()) + 0.5, float((left < right).sum()) + 0.5
    middle = (gains - losses) / n
    half = NORMAL.inv_cdf((1 + LEVEL) / 2) / n * math.sqrt(gains + losses - (gains - losses) ** 2 / n)
    return max(-1.0, middle - half), min(1.0, middle + half)


def mcnemar(left: Array, right: Array) -> float:
    """Two-sided exact p-value: could so many more gains than losses come from a fair coin?"""
    from scipy.stats import binomtest

    gains, losses = int((left > right).sum()), int((left < right).sum())
    return float(binomtest(gains, gains + losses).pvalue) if gains + losses else 1.0


def permutation(
    left: Array, right: Array, statistic: Statistic, *, seed: int = 0, resamples: int = RESAMPLES
) -> float:
    """Two-sided p-value of a difference, from swapping the two sides of each example at random.

    Tables are (n, columns), of the same examples; `statistic` is of the sums of both side by side.
    """
    n, both = len(left), np.concatenate([left, right], axis=1)
    sums, change = both.sum(axis=0), np.concatenate([right - left, left - right], axis=1)
    observed = abs(float(statistic(sums, n)))
    least = observed - 1e-12 * max(1.0, observed)
    as_large = tried = 0
    for swaps in _swaps(n, seed, resamples):
        as_large += int((np.abs(statistic(sums + swaps @ change, n)) >= least).sum())
        tried += len(swaps)
        if tried >= resamples and as_large >= RARE:
            break
    if n <= EXACT_UP_TO:
        return as_large / tried
    p = (1 + as_large) / (1 + tried)
    if as_large >= RARE:
        return p
    from scipy.stats import t  # Student's test, never below what all swaps give

    error = jackknife_error(both, statistic)
    return min(p, max(2 * float(t.sf(observed / error, n - 1)) if error > 0 else 0.0, smallest_p(n)))


def _swaps(n: int, seed: int, resamples: int) -> Iterator[Array]:
    """All swaps of few examples; else random ones, `resamples` first, then more for small p-values."""
    if n <= EXACT_UP_TO:
        yield ((np.arange(2**n)[:, None] >> np.arange(n)) % 2).astype(np.float64)
        return
    rng = np.random.default_rng(seed)
    for count in _pieces(n, resamples) + _pieces(n, 9 * resamples):
        bits = np.unpackbits(np.frombuffer(rng.bytes(-(-count * n // 8)), dtype=np.uint8), count=count * n)
        yield bits.reshape(count, n).astype(np.float64)


def _pieces(n: int, resamples: int) -> list[int]:
    """How many resamples of `n` rows to make at a time: 32 MB of numbers."""
    piece = max(1, min(resamples, 4_000_000 // n))
    return [min(piece, resamples - start) for start in range(0, resamples, piece)]


def jackknife_error(table: Array, statistic: Statistic) -> float:
    """Standard error of a function of column sums, from leaving each row out in turn."""
    n = len(table)
    left_out = statistic(table.sum(axis=0) - table, n - 1)
    return math.sqrt((n - 1) / n * float(((left_out - left_out.mean()) ** 2).sum()))


def degrees_of_freedom(kind: Kind, table: Array) -> float:
    """Of a metric's error over examples, whose sizes are in the second column of all but means.

    A few long examples can outweigh all others, so that the error is known less well than from as many
    even ones. They are those of a sum of squares weighted by squared sizes (Satterthwaite 1946); of shares,
    whose part in it is bounded, those of the number of even groups (Kish 1965). At least one.
    """
    if kind == "mean" or not table[:, 1].any():
        return len(table) - 1
    weight = table[:, 1] if kind == "share" else table[:, 1] ** 2
    return effective_freedom(weight)


def logit_interval(table: Array, kind: Kind) -> tuple[float, float]:
    """Student's interval on the logit scale; Wilson's at an end, or where all examples are alike.

    `table` has one row an example, `kind` is one of `UPPER_END`.
    """
    end = UPPER_END[kind]
    share = float(combine(kind, table.sum(axis=0), len(table))) / end
    error = jackknife_error(table, lambda sums, n: combine(kind, sums, n)) / end
    if not 0 < share < 1 or error < NO_ERROR:
        low, high = wilson(share * len(table), len(table))
        return end * low, end * max(high, share)
    margin = student_quantile((1 + LEVEL) / 2, degrees_of_freedom(kind, table)) * error
    return on_logit_scale(end * share, end * margin, end)


def on_logit_scale(value: float, margin: float, end: float) -> tuple[float, float]:
    """An interval of a value strictly between 0 and `end` that is symmetric on the logit scale."""
    from scipy.special import expit, logit

    share = value / end
    half = margin / end / (share * (1 - share))
    low, high = expit(logit(share) + np.array([-half, half]))
    return end * float(low), end * float(high)


def bootstrap(
    table: Array, statistic: Statistic, *, seed: int = 0, freedom: float | None = None
) -> tuple[float, float]:
    """BCa interval of a function of column sums; rows of the table (n, columns), n at least 2, resampled.

    Its tails are Student's with these degrees of freedom, n - 1 where they are left out.
    """
    n, sums = len(table), table.sum(axis=0)
    observed = float(statistic(sums, n))
    rng, even = np.random.default_rng(seed), np.full(n, 1 / n)
    resampled = [rng.multinomial(n, even, size=count) @ table for count in _pieces(n, RESAMPLES)]
    values = np.sort(statistic(np.concatenate(resampled), n))
    below = float((values < observed).mean() + (values == observed).mean() / 2)
    bias = NORMAL.inv_cdf(min(max(below, 0.5 / RESAMPLES), 1 - 0.5 / RESAMPLES))
    left_out = statistic(sums - table, n - 1)
    apart = left_out.mean() - left_out
    spread = float((apart**2).sum())
    skew = float((apart**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0
    # the normal quantile with Student's tail; a bootstrap's spread is (n-1)/n too small
    tail = student_quantile((1 + LEVEL) / 2, freedom or n - 1) * math.sqrt(n / (n - 1))
    low, high = (float(np.quantile(values, _shifted(z, bias, skew))) for z in (-tail, tail))
    return low, high


def _shifted(z: float, bias: float, skew: float) -> float:
    """BCa's quantile level for a normal quantile `z`."""
    moved = bias + z
    return NORMAL.cdf(bias + moved / (1 - skew * moved)) if skew * moved < 1 else float(z > 0)


def examples_needed(found: Difference, *, power: float = 0.8) -> int | None:
    """How many examples would show a difference of this size at p < 0.05; `None` where it is zero."""
    if found.value == 0:
        return None
    two_sided = NORMAL.inv_cdf((1 + LEVEL) / 2)
    error = (found.high - found.low) / (2 * two_sided)
    needed = found.n * ((two_sided + NORMAL.inv_cdf(power)) * error / found.value) ** 2
    return max(MIN_EXAMPLES, math.ceil(needed))


def clustered(measurement: Measurement, groups: Mapping[str, str]) -> Measurement:
    """The same metric with groups in the place of examples, for intervals over groups.

    Where examples come in groups (questions on one passage, turns of one conversation) they are not
    independent, and intervals over examples are too narrow. The value stays what it was. An example that
    `groups` has not is a group of its own.
    """
    tables, kind = measurement.tables, measurement.kind
    if kind == "mean":
        kind = "share" if all(map(is_share, tables)) else "ratio"
        tables = [np.concatenate([table, np.ones_like(table)], axis=1) for table in tables]
    members = [groups.get(example, example) for example in measurement.example_ids]
    place = {group: number for number, group in enumerate(dict.fromkeys(members))}
    sums = [np.zeros((len(place), table.shape[1])) for table in tables]
    for total, table in zip(sums, tables, strict=True):
        np.add.at(total, [place[group] for group in members], table)
    rows, *replicas = (tuple(map(tuple, total.tolist())) for total in sums)
    update = {"kind": kind, "example_ids": tuple(place), "rows": rows, "replicas": tuple(replicas)}
    return measurement.model_copy(update=update)


def restricted(measurement: Measurement, examples: Container[str]) -> Measurement:
    """The part of a measurement that is on these examples."""
    kept = [place for place, example in enumerate(measurement.example_ids) if example in examples]
    columns = (measurement.example_ids, measurement.rows, *measurement.replicas)
    ids, rows, *replicas = (tuple(column[place] for place in kept) for column in columns)
    return measurement.model_copy(update={"example_ids": ids, "rows": rows, "replicas": tuple(replicas)})


SMALLEST_P = 1e-9  # what a p-value of several seeds is never below


def over_examples_and_seeds(
    first: Measurement, second: Measurement | None = None
) -> tuple[float, float, float] | None:
    """Value, 95% margin and p-value of a metric or its difference; `None` without seeds or variance."""
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
