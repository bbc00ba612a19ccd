"""Online Elo ratings: each vote moves both contestants a little, in the order the votes came (Elo 1978)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from toolkit.errors import RatingError
from toolkit.ratings.counts import as_votes
from toolkit.types import Outcome, Rating, Vote

if TYPE_CHECKING:
    import pandas as pd

POINTS: dict[Outcome, float] = {"a": 1.0, "b": 0.0, "tie": 0.5, "both_bad": 0.5}


@dataclass(frozen=True)
class Elo:
    """Ratings, best first, and how they were made."""

    ratings: tuple[Rating, ...]
    """Values in the votes' own order; `low` and `high` span 95% of random orders of the same votes."""
    votes: int
    k: float
    initial: float
    history: tuple[dict[str, float], ...]
    """Everyone's rating after each vote."""


def elo(
    votes: Iterable[Vote] | pd.DataFrame,
    *,
    k: float = 16.0,
    initial: float = 1000.0,
    shuffles: int = 100,
    seed: int = 0,
) -> Elo:
    """Rate every contestant vote by vote.

    Args:
        votes: in the order they were cast.
        k: points that a vote can move at most.
        initial: rating everyone starts with.
        shuffles: random orders behind the spread; 0: no spread.
        seed: of the shuffles.

    Raises:
        RatingError: there are no votes.
    """
    cast = as_votes(votes)
    if not cast:
        raise RatingError("no votes to rate; collect some in the arena, or let a judge vote")
    history = play(cast, k=k, initial=initial)
    rng = np.random.default_rng(seed)
    others = [
        play([cast[i] for i in rng.permutation(len(cast))], k=k, initial=initial)[-1] for _ in range(shuffles)
    ]
    rows = [_row(name, value, cast, others) for name, value in history[-1].items()]
    rows.sort(key=lambda row: (-row.value, row.contestant))
    ranked = [row.model_copy(update={"rank": 1 + sum(_above(other, row) for other in rows)}) for row in rows]
    return Elo(tuple(ranked), len(cast), k, initial, tuple(history))


def play(votes: Sequence[Vote], *, k: float, initial: float) -> list[dict[str, float]]:
    """Everyone's rating after each vote: r_a += k * weight * (points - expected), r_b the opposite."""
    names = sorted({name for vote in votes for name in (vote.model_a, vote.model_b)})
    now = dict.fromkeys(names, initial)
    history = []
    for vote in votes:
        expected = 1 / (1 + 10 ** ((now[vote.model_b] - now[vote.model_a]) / 400))
        move = k * vote.weight * (POINTS[vote.outcome] - expected)
        now = now | {vote.model_a: now[vote.model_a] + move, vote.model_b: now[vote.model_b] - move}
        history.append(now)
    return history


def _row(name: str, value: float, cast: Sequence[Vote], others: Sequence[dict[str, float]]) -> Rating:
    low, high = np.quantile([other[name] for other in others], [0.025, 0.975]) if others else (None, None)
    return Rating(
        contestant=name,
        value=round(value, 2),
        low=None if low is None else round(float(low), 2),
        high=None if high is None else round(float(high), 2),
        battles=sum(name in (vote.model_a, vote.model_b) for vote in cast),
        rank=1,
    )


def _above(other: Rating, row: Rating) -> bool:
    if other.low is None or row.high is None:
        return other.value > row.value
    return other.low > row.high
