"""What ratings say of the next battle, and how many votes would settle a pair."""

from __future__ import annotations

import math
from statistics import NormalDist

NORMAL = NormalDist()

POINTS_PER_DECADE = 400.0
"""Rating points between contestants of whom one wins ten times as often, as in chess and at LMArena."""

SCALE = POINTS_PER_DECADE / math.log(10)
"""Rating points for one unit of log-odds."""

NEGLIGIBLE = 0.05
"""A gap in log-odds (9 points) below which telling a pair apart is not worth the votes."""


def win_probability(rating: float, other: float) -> float:
    """Points a contestant can expect from a battle, from two ratings (Elo's and Bradley-Terry's alike)."""
    return 1 / (1 + 10 ** ((other - rating) / POINTS_PER_DECADE))


def quantile(level: float) -> float:
    """How many standard errors an interval of this level reaches to each side."""
    return NORMAL.inv_cdf((1 + level) / 2)


def votes_needed(gap: float, error: float, *, level: float = 0.95) -> int:
    """About how many more votes on a pair decide it, if the gap stays as it looks; 0 when it is decided.

    A vote on the pair adds p (1 - p) to the precision of its gap, and the pair is decided when the interval
    of its gap leaves out 0.

    Args:
        gap: estimated difference in strength, log-odds.
        error: its standard error.
        level: of the interval.
    """
    reach = quantile(level)
    if abs(gap) > reach * error:
        return 0
    precision = (reach / max(abs(gap), NEGLIGIBLE)) ** 2
    p = 1 / (1 + math.exp(-gap))
    return max(1, math.ceil((precision - 1 / error**2) / (p * (1 - p))))
