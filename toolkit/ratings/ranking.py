"""Leaderboards: ratings in order, ranks, and which ranks are possible."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from toolkit.ratings.intervals import joint_quantile
from toolkit.ratings.table import Array
from toolkit.svg import Row, interval_chart
from toolkit.types import Rating, to_frame

if TYPE_CHECKING:
    import pandas as pd

DIGITS = 4
"""Decimals of the points in a rating."""


class RatingTable:
    """What every rating result can do: a pandas frame, and an SVG chart in a notebook."""

    ratings: tuple[Rating, ...]
    votes: int

    def to_frame(self) -> pd.DataFrame:
        """One row per contestant, best first: contestant, value, low, high, battles, rank."""
        return to_frame(self.ratings)

    def _repr_svg_(self) -> str:
        rows = [Row(row.contestant, row.value, row.low, row.high) for row in self.ratings]
        return interval_chart(rows, f"Ratings from {self.votes} votes")


def leaderboard(
    names: Sequence[str],
    values: Array,
    ends: tuple[Array, Array],
    battles: NDArray[np.int64],
    ranks: NDArray[np.int64],
) -> tuple[Rating, ...]:
    """Rows of a leaderboard, best first, equal ones by name.

    Args:
        names: of the contestants; the other arguments are in their order.
        values: ratings, in points.
        ends: lower and upper ends of the intervals; `nan` where there is none.
        battles: how many votes each was in.
        ranks: as `ranks_of` gives them.
    """
    rows = [
        Rating(
            contestant=name,
            value=_points(value),
            low=_points(low) if np.isfinite(low) else None,
            high=_points(high) if np.isfinite(high) else None,
            battles=int(count),
            rank=int(rank),
        )
        for name, value, low, high, count, rank in zip(names, values, *ends, battles, ranks, strict=True)
    ]
    return tuple(sorted(rows, key=lambda row: (-row.value, row.contestant)))


def ranks_of(low: Array, high: Array) -> NDArray[np.int64]:
    """1 + the number of contestants whose intervals lie wholly above, as LMArena ranks."""
    return np.asarray(1 + (low[None, :] > high[:, None]).sum(axis=1), dtype=np.int64)


def rank_ranges(strength: Array, covariance: Array, level: float) -> list[tuple[int, int]]:
    """For each contestant the best and worst rank possible, all of them right together at `level`.

    From simultaneous intervals of all differences (Mogstad, Romano, Shaikh and Wilhelm 2024).
    """
    n = len(strength)
    i, j = np.triu_indices(n, 1)
    pairs = np.zeros((len(i), n))
    pairs[np.arange(len(i)), i], pairs[np.arange(len(i)), j] = 1.0, -1.0
    reach = joint_quantile(covariance, pairs, level)
    error = np.sqrt(np.maximum(((pairs @ covariance) * pairs).sum(axis=1), 0))
    above = np.zeros((n, n), dtype=bool)
    gap = strength[i] - strength[j]
    above[i, j], above[j, i] = gap > reach * error, gap < -reach * error
    return [(1 + int(b), n - int(w)) for b, w in zip(above.sum(axis=0), above.sum(axis=1), strict=True)]


def _points(value: float) -> float:
    return round(float(value), DIGITS)
