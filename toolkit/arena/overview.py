"""What a leaderboard shows besides ratings: win rates, votes of each pair, in figures ready to draw."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from toolkit.arena.pairing import POINTS
from toolkit.types import Vote


def win_rates(votes: Iterable[Vote]) -> list[dict[str, Any]]:
    """Each ordered pair that met: the share of its votes that `contestant` won, a tie being half a win."""
    points: dict[tuple[str, str], float] = defaultdict(float)
    met: Counter[tuple[str, str]] = Counter()
    for vote in votes:
        for one, other, won in (
            (vote.model_a, vote.model_b, POINTS[vote.outcome]),
            (vote.model_b, vote.model_a, 1 - POINTS[vote.outcome]),
        ):
            points[one, other] += won
            met[one, other] += 1
    return [
        {"contestant": one, "against": other, "rate": points[one, other] / times, "votes": times}
        for (one, other), times in sorted(met.items())
    ]
