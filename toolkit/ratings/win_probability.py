"""What two ratings say of the next battle."""

from __future__ import annotations

import math

POINTS_PER_DECADE = 400.0
"""Rating points between contestants of whom one wins ten times as often, as in chess and at LMArena."""

SCALE = POINTS_PER_DECADE / math.log(10)
"""Rating points for one unit of log-odds."""


def win_probability(rating: float, other: float) -> float:
    """Points a contestant can expect from a battle, from two ratings (Elo's and Bradley-Terry's alike)."""
    return 1 / (1 + 10 ** ((other - rating) / POINTS_PER_DECADE))
