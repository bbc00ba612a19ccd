"""Online Elo ratings: each vote moves both contestants a little, in the order the votes came (Elo 1978)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from toolkit.ratings.decisions import (
    POINTS_PER_DECADE,
    SCALE,
    Decisions,
    RatingTable,
    decide_fixed,
    leaderboard,
)
from toolkit.ratings.intervals import Spread, cluster_codes, degrees_of_freedom
from toolkit.ratings.vote_table import FIRST, SECOND, Array, Table, Votes, count, tabulate

INITIAL = 1000.0
K = 16.0
SHUFFLES = 100
"""Random orders, and resamples behind the intervals."""
REMEMBERED = 20_000
"""Votes, or 500 for each contestant if that is more, after which what came before has faded."""

Order = Literal["average", "file"]


@dataclass(frozen=True)
class Elo(RatingTable):
    """Ratings and how they were made; intervals and ranks too are of the mean over orders or of one."""

    k: float
    initial: float
    order: Order
    interval: str
    """What the intervals are over: `votes` or `examples`."""
    decisions: Decisions

    @property
    def settings(self) -> str:
        """How the figures were made, in one sentence."""
        orders = {"average": f"means over {SHUFFLES} random orders", "file": "in the order of the file"}
        order = orders[self.order]
        how = f"{self.votes} votes, k = {self.k:g}, {order}; intervals: 95%, over {self.interval}"
        return f"{how}; {self.decisions.meaning}."


@dataclass(frozen=True)
class History:
    """Everyone's Elo rating after some of the votes."""

    names: tuple[str, ...]
    at: NDArray[np.int64]
    """After how many votes, shape (moments,); the last is after all."""
    values: Array
    """Shape (moments, contestants)."""


def elo(
    votes: Votes, *, k: float = K, initial: float = INITIAL, order: Order = "average", seed: int = 0
) -> Elo:
    """Rate every contestant vote by vote; errors as of `tabulate`.

    Args:
        votes: in the order they were cast.
        k: points that a vote can move at most.
        initial: rating everyone starts with.
        order: `average`: the mean over random orders, as QLoRA (Dettmers et al. 2023) does; `file`: as cast.
        seed: of the random orders and of the resampled votes behind the intervals.
    """
    table = tabulate(votes)
    final = history_of(table, k, np.full(len(table.names), initial), moments=1).values[-1]
    play = partial(_play, table, k, initial, final)
    rng = np.random.default_rng(seed)
    draws = _resamples(table, rng, shuffled=order == "average")
    samples = _play(_with_coins(table), k, initial, final, draws)
    covariance = np.atleast_2d(np.cov(samples.T))
    values = final
    if order == "average":
        shuffled = play([rng.permutation(len(table)) for _ in range(SHUFFLES)])
        values, by_order = shuffled.mean(axis=0), np.atleast_2d(np.cov(shuffled.T))
        # The mean over orders has none of the spread that one order has.
        sizes, vectors = np.linalg.eigh(covariance - by_order)
        covariance = (vectors * np.maximum(sizes, 0)) @ vectors.T + by_order / SHUFFLES
    over = "examples" if "example" in table.labels else "votes"
    freedom = min(SHUFFLES - 1.0, degrees_of_freedom(cluster_codes(table, "example"), table.weights))
    spread = Spread(covariance / SCALE**2, (covariance / SCALE**2,), freedom, over)
    decisions = decide_fixed(table.names, values / SCALE, spread)
    rows = leaderboard(decisions, values / SCALE, spread, np.eye(len(values)), count(table).battles, 0.0)
    return Elo(rows, len(table), k, initial, order, over, decisions)


def elo_history(votes: Votes, *, k: float = K, initial: float = INITIAL, moments: int = 200) -> History:
    """Everyone's rating at about `moments` moments spread evenly over the votes, the last after all."""
    table = tabulate(votes)
    return history_of(table, k, np.full(len(table.names), initial), moments=moments)


def history_of(table: Table, k: float, start: Array, *, moments: int) -> History:
    """Play the votes in order from the ratings `start`: r_a += k w (points - expected), r_b the opposite."""
    now = start.tolist()
    votes = len(table)
    every = max(1, math.ceil(votes / moments))
    snapshots: list[list[float]] = []
    points = table.points.tolist()
    weights = (k * table.weights).tolist()
    rows = zip(table.first.tolist(), table.second.tolist(), points, weights, strict=True)
    for number, (a, b, won, most) in enumerate(rows, 1):
        move = most * (won - 1 / (1 + 10 ** ((now[b] - now[a]) / POINTS_PER_DECADE)))
        now[a] += move
        now[b] -= move
        if number % every == 0 or number == votes:
            snapshots.append(now.copy())
    at = np.minimum(np.arange(1, len(snapshots) + 1) * every, votes)
    return History(table.names, at, np.array(snapshots))


def _with_coins(table: Table) -> Table:
    """The votes, then all of them once won by the first and once by the second."""
    outcome = np.concatenate([table.outcome, np.full(len(table), FIRST), np.full(len(table), SECOND)])
    probability = None
    if table.probability is not None:
        probability = np.concatenate([table.probability, np.full(2 * len(table), np.nan)])
    times = np.tile(np.arange(len(table)), 3)
    return replace(replace(table, labels={}).take(times), outcome=outcome, probability=probability)


def _resamples(table: Table, rng: np.random.Generator, *, shuffled: bool) -> list[NDArray[np.int64]]:
    """Places in `_with_coins` of the votes of as many examples as there are, `SHUFFLES` times.

    Examples are drawn with replacement. With them go three coins for each contestant, in place of outcomes of
    random votes: else there is no spread where all votes are alike.
    """
    _, place = np.unique(cluster_codes(table, "example"), return_inverse=True)
    groups, draws = int(place.max()) + 1, []
    luck, size = rng.spawn(1)[0], 3 * len(table.names)
    for _ in range(SHUFFLES):
        times = np.bincount(rng.integers(groups, size=groups), minlength=groups)
        votes = np.repeat(np.arange(len(table)), times[place])
        coins = luck.integers(len(table), size=size) + len(table) * luck.integers(1, 3, size=size)
        votes = np.insert(votes, luck.integers(len(votes) + 1, size=size), coins)
        draws.append(rng.permutation(votes) if shuffled else votes)
    return draws


def _play(table: Table, k: float, initial: float, final: Array, orders: Sequence[NDArray[np.int64]]) -> Array:
    """Final ratings after some orders of votes, all played side by side; shape (orders, n).

    Elo forgets: of a long log each order plays its last votes only, from the `final` ratings.
    """
    most = max(REMEMBERED, 500 * len(table.names))
    start = np.full(len(table.names), initial) if len(table) <= most else final
    length = min(most, max(map(len, orders)))
    order = np.array(
        [np.pad(one[-length:], (0, max(0, length - len(one))), constant_values=-1) for one in orders]
    )
    first, second = table.first[order.T].astype(np.intp), table.second[order.T].astype(np.intp)
    points = table.points[order.T]
    weights = np.where(order.T >= 0, k * table.weights[order.T], 0.0)
    now = np.tile(start, (len(orders), 1))
    each = np.arange(len(orders))
    for a, b, won, most_points in zip(first, second, points, weights, strict=True):
        of_a, of_b = now[each, a], now[each, b]
        move = most_points * (won - 1 / (1 + np.exp((of_b - of_a) / SCALE)))
        now[each, a] = of_a + move
        now[each, b] = of_b - move
    return now
