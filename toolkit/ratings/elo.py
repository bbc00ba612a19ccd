"""Online Elo ratings: each vote moves both contestants a little, in the order the votes came (Elo 1978)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from toolkit.ratings.counts import tally
from toolkit.ratings.ranking import RatingTable, leaderboard, ranks_of
from toolkit.ratings.table import POINTS, Array, Table, tabulate
from toolkit.ratings.win_probability import POINTS_PER_DECADE, SCALE
from toolkit.types import Rating, Vote

if TYPE_CHECKING:
    import pandas as pd

INITIAL = 1000.0
K = 16.0
REMEMBERED = 20_000
"""Votes, or 500 for each contestant if that is more, after which what came before has faded."""


@dataclass(frozen=True)
class Elo(RatingTable):
    """Ratings, best first, and how they were made."""

    ratings: tuple[Rating, ...]
    """`low` and `high` span 95% of random orders of the same votes: what the order alone does."""
    votes: int
    k: float
    initial: float
    shuffles: int
    averaged: bool
    """Whether the values are means over the random orders, instead of those of the votes' own order."""

    @property
    def settings(self) -> str:
        """How the figures were made, in one sentence."""
        spread = f"; the intervals span 95% of {self.shuffles} random orders of the same votes"
        return f"{self.votes} votes, k = {self.k:g}{spread if self.shuffles else ''}."


@dataclass(frozen=True)
class History:
    """Everyone's Elo rating after some of the votes."""

    names: tuple[str, ...]
    at: NDArray[np.int64]
    """After how many votes, shape (moments,); the last is after all."""
    values: Array
    """Shape (moments, contestants)."""


def elo(
    votes: Iterable[Vote] | pd.DataFrame | Table,
    *,
    k: float = K,
    initial: float = INITIAL,
    shuffles: int = 100,
    averaged: bool = False,
    seed: int = 0,
) -> Elo:
    """Rate every contestant vote by vote.

    Args:
        votes: in the order they were cast.
        k: points that a vote can move at most.
        initial: rating everyone starts with.
        shuffles: random orders behind the spread; 0: no spread.
        averaged: give the mean over the random orders, as QLoRA (Dettmers et al. 2023) does.
        seed: of the shuffles.

    Raises:
        RatingError: there are no votes.
        DataError: a row does not fit; the message names it.
    """
    table = tabulate(votes)
    values = history_of(table, k, np.full(len(table.names), initial), moments=1).values[-1]
    low = high = np.full(len(values), np.nan)
    ranks = 1 + (values[None, :] > values[:, None]).sum(axis=1)
    if shuffles:
        spread = _random_orders(table, k, initial, values, shuffles, seed)
        low, high = np.quantile(spread, [0.025, 0.975], axis=0)
        ranks = ranks_of(low, high)
        values = spread.mean(axis=0) if averaged else values
    rows = leaderboard(table.names, values, (low, high), tally(table).battles, ranks)
    return Elo(rows, len(table), k, initial, shuffles, averaged)


def elo_history(
    votes: Iterable[Vote] | pd.DataFrame | Table,
    *,
    k: float = K,
    initial: float = INITIAL,
    moments: int = 200,
) -> History:
    """Everyone's rating at about `moments` moments spread evenly over the votes, the last after all of them.

    Raises:
        RatingError: there are no votes.
        DataError: a row does not fit; the message names it.
    """
    table = tabulate(votes)
    return history_of(table, k, np.full(len(table.names), initial), moments=moments)


def history_of(table: Table, k: float, start: Array, *, moments: int) -> History:
    """Play the votes in order from the ratings `start`: r_a += k w (points - expected), r_b the opposite."""
    now = start.tolist()
    votes = len(table)
    every = max(1, math.ceil(votes / moments))
    snapshots: list[list[float]] = []
    points = POINTS[table.outcome].tolist()
    weights = (np.full(votes, k) if table.weight is None else k * table.weight).tolist()
    rows = zip(table.first.tolist(), table.second.tolist(), points, weights, strict=True)
    for number, (a, b, won, most) in enumerate(rows, 1):
        move = most * (won - 1 / (1 + 10 ** ((now[b] - now[a]) / POINTS_PER_DECADE)))
        now[a] += move
        now[b] -= move
        if number % every == 0 or number == votes:
            snapshots.append(now.copy())
    at = np.minimum(np.arange(1, len(snapshots) + 1) * every, votes)
    return History(table.names, at, np.array(snapshots))


def _random_orders(table: Table, k: float, initial: float, final: Array, shuffles: int, seed: int) -> Array:
    """Final ratings after random orders of the votes, all played side by side; shape (shuffles, n).

    Elo forgets: of a long log each order plays its last votes only, from the `final` ratings.
    """
    played = min(len(table), max(REMEMBERED, 500 * len(table.names)))
    rng = np.random.default_rng(seed)
    order = np.array([rng.permutation(len(table))[:played] for _ in range(shuffles)])
    first, second = table.first[order.T].astype(np.intp), table.second[order.T].astype(np.intp)
    points = POINTS[table.outcome[order.T]]
    weights = k * (np.ones(order.T.shape) if table.weight is None else table.weight[order.T])
    start = np.full(len(table.names), initial) if played == len(table) else final
    now = np.tile(start, (shuffles, 1))
    each = np.arange(shuffles)
    for a, b, won, most in zip(first, second, points, weights, strict=True):
        of_a, of_b = now[each, a], now[each, b]
        move = most * (won - 1 / (1 + np.exp((of_b - of_a) / SCALE)))
        now[each, a] = of_a + move
        now[each, b] = of_b - move
    return now
