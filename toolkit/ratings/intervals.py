"""How sure ratings are: the curvature of the likelihood, Huber's sandwich, and the profile of the likelihood.

Everything here is in log-odds, about contrasts: a row of `contrasts` (k, m) gives the weights of the
parameters in one quantity, such as a contestant's strength less the mean of all.
"""

from __future__ import annotations

import numpy as np

from toolkit.errors import RatingError
from toolkit.ratings.counts import Counts
from toolkit.ratings.mle import Games, Likelihood, advance
from toolkit.ratings.table import Array
from toolkit.ratings.ties import Three, dot
from toolkit.ratings.win_probability import quantile

CLOSE = 1e-7
"""How exactly the ends of a profile interval are found, in log-odds."""
NOT_FOUND = "the profile intervals did not converge; ask for those of the curvature"

DRAWS, DRAWS_AT_ONCE = 10_000, 250
"""Of the simulation behind simultaneous intervals."""


def contrasts_to(n: int, anchor: int | None) -> Array:
    """Each strength less the anchor's, or without one less the mean of all; shape (n, n)."""
    if anchor is None:
        return np.eye(n) - 1 / n
    contrasts = np.eye(n)
    contrasts[:, anchor] -= 1
    return contrasts


def curvature_covariance(likelihood: Likelihood, theta: Array) -> Array:
    """Inverse curvature at the maximum of one log, shape (m, m)."""
    return np.asarray(np.linalg.inv(likelihood.curvature(theta[None])[0]))


def sandwich_covariance(likelihood: Likelihood, theta: Array, counts: Counts) -> Array:
    """Inverse curvature around the spread of the votes' own scores, shape (m, m).

    Right for weighted votes and where the model of a pair is wrong (Huber 1967; arena-rank's intervals).
    """
    inverse = curvature_covariance(likelihood, theta)
    _, d, eta = likelihood.split(theta[None])
    by_gap, by_tie = likelihood.model.scores(d, eta)
    squared = Games.of(counts, squared=True).outcomes
    gap = dot(squared, _products(by_gap, by_gap))
    cross = dot(squared, _products(by_gap, by_tie))
    tie = dot(squared, _products(by_tie, by_tie))
    return np.asarray(inverse @ likelihood.assemble(gap, cross, tie)[0] @ inverse)


def _products(some: Three, other: Three) -> Three:
    return some[0] * other[0], some[1] * other[1], some[2] * other[2]


def symmetric(strength: Array, covariance: Array, contrasts: Array, level: float) -> tuple[Array, Array]:
    """Lower and upper ends, shape (k,) each, that many standard errors from the contrasts' values."""
    error = np.sqrt(np.maximum(((contrasts @ covariance) * contrasts).sum(axis=1), 0))
    middle, margin = contrasts @ strength, quantile(level) * error
    return middle - margin, middle + margin


def profile(likelihood: Likelihood, theta: Array, contrasts: Array, level: float) -> tuple[Array, Array]:
    """Where the likelihood, with the contrast held and all else refitted, has fallen by the level's due.

    In small arenas these intervals cover what they promise where symmetric ones are too wide.

    Args:
        likelihood: of one log; needs a prior, so that both ends are finite.
        theta: its maximum, shape (m,).
        contrasts: shape (k, m).
        level: such as 0.95.

    Returns:
        The lower and the upper ends, shape (k,) each.
    """
    ends = []
    for side in (-1.0, 1.0):
        moved = [_profile_end(likelihood, theta, contrast, side * quantile(level)) for contrast in contrasts]
        ends.append(np.array(moved))
    return ends[0], ends[1]


def _profile_end(likelihood: Likelihood, theta: Array, contrast: Array, reach: float) -> float:
    """The value of `contrast @ theta` at which the signed root of the deviance is `reach`."""
    top = float(likelihood.value(theta[None])[0])
    here = theta.copy()
    if not contrast.any():
        return 0.0
    spread = contrast @ curvature_covariance(likelihood, theta) @ contrast
    value = float(contrast @ theta) + reach * float(np.sqrt(spread))
    for _ in range(20):
        here, pull = _constrained_fit(likelihood, here, contrast, value)
        root = np.sign(reach) * np.sqrt(max(0.0, 2 * (top - float(likelihood.value(here[None])[0]))))
        step = (reach - root) * root / pull
        value += step
        if abs(step) < CLOSE:
            return float(value)
    raise RatingError(NOT_FOUND)


def _constrained_fit(
    likelihood: Likelihood, theta: Array, contrast: Array, value: float
) -> tuple[Array, float]:
    """The maximum with `contrast @ theta` held at `value`, and how hard the likelihood pulls back there."""
    pull = 0.0
    for _ in range(50):
        gradient = likelihood.gradient(theta[None])[0]
        both = np.linalg.solve(likelihood.curvature(theta[None])[0], np.column_stack([gradient, contrast]))
        pull = float((value - contrast @ theta - contrast @ both[:, 0]) / (contrast @ both[:, 1]))
        step = both[:, 0] + pull * both[:, 1]
        short = step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-12))
        theta = advance(likelihood, theta[None], short[None])[0]
        if np.abs(step).max() < CLOSE / 100:
            return theta, pull
    raise RatingError(NOT_FOUND)


def joint_quantile(covariance: Array, contrasts: Array, level: float, seed: int = 0) -> float:
    """How many standard errors intervals of all contrasts must reach to hold together at `level`.

    The quantile of the largest of |z|, by simulation (Hothorn, Bretz and Westfall 2008); between the single
    quantile and Bonferroni's.
    """
    values, vectors = np.linalg.eigh(covariance)
    root = contrasts @ (vectors * np.sqrt(np.maximum(values, 0)))
    error = np.sqrt((root**2).sum(axis=1))
    root = root[error > 0] / error[error > 0, None]
    rng = np.random.default_rng(seed)
    largest = [
        np.abs(root @ rng.standard_normal((root.shape[1], DRAWS_AT_ONCE))).max(axis=0)
        for _ in range(DRAWS // DRAWS_AT_ONCE)
    ]
    return float(np.quantile(np.concatenate(largest), level))
