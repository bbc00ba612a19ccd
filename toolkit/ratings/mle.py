"""Maximum likelihood of paired comparisons: the one likelihood behind every Bradley-Terry-like rating.

Its parameters are the strengths of the contestants, and behind them the tie parameter where the model has
one, or the coefficients of features. It is concave, so the one maximum is found or an error is raised; naive
fixed-point iterations can stop elsewhere in silence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from toolkit.errors import RatingError
from toolkit.ratings.counts import Counts
from toolkit.ratings.table import Array, Codes, Table, blocks
from toolkit.ratings.ties import TIE_MODELS, Three, TieModel, dot, sigmoid
from toolkit.statistics import newton


@dataclass(frozen=True)
class Games:
    """Outcomes of every pair that met, or of every vote: arrays of shape (rows,)."""

    n: int
    """Contestants."""
    first: Codes
    second: Codes
    outcomes: Three
    """Weights of wins of the first, of wins of the second, and of ties."""
    features: Array | None = None
    """Shape (rows, k): what adds to the gap, each times its coefficient."""

    @classmethod
    def of(cls, counts: Counts, *, squared: bool = False) -> Games:
        """The pairs of a tally; with `squared`, of its sums of squared weights."""
        i, j = np.nonzero(np.triu(counts.met > 0, 1))
        wins = counts.wins_squared if squared else counts.wins
        ties = counts.ties_squared if squared else counts.ties
        return cls(len(counts.names), i, j, (wins[i, j], wins[j, i], ties[i, j]))

    @classmethod
    def of_votes(cls, table: Table, model: TieModel, features: Array | None = None) -> Games:
        """Every vote on its own; without a tie parameter its outcome is its points."""
        weight = table.weights
        if model.has_parameter:
            won, lost, tied = (weight * (table.outcome == outcome) for outcome in range(3))
        else:
            points = table.points
            won, lost, tied = weight * points, weight * (1 - points), np.zeros(len(table))
        return cls(len(table.names), table.first, table.second, (won, lost, tied), features)


@dataclass(frozen=True)
class Derivatives:
    """Of the log-likelihood of some rows, each row on its own."""

    slope: Array
    """By the gap, shape (rows,)."""
    bend: Array
    """Minus the second derivative by the gap, shape (rows,)."""
    extra: Array
    """By the k other parameters, shape (rows, k)."""
    cross: Array
    """Minus the second derivatives by the gap and the others, shape (rows, k)."""
    square: Array
    """Minus those by the others twice, summed over the rows, shape (k, k)."""


@dataclass(frozen=True)
class Likelihood:
    """The penalised log-likelihood of games at parameters of shape (m,)."""

    games: Games
    model: TieModel = TIE_MODELS["half"]
    prior: float = 0.0
    """Imagined games of each contestant against an average one, half of them won."""

    @property
    def size(self) -> int:
        """Number of parameters, m."""
        features = 0 if self.games.features is None else self.games.features.shape[1]
        return self.games.n + self.model.has_parameter + features

    def rows(self, theta: Array, part: slice = slice(None)) -> Derivatives:
        """The derivatives of some rows."""
        games = self.games
        d = theta[games.first[part]] - theta[games.second[part]]
        features = np.zeros((len(d), 0)) if games.features is None else games.features[part]
        if not self.model.has_parameter:
            d = d + features @ theta[games.n :]
        eta = theta[games.n] if self.model.has_parameter else np.zeros(())
        counts = (games.outcomes[0][part], games.outcomes[1][part], games.outcomes[2][part])
        by_gap, by_tie = self.model.scores(d, eta)
        slope, (bend, cross, tie) = dot(counts, by_gap), self.model.bends(d, eta, counts)
        if self.model.has_parameter:
            return Derivatives(
                slope, bend, dot(counts, by_tie)[:, None], cross[:, None], tie.sum()[None, None]
            )
        weighted = features * bend[:, None]
        return Derivatives(slope, bend, features * slope[:, None], weighted, features.T @ weighted)

    def sums(self, rows: Callable[[slice], Derivatives]) -> tuple[Array, Array]:
        """Gradient (m,) and curvature (m, m) from the derivatives of rows, a block at a time."""
        n, size = self.games.n, self.size
        slope, bend, cross = np.zeros(n * n), np.zeros(n * n), np.zeros((size - n, n * n))
        gradient, curvature = np.zeros(size), np.zeros((size, size))
        for part in blocks(len(self.games.first)):
            pair = self.games.first[part].astype(np.int64) * n + self.games.second[part]
            found = rows(part)
            slope += np.bincount(pair, found.slope, n * n)
            bend += np.bincount(pair, found.bend, n * n)
            for k in range(size - n):
                cross[k] += np.bincount(pair, found.cross[:, k], n * n)
            gradient[n:] += found.extra.sum(axis=0)
            curvature[n:, n:] += found.square
        gradient[:n], both = _net(slope, n), bend.reshape(n, n) + bend.reshape(n, n).T
        curvature[:n, :n] = np.diag(both.sum(axis=1)) - both
        for k in range(size - n):
            curvature[:n, n + k] = curvature[n + k, :n] = _net(cross[k], n)
        return gradient, curvature

    def derivatives(self, theta: Array) -> tuple[Array, Array]:
        """Gradient (m,), and minus the second derivatives (m, m).

        Without a prior the common level of the strengths is free; a constant on it makes the matrix regular
        and changes nothing else.
        """
        gradient, curvature = self.sums(lambda part: self.rows(theta, part))
        n = self.games.n
        chance = sigmoid(theta[:n])
        gradient[:n] += self.prior * (0.5 - chance)
        curvature[np.arange(n), np.arange(n)] += self.prior * chance * (1 - chance)
        if self.prior == 0:
            curvature[:n, :n] += np.trace(curvature[:n, :n]) / n**2
        return gradient, curvature


def _net(pairs: Array, n: int) -> Array:
    """What each contestant gets from pairs (first, second) that add to the first and take from the second."""
    square = pairs.reshape(n, n)
    return np.asarray((square - square.T).sum(axis=1))


def solve(likelihood: Likelihood) -> Array:
    """The parameters of highest likelihood, shape (m,), strengths with mean 0.

    Raises:
        RatingError: Newton's method did not converge.
    """
    n, start = likelihood.games.n, np.zeros(likelihood.size)
    floor = np.full(likelihood.size, -np.inf)
    if likelihood.model.has_parameter:
        start[n] = np.log(2.0)  # a third of the battles tied
        floor[n] = likelihood.model.least
    theta = newton(likelihood.derivatives, start, floor)
    if theta is None:
        raise RatingError("the fit did not converge; allow a prior, or see which contestants hardly met")
    theta[:n] -= theta[:n].mean()
    return theta
