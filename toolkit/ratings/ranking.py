"""Leaderboards: ratings in order, and what two of them say of the next battle."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from toolkit.ratings.table import Array
from toolkit.svg import Row, interval_chart
from toolkit.types import Rating, to_frame

if TYPE_CHECKING:
    import pandas as pd

    from toolkit.ratings.decisions import Decisions

POINTS_PER_DECADE = 400.0
"""Rating points between contestants of whom one wins ten times as often, as in chess and at LMArena."""

SCALE = POINTS_PER_DECADE / math.log(10)
"""Rating points for one unit of log-odds."""

CENTRE = 1000.0

DIGITS = 4
"""Decimals of the points in a rating."""


R = TypeVar("R", bound="RatingTable")


def win_probability(rating: float, other: float) -> float:
    """Points a contestant can expect from a battle, from two ratings (Elo's and Bradley-Terry's alike)."""
    return 1 / (1 + 10 ** ((other - rating) / POINTS_PER_DECADE))


class RatingTable:
    """What every rating result can do: a pandas frame, and an SVG chart in a notebook."""

    ratings: tuple[Rating, ...]
    votes: int

    def to_frame(self) -> pd.DataFrame:
        """One row per contestant, best first: contestant, value, low, high, battles, rank."""
        return to_frame(self.ratings)

    def ranked_by(self: R, decisions: Decisions) -> R:
        """The same, with the ranks of other decisions: those of an open arena hold under peeking."""
        ranks = dict(zip(decisions.names, decisions.ranks().tolist(), strict=True))
        rows = tuple(row.model_copy(update={"rank": ranks[row.contestant]}) for row in self.ratings)
        result: Any = self
        return replace(result, ratings=rows)  # type: ignore[no-any-return]

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
    columns = zip(names, values, *ends, battles, ranks, strict=True)
    rows = [
        Rating(
            contestant=name,
            value=round(float(value), DIGITS),
            low=round(float(low), DIGITS) if np.isfinite(low) else None,
            high=round(float(high), DIGITS) if np.isfinite(high) else None,
            battles=int(count),
            rank=int(rank),
        )
        for name, value, low, high, count, rank in columns
    ]
    return tuple(sorted(rows, key=lambda row: (-row.value, row.contestant)))
