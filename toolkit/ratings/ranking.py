"""Leaderboards: ratings in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

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
        ranks: as `Decisions.ranks` gives them.
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


def _points(value: float) -> float:
    return round(float(value), DIGITS)
