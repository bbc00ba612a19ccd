"""How sure the votes so far are about the order of each pair of contestants.

A Bayesian Bradley-Terry model: strengths have a normal prior, the posterior is taken as normal around its
mode (Laplace). With few votes the prior keeps it honest, where a maximum-likelihood fit runs off to infinity;
the leaderboard, which needs no prior, has its own fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

PRIOR_SD = 1.5
"""Of a strength, in log-odds: a typical pair of contestants then wins 9 : 1 against each other at most."""

STEPS = 50
TOLERANCE = 1e-9

Matrix = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Posterior:
    mean: Matrix
    """Strength of each contestant in log-odds, shape (k,)."""
    covariance: Matrix
    """Shape (k, k)."""

    def gaps(self) -> tuple[Matrix, Matrix]:
        """Difference in strength of every pair and its standard deviation, both of shape (k, k)."""
        variance = np.diag(self.covariance)
        spread = variance[:, None] + variance[None, :] - 2 * self.covariance
        return self.mean[:, None] - self.mean[None, :], np.sqrt(np.maximum(spread, 0))


def posterior(wins: Matrix) -> Posterior:
    """Strengths given `wins[i, j]`, how often i beat j; a tie counts half for each side.

    Newton's method on the log-posterior, which is concave: it has one maximum.
    """
    games = wins + wins.T
    strength = np.zeros(len(wins))
    precision = np.eye(len(wins)) / PRIOR_SD**2
    hessian = precision
    for _ in range(STEPS):
        chance = 1 / (1 + np.exp(strength[None, :] - strength[:, None]))
        gradient = (wins - games * chance).sum(axis=1) - precision @ strength
        information = games * chance * (1 - chance)
        hessian = np.diag(information.sum(axis=1)) - information + precision
        step = np.linalg.solve(hessian, gradient)
        strength = strength + step
        if np.abs(step).max() < TOLERANCE:
            break
    return Posterior(strength, np.linalg.inv(hessian))


def order_doubt(state: Posterior) -> Matrix:
    """Probability that each pair's order is the other way round than it looks, shape (k, k), in 0..0.5."""
    gap, spread = state.gaps()
    z = np.abs(gap) / np.where(spread > 0, spread, 1)
    return _upper_tail(z)


def _upper_tail(z: Matrix) -> Matrix:
    """P(Z > z) of a standard normal, z >= 0: Abramowitz and Stegun 26.2.17, error below 7.5e-8."""
    t = 1 / (1 + 0.2316419 * z)
    series = t * (0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))))
    return np.asarray(np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) * series)
