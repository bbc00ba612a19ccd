"""Ratings of each category, voter or example on its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from toolkit.ratings.table import Table, tabulate
from toolkit.types import Vote

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")


def by_category(
    votes: Iterable[Vote] | pd.DataFrame | Table, rate: Callable[[Table], T], *, label: str = "category"
) -> dict[str, T]:
    """Apply a rating method to the votes of each category: `by_category(votes, bradley_terry)`.

    Args:
        votes: that name their category; those that name none are in none.
        rate: what to do with the votes of one.
        label: `category`, or `voter` or `example` to split by those.

    Returns:
        Category -> result, in the order of the names.
    """
    table = tabulate(votes)
    labels = table.labels.get(label)
    if labels is None:
        return {}
    parts = {
        name: table.take(np.flatnonzero(labels.codes == code)).compact()
        for code, name in enumerate(labels.names)
    }
    return {name: rate(parts[name]) for name in sorted(parts) if len(parts[name])}
