"""Bradley-Terry ratings from pairwise votes, by maximum likelihood.

Contestant i beats contestant j with probability 1 / (1 + exp(s_j - s_i)) (Bradley and Terry 1952). A tie is
half a win for both. The strengths s are found by Newton's method on the counts of pairs, which converges
where naive iterations fail in silence; intervals come from the curvature of the likelihood at its top.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from toolkit.errors import RatingError
from toolkit.ratings.counts import Array, Counts, count
from toolkit.types import Rating, Vote

if TYPE_CHECKING:
    import pandas as pd

SCALE = float(400 / np.log(10))
"""Points per unit of strength: 400 points are ten times the odds, as in chess and at LMArena."""
CENTRE = 1000.0
NORMAL_95 = 1.959963984540054
PRIOR = 1.0
"""Imagined games against an average contestant, half of them won, where the votes alone do not do."""
TOLERANCE = 1e-10
STEPS = 100

Interval = Literal["curvature", "sandwich", "bootstrap"]


@dataclass(frozen=True)
class BradleyTerry:
    """Ratings, best first, and how they were made."""

    ratings: tuple[Rating, ...]
    votes: int
    prior: float
    """Imagined games per contestant; 0: plain maximum likelihood."""
    interval: Interval
    anchor: str | None
    names: tuple[str, ...]
    strength: Array
    """In the order of `names`, their mean 0."""
    covariance: Array
    """Of `strength`."""

    def probability(self, first: str, second: str) -> float:
        """Chance that `first` beats `second` in their next battle, ties aside."""
        i, j = self.names.index(first), self.names.index(second)
        return float(1 / (1 + np.exp(self.strength[j] - self.strength[i])))

    def confidence(self, first: str, second: str) -> float:
        """Probability that `first` is the stronger of the two, given the votes (normal approximation)."""
        gap, error = self._gap(first, second)
        return 0.5 if error == 0 else float(normal_cdf(gap / error))

    def votes_needed(self, first: str, second: str) -> int:
        """About how many more votes on this pair would make its 95% interval exclude 0; 0 when it does."""
        gap, error = self._gap(first, second)
        if abs(gap) > NORMAL_95 * error:
            return 0
        p = self.probability(first, second)
        wanted = (NORMAL_95 / max(abs(gap), 0.05)) ** 2  # gaps under 0.05 (9 points) are not worth chasing
        return max(1, round((wanted - 1 / error**2) / (p * (1 - p))))

    def _gap(self, first: str, second: str) -> tuple[float, float]:
        i, j = self.names.index(first), self.names.index(second)
        c = self.covariance
        return float(self.strength[i] - self.strength[j]), float(np.sqrt(c[i, i] + c[j, j] - 2 * c[i, j]))


def bradley_terry(  # noqa: PLR0913 - every choice of the model by its name, all with a default
    votes: Iterable[Vote] | pd.DataFrame | Counts,
    *,
    prior: float | None = None,
    interval: Interval = "curvature",
    anchor: str | None = None,
    centre: float = CENTRE,
    replicates: int = 1000,
    seed: int = 0,
) -> BradleyTerry:
    """Rate every contestant.

    Args:
        votes: records, a pandas frame (`model_a`, `model_b`, `winner`), or counts.
        prior: imagined games of each contestant against an average one. Left out: none where the votes
            determine every rating, else `PRIOR`, and the result says so.
        interval: how the 95% intervals are made; `bootstrap` resamples votes.
        anchor: contestant whose rating is `centre`; left out, the mean of all is.
        centre: that rating.
        replicates: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        RatingError: no votes, or with `prior=0` votes that leave a rating infinite or undetermined.
    """
    counts = count(votes)
    if anchor is not None and anchor not in counts.names:
        raise RatingError(f"anchor {anchor} is in no vote; known: {', '.join(counts.names)}")
    chosen = _prior(counts, prior)
    points = counts.points
    strength = solve(points[None], chosen)[0]
    if interval == "bootstrap":
        covariance = np.cov(_resampled(counts, chosen, replicates, seed).T)
    else:
        covariance = _covariance(counts, strength, chosen, robust=interval == "sandwich")
    shift = strength[counts.names.index(anchor)] if anchor else 0.0
    value = centre + SCALE * (strength - shift)
    margin = NORMAL_95 * SCALE * np.sqrt(np.diag(covariance))
    ratings = leaderboard(counts, value, value - margin, value + margin)
    return BradleyTerry(
        ratings, counts.votes, chosen, interval, anchor, counts.names, strength, np.atleast_2d(covariance)
    )


def leaderboard(counts: Counts, value: Array, low: Array, high: Array) -> tuple[Rating, ...]:
    """Rows, best first; the rank is 1 + how many contestants' intervals lie above (as LMArena's)."""
    rank = 1 + (low[None, :] > high[:, None]).sum(axis=1)
    rows = [
        Rating(
            contestant=name,
            value=round(float(value[i]), 2),
            low=round(float(low[i]), 2),
            high=round(float(high[i]), 2),
            battles=int(counts.battles[i]),
            rank=int(rank[i]),
        )
        for i, name in enumerate(counts.names)
    ]
    return tuple(sorted(rows, key=lambda row: (-row.value, row.contestant)))


def solve(points: Array, prior: float) -> Array:
    """Strengths that maximise the likelihood, for many vote logs at once.

    Args:
        points: points i took from j, shape (logs, n, n).
        prior: imagined games against an average contestant.

    Returns:
        Shape (logs, n), each row's mean 0.

    Raises:
        RatingError: Newton's method did not converge.
    """
    logs, n, _ = points.shape
    met = points + points.transpose(0, 2, 1)
    scored = points.sum(axis=2)
    strength = np.zeros((logs, n))
    for _ in range(STEPS):
        win = _sigmoid(strength[:, :, None] - strength[:, None, :])
        gradient = scored - (met * win).sum(axis=2) + prior * (0.5 - _sigmoid(strength))
        step = np.linalg.solve(_curvature(met, win, strength, prior), gradient[:, :, None])[:, :, 0]
        longest = np.abs(step).max(axis=1, keepdims=True)
        strength += step * np.minimum(1.0, 2.0 / np.maximum(longest, TOLERANCE))
        if longest.max() < TOLERANCE:
            return np.asarray(strength - strength.mean(axis=1, keepdims=True))
    raise RatingError("the Bradley-Terry fit did not converge; set a prior, or see who never meets whom")


def _curvature(met: Array, win: Array, strength: Array, prior: float) -> Array:
    """Minus the second derivative; a constant is added where without a prior the level is free."""
    noise = met * win * (1 - win)
    average = _sigmoid(strength)
    n = met.shape[1]
    diagonal = noise.sum(axis=2) + prior * average * (1 - average)
    level = 1.0 / n if prior == 0 else 0.0
    curvature: Array = np.eye(n) * diagonal[:, :, None] - noise + level
    return curvature


def _covariance(counts: Counts, strength: Array, prior: float, *, robust: bool) -> Array:
    points = counts.points
    met = (points + points.T)[None]
    win = _sigmoid(strength[:, None] - strength[None, :])
    inverse: Array = np.linalg.inv(_curvature(met, win[None], strength[None], prior)[0])
    n = len(strength)
    if robust:  # inverse curvature, around the spread of the votes' own scores (Huber's sandwich)
        wins, ties = counts.wins, counts.ties
        spread = wins * (1 - win) ** 2 + wins.T * win**2 + ties * (0.5 - win) ** 2
        meat = np.diag(spread.sum(axis=1)) - spread
        inverse = inverse @ meat @ inverse
    centre = np.eye(n) - 1 / n
    return np.asarray(centre @ inverse @ centre)


def _resampled(counts: Counts, prior: float, replicates: int, seed: int) -> Array:
    """Strengths from `replicates` logs of as many votes, drawn from the counts; shape (replicates, n)."""
    n = len(counts.names)
    upper = np.triu_indices(n, 1)
    cells = np.concatenate([counts.wins[upper], counts.wins.T[upper], counts.ties[upper]])
    total = round(float(cells.sum()))
    drawn = np.random.default_rng(seed).multinomial(total, cells / cells.sum(), size=replicates)
    wins, losses, ties = np.split(drawn.astype(np.float64), 3, axis=1)
    points = np.zeros((replicates, n, n))
    points[:, upper[0], upper[1]] = wins + ties / 2
    points[:, upper[1], upper[0]] = losses + ties / 2
    # A replicate may leave somebody unbeaten; the lightest prior keeps it finite.
    return solve(points, max(prior, 0.1))


def _prior(counts: Counts, asked: float | None) -> float:
    if asked is not None and asked < 0:
        raise RatingError(f"prior must not be negative, got {asked}")
    determined = strongly_connected(counts.points > 0)
    if asked == 0 and not determined:
        raise RatingError(
            "the votes leave a rating infinite: some contestants never lost to, or never met, the others; "
            "collect more votes, or allow a prior"
        )
    return asked if asked is not None else 0.0 if determined else PRIOR


def strongly_connected(beat: np.ndarray[tuple[int, int], np.dtype[np.bool_]]) -> bool:
    """Whether everyone took something from everyone, directly or through others (Ford 1957)."""
    n = len(beat)
    for graph in (beat, beat.T):
        reached, frontier = {0}, [0]
        while frontier:
            nearby = set(np.flatnonzero(graph[frontier.pop()]).tolist()) - reached
            reached |= nearby
            frontier.extend(nearby)
        if len(reached) < n:
            return False
    return True


def _sigmoid(x: Array) -> Array:
    return np.asarray(0.5 * (1 + np.tanh(x / 2)))


def normal_cdf(x: float) -> float:
    """The standard normal distribution function."""
    from math import erf, sqrt

    return 0.5 * (1 + erf(x / sqrt(2)))
