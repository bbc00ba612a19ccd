"""Measurements: per-example statistics of a metric, and how their sums give the metric's value.

A mean keeps one number an example, perplexity two (nats, tokens), BLEU ten n-gram counts. Because every
metric is a function of column sums, one bootstrap and one permutation test serve them all (`intervals`),
corpus metrics included, without scoring a text twice.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from toolkit import io
from toolkit.metric_info import metric_info
from toolkit.types import Record

Array = NDArray[np.float64]

Kind = Literal["mean", "exp_ratio", "ratio", "share", "bleu", "chrf", "ter"]


class Measurement(Record):
    """One metric of one contestant, example by example: a line of `measurements/<contestant>.jsonl`."""

    contestant: str
    metric: str
    kind: Kind
    example_ids: tuple[str, ...]
    rows: tuple[tuple[float, ...], ...]
    """One an example, in the order of `example_ids`; `kind` says what the columns are."""
    signature: str | None = None
    """The reference tool's own signature, where it has one (sacrebleu, bert-score)."""
    lower_is_better: bool = Field(default=False, exclude_if=lambda value: not value)
    """Of a metric of the recipe's own; of others the name says it."""

    replicas: tuple[tuple[tuple[float, ...], ...], ...] = Field(default=(), exclude=True)
    """The rows of models that were trained with other seeds; read from their own files."""

    @property
    def table(self) -> Array:
        """The rows as an array (examples, columns)."""
        return self.tables[0]

    @property
    def tables(self) -> list[Array]:
        """The same for each training seed."""
        shape = len(self.rows), -1
        return [np.array(rows, dtype=np.float64).reshape(shape) for rows in (self.rows, *self.replicas)]

    @property
    def value(self) -> float:
        """The metric over all examples; of several seeds, their mean."""
        return float(np.mean([combine(self.kind, table.sum(axis=0), len(table)) for table in self.tables]))

    @property
    def direction(self) -> int:
        """1 where more is better, or nothing is; -1 where less is."""
        return metric_info(self.metric, {self.metric} if self.lower_is_better else ()).better or 1

    def per_example(self) -> dict[str, float]:
        """The metric of every example on its own."""
        values = combine(self.kind, self.table, 1)
        return dict(zip(self.example_ids, values.tolist(), strict=True))


def combine(kind: Kind, sums: Array, n: int) -> Array:
    """The metric's values (...) from sums (..., columns) of `n` rows."""
    return sums[..., 0] / n if kind == "mean" else COMBINE[kind](sums)


def ratio(sums: Array) -> Array:
    """Columns: (numerator, denominator); 0 / 0 is 0. A `share` is one whose numerator is at most that."""
    return _divide(sums[..., 0], sums[..., 1])


def exp_ratio(sums: Array) -> Array:
    """Columns: (nats, tokens). Perplexity is the exponential of nats per token."""
    return np.exp(ratio(sums))


def bleu(sums: Array) -> Array:
    """Columns as sacrebleu's: (length, reference length, 4 matches, 4 totals); smoothing `exp`."""
    length, reference, matches, totals = sums[..., 0], sums[..., 1], sums[..., 2:6], sums[..., 6:10]
    halvings = np.cumsum((matches == 0) & (totals > 0), axis=-1)
    counted = np.where(matches > 0, matches, 0.5**halvings)
    precisions = _divide(100 * counted, totals)
    with np.errstate(divide="ignore"):
        geometric = np.exp(np.log(precisions).mean(axis=-1))
    brevity = np.exp(np.minimum(0.0, 1 - _divide(reference, length)))
    return np.where((matches.sum(axis=-1) > 0) & (length > 0), brevity * geometric, 0.0)


