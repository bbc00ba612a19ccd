"""Leaderboards: ratings in order, and what two of them say of the next battle."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import RatingError
from toolkit.ratings.table import Array
from toolkit.svg import Row, interval_chart
from toolkit.types import Rating, to_frame

if TYPE_CHECKING:
    import pandas as pd

    from toolkit.ratings.decisions import Decisions
    from toolkit.ratings.intervals import Spread

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


@dataclass(frozen=True)
class RatingTable:
    """What every rating result has: a pandas frame, and an SVG chart in a notebook."""

    ratings: tuple[Rating, ...]
    """Best first."""
    votes: int

    def to_frame(self) -> pd.DataFrame:
        """One row per contestant, best first: contestant, value, low, high, battles, rank."""
        return to_frame(self.ratings)

    def ranked_by(self: R, decisions: Decisions) -> R:
        """The same, with the ranks of other decisions: those of an open arena hold under peeking."""
        ranks = dict(zip(decisions.names, decisions.ranks().tolist(), strict=True))
        rows = tuple(row.model_copy(update={"rank": ranks[row.contestant]}) for row in self.ratings)
        return replace(self, ratings=rows)

    def _repr_svg_(self) -> str:
        rows = [Row(row.contestant, row.value, row.low, row.high) for row in self.ratings]
        return interval_chart(rows, f"Ratings from {self.votes} votes")


def leaderboard(
    decisions: Decisions,
    strength: Array,
    spread: Spread,
    contrasts: Array,
    battles: NDArray[np.int64],
    centre: float = CENTRE,
) -> tuple[Rating, ...]:
    """Rows of a leaderboard, best first, equal ones by name.

    Args:
        decisions: whose names give the order of the other arguments, and the ranks.
        strength: in log-odds, shape (n,).
        spread: its covariance.
        contrasts: what each contestant's strength is measured from, shape (n, n).
        battles: how many votes each was in.
        centre: rating of a contrast of 0.
    """
    values = [contrasts @ strength, *spread.interval(strength, contrasts)]
    points = [(centre + SCALE * each).round(DIGITS).tolist() for each in values]
    columns = zip(decisions.names, *points, battles.tolist(), decisions.ranks().tolist(), strict=True)
    rows = (Rating(**dict(zip(Rating.model_fields, row, strict=True))) for row in columns)
    return tuple(sorted(rows, key=lambda row: (-row.value, row.contestant)))


def index_of(names: tuple[str, ...], name: str) -> int:
    """Where a contestant is in `names`; raises `RatingError` if it is not."""
    if name not in names:
        raise RatingError(f"no vote is on {name}; contestants: {', '.join(names)}")
    return names.index(name)
