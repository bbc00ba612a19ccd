"""Scores and paired differences over parts of the examples: by a column of their rows, or by length."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from toolkit.errors import DataError
from toolkit.metrics.intervals import clustered, difference, score
from toolkit.metrics.measurement import Measurement
from toolkit.types import Difference, Example, Record, Score

LENGTH = "length"
"""The slice by terciles of the prompt's characters, where no column has this name."""
THIRDS = ("short", "middle", "long")
MOST_VALUES = 12
"""A column with more values keeps the most frequent ones; the others are `other`."""
OTHER = "other"


class SliceFigure(Record):
    """A metric of one contestant, or the difference of two, on the examples of one slice."""

    column: str
    value: str
    score: Score | None = None
    difference: Difference | None = None

    @property
    def slice(self) -> tuple[str, str]:
        return self.column, self.value

    @property
    def metric(self) -> str:
        found = self.score or self.difference
        assert found is not None
        return found.metric


def slice_examples(
    examples: Sequence[Example], rows: Mapping[str, Mapping[str, Any]], columns: Iterable[str]
) -> dict[tuple[str, str], frozenset[str]]:
    """(column, value) -> ids of the examples in this slice.

    Args:
        examples: what was asked.
        rows: example id -> its row in the data set.
        columns: names of columns, or `length`.

    Raises:
        DataError: no row has such a column.
    """
    found: dict[tuple[str, str], frozenset[str]] = {}
    for column in columns:
        values = {example.id: rows.get(example.id, {}).get(column) for example in examples}
        if all(value is None for value in values.values()):
            if column != LENGTH:
                raise DataError(f"scoring.slices: no example has a column `{column}`")
            values = _terciles(examples)
        texts = {example: "none" if value is None else str(value)[:80] for example, value in values.items()}
        common = [text for text, _ in Counter(texts.values()).most_common(MOST_VALUES)]
        if len(set(texts.values())) > MOST_VALUES:
            texts = {example: text if text in common[:-1] else OTHER for example, text in texts.items()}
        order = dict.fromkeys(texts[example.id] for example in examples)
        for text in THIRDS if order.keys() == set(THIRDS) else order:
            found[column, text] = frozenset(example for example, each in texts.items() if each == text)
    return found


def _terciles(examples: Sequence[Example]) -> dict[str, Any]:
    sizes = np.array([sum(len(turn.content) for turn in example.messages) for example in examples])
    place = np.searchsorted(np.quantile(sizes, [1 / 3, 2 / 3]), sizes)
    return {example.id: THIRDS[third] for example, third in zip(examples, place, strict=True)}


def slice_figures(
    measured: Sequence[Measurement],
    slices: Mapping[tuple[str, str], frozenset[str]],
    groups: Mapping[str, str],
) -> list[SliceFigure]:
    """Every contestant's score on every slice, and each later contestant minus each earlier one.

    Args:
        measured: of all contestants, in the recipe's order; not yet over groups.
        slices: ids of each slice's examples.
        groups: example id -> group, where intervals are over groups.
    """
    figures = []
    by_metric: dict[str, list[Measurement]] = {}
    for each in measured:
        by_metric.setdefault(each.metric, []).append(each)
    for (column, value), ids in slices.items():
        for own in by_metric.values():
            parts = [part for each in own if (part := _part(each, ids, groups)) is not None]
            figures += [SliceFigure(column=column, value=value, score=score(part)) for part in parts]
            for earlier, later in combinations(parts, 2):
                found = difference(later, earlier)
                if found is not None:
                    figures.append(SliceFigure(column=column, value=value, difference=found))
    return figures


def _part(measured: Measurement, ids: frozenset[str], groups: Mapping[str, str]) -> Measurement | None:
    """A measurement on some of its examples."""
    places = [place for place, example in enumerate(measured.example_ids) if example in ids]
    if not places:
        return None
    part = measured.model_copy(
        update={
            "example_ids": tuple(measured.example_ids[place] for place in places),
            "rows": tuple(measured.rows[place] for place in places),
        }
    )
    return clustered(part, groups) if groups else part