def chrf(sums: Array) -> Array:
    """Columns as sacrebleu's: (hypothesis, reference, matching n-grams) for each order; beta 2."""
    counts = sums.reshape(*sums.shape[:-1], -1, 3)
    hypothesis, reference, matching = counts[..., 0], counts[..., 1], counts[..., 2]
    there = (hypothesis > 0) & (reference > 0)
    orders = there.sum(axis=-1)
    precision = _divide(np.where(there, _divide(matching, hypothesis), 0.0).sum(axis=-1), orders)
    recall = _divide(np.where(there, _divide(matching, reference), 0.0).sum(axis=-1), orders)
    return 100 * _divide(5 * precision * recall, 4 * precision + recall)


def ter(sums: Array) -> Array:
    """Columns as sacrebleu's: (edits, reference length); words against an empty reference are all wrong."""
    edits, length = sums[..., 0], sums[..., 1]
    return 100 * np.where(length > 0, _divide(edits, length), (edits > 0).astype(float))


COMBINE: dict[Kind, Callable[[Array], Array]] = {
    "ratio": ratio,
    "share": ratio,
    "exp_ratio": exp_ratio,
    "bleu": bleu,
    "chrf": chrf,
    "ter": ter,
}


def paired(first: Measurement, second: Measurement) -> tuple[Array, Array]:
    """The tables of two contestants in one metric, on the examples both have, in the same order."""
    (left, *_), (right, *_) = tables_by_seed(first, second)
    assert right is not None
    return left, right


def tables_by_seed(
    first: Measurement, second: Measurement | None = None
) -> tuple[list[Array], list[Array] | list[None]]:
    """The tables of one or two contestants for each seed, on shared examples; one trained once, repeated."""
    left = first.tables
    if second is None:
        return left, [None] * len(left)
    place = {example: index for index, example in enumerate(second.example_ids)}
    both = [(i, place[example]) for i, example in enumerate(first.example_ids) if example in place]
    right = second.tables
    seeds = max(len(left), len(right))
    mine, theirs = ([i for i, _ in both], [j for _, j in both])
    left, right = ([*side, *side[:1] * (seeds - len(side))] for side in (left, right))
    return [table[mine] for table in left], [table[theirs] for table in right]


def pool_samples(samples: Sequence[Sequence[Measurement]]) -> list[Measurement]:
    """One measurement a metric of several answers to each example: of the first ones, the second ones ...

    An example's row is the mean of its answers' where the metric is a mean, else their sum, so that the
    metric is of all answers; examples stay what is resampled, and intervals hold the chance of sampling.
    """
    if len(samples) == 1:
        return list(samples[0])
    found: dict[str, list[Measurement]] = {}
    for each in (each for part in samples for each in part):
        found.setdefault(each.metric, []).append(each)
    pooled = []
    for parts in found.values():
        rows: dict[str, list[tuple[float, ...]]] = {}
        for part in parts:
            for example, row in zip(part.example_ids, part.rows, strict=True):
                rows.setdefault(example, []).append(row)
        add = np.mean if parts[0].kind == "mean" else np.sum
        both = tuple(tuple(add(np.array(each), axis=0).tolist()) for each in rows.values())
        pooled.append(parts[0].model_copy(update={"example_ids": tuple(rows), "rows": both}))
    return pooled


def measurement_from_values(
    contestant: str, metric: str, values: dict[str, Any] | Sequence[tuple[str, float]]
) -> Measurement:
    """A mean of per-example values, e.g. a benchmark's accuracies or a person's grades."""
    ids, numbers = zip(*dict(values).items(), strict=True) if values else ((), ())
    rows = tuple((float(value),) for value in numbers)
    return Measurement(contestant=contestant, metric=metric, kind="mean", example_ids=ids, rows=rows)


def _divide(above: Array, below: Array) -> Array:
    """Quotients, 0 where the divisor is 0."""
    return np.divide(above, below, out=np.zeros(np.broadcast(above, below).shape), where=below > 0)


FEWEST_SEEDS = 3
"""Two seeds say next to nothing of a third: their values are shown, and claims are about the first."""


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
