"""Maximum likelihood of paired comparisons by Newton's method, for many logs of votes at once.

The parameters of a log are the strengths of its contestants, and behind them the tie parameter where the
model has one. The log-likelihood is concave, so the one maximum is found or an error is raised; naive
fixed-point iterations can stop elsewhere in silence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import RatingError
from toolkit.ratings.counts import Counts
from toolkit.ratings.table import Array
from toolkit.ratings.ties import Three, TieModel, dot, log_sigmoid, sigmoid

TOLERANCE = 1e-10
"""In log-odds; a hundred-millionth of a rating point."""
STEPS = 200
MAX_STEP = 1.0
"""No parameter moves further in one step: then Newton's method climbs from anywhere."""


@dataclass(frozen=True)
class Games:
    """Outcomes of every pair that met, in one or many logs: arrays of shape (logs, pairs)."""

    n: int
    first: NDArray[np.intp]
    second: NDArray[np.intp]
    """The contestants of each pair, `first < second`."""
    outcomes: Three
    """Wins of the first, wins of the second, ties."""

    @classmethod
    def of(cls, counts: Counts, *, squared: bool = False) -> Games:
        """The pairs of a tally, as one log; with `squared`, of its sums of squared weights."""
        i, j = np.nonzero(np.triu(counts.met > 0, 1))
        wins = counts.wins_squared if squared else counts.wins
        ties = counts.ties_squared if squared else counts.ties
        return cls(len(counts.names), i, j, (wins[None, i, j], wins[None, j, i], ties[None, i, j]))


@dataclass(frozen=True)
class Likelihood:
    """The penalised log-likelihood of games, and its derivatives at parameters of shape (logs, m)."""

    games: Games
    model: TieModel
    prior: float
    """Imagined games of each contestant against an average one, half of them won."""

    @property
    def size(self) -> int:
        """Number of parameters."""
        return self.games.n + self.model.has_parameter

    def start(self) -> Array:
        """Where to begin: all equal, a third of the battles tied."""
        wins = self.games.outcomes[0]
        theta = np.zeros((len(wins), self.size))
        theta[:, self.games.n :] = np.log(2.0)
        return theta

    def split(self, theta: Array) -> tuple[Array, Array, Array]:
        """Strengths (logs, n), gaps of the pairs (logs, pairs), the tie parameter (logs, 1)."""
        strength = theta[:, : self.games.n]
        eta = theta[:, self.games.n :] if self.model.has_parameter else np.zeros((len(theta), 1))
        return strength, strength[:, self.games.first] - strength[:, self.games.second], eta

    def value(self, theta: Array) -> Array:
        """The log-likelihood with its penalty, shape (logs,)."""
        strength, d, eta = self.split(theta)
        fit = dot(self.games.outcomes, self.model.logs(d, eta)).sum(axis=1)
        penalty = (log_sigmoid(strength) + log_sigmoid(-strength)).sum(axis=1) / 2
        return np.asarray(fit + self.prior * penalty)

    def gradient(self, theta: Array) -> Array:
        """First derivatives, shape (logs, m)."""
        strength, d, eta = self.split(theta)
        by_gap, by_tie = self.model.scores(d, eta)
        gradient = np.zeros_like(theta)
        slope = self.fan_out(dot(self.games.outcomes, by_gap))
        gradient[:, : self.games.n] = slope + self.prior * (0.5 - sigmoid(strength))
        if self.model.has_parameter:
            gradient[:, -1] = dot(self.games.outcomes, by_tie).sum(axis=1)
        return gradient

    def curvature(self, theta: Array) -> Array:
        """Minus the second derivatives, shape (logs, m, m).

        Without a prior the common level of the strengths is free; a constant on it makes the matrix regular
        and changes nothing else.
        """
        strength, d, eta = self.split(theta)
        bends = self.model.bends(d, eta, self.games.outcomes)
        curvature = self.assemble(bends.gap, bends.cross, bends.tie)
        n = self.games.n
        chance = sigmoid(strength)
        everyone = np.arange(n)
        curvature[:, everyone, everyone] += self.prior * chance * (1 - chance)
        if self.prior == 0:
            scale = np.trace(curvature[:, :n, :n], axis1=1, axis2=2) / n**2
            curvature[:, :n, :n] += scale[:, None, None]
        return curvature

    def fan_out(self, pairs: Array) -> Array:
        """Add each pair's value (logs, pairs) to its first contestant, take it from its second: (logs, n)."""
        square = np.zeros((len(pairs), self.games.n, self.games.n))
        square[:, self.games.first, self.games.second] = pairs
        square[:, self.games.second, self.games.first] = -pairs
        return np.asarray(square.sum(axis=2))

    def assemble(self, gap: Array, cross: Array, tie: Array) -> Array:
        """The quadratic form of gaps and tie parameter as one of the parameters, shape (logs, m, m)."""
        n, i, j = self.games.n, self.games.first, self.games.second
        matrix = np.zeros((len(gap), self.size, self.size))
        matrix[:, i, j] = matrix[:, j, i] = -gap
        everyone = np.arange(n)
        matrix[:, everyone, everyone] = -matrix[:, :n, :n].sum(axis=2)
        if self.model.has_parameter:
            matrix[:, :n, -1] = matrix[:, -1, :n] = self.fan_out(cross)
            matrix[:, -1, -1] = tie.sum(axis=1)
        return matrix


def solve(likelihood: Likelihood, start: Array | None = None) -> Array:
    """The parameters of highest likelihood, shape (logs, m), strengths with mean 0.

    Raises:
        RatingError: Newton's method did not converge.
    """
    theta = likelihood.start() if start is None else start.copy()
    for _ in range(STEPS):
        gradient = likelihood.gradient(theta)
        step = np.linalg.solve(likelihood.curvature(theta), gradient[:, :, None])[:, :, 0]
        longest = np.abs(step).max(axis=1, keepdims=True)
        theta = advance(likelihood, theta, step * np.minimum(1.0, MAX_STEP / np.maximum(longest, TOLERANCE)))
        if longest.max() < TOLERANCE:
            return centred(likelihood, theta)
    raise RatingError("the fit did not converge; allow a prior, or see which contestants hardly met")


def advance(likelihood: Likelihood, theta: Array, step: Array) -> Array:
    """One step on; Rao and Kupper's margin stays positive."""
    after = theta + step
    if likelihood.model.name == "rao-kupper":
        after[:, -1] = np.maximum(after[:, -1], theta[:, -1] / 2)
    return np.asarray(after)


def centred(likelihood: Likelihood, theta: Array) -> Array:
    """The same parameters with the strengths' mean at 0."""
    n = likelihood.games.n
    theta[:, :n] -= theta[:, :n].mean(axis=1, keepdims=True)
    return theta
