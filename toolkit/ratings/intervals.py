"""How sure ratings are: the sandwich covariance of a fit, clustered by what votes share.

Votes on one example share its answers, and votes of one voter a taste, so neither are independent. The
sandwich (Huber 1967; Liang and Zeger 1986) sums the votes' scores within a cluster before it squares them.
Ten voters or more are clusters too, and the two variances are added and their overlap taken away (Cameron,
Gelbach and Miller 2011). Everything is in log-odds, about contrasts: a row of `contrasts` (k, m) gives the
weights of the parameters in one quantity, such as a contestant's strength less the mean of all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.ratings.counts import Counts
from toolkit.ratings.mle import Games, Likelihood
from toolkit.ratings.table import MISSING, Array, Codes, Table
from toolkit.ratings.ties import Three, dot

TWO_WAY_FROM = 10
"""Voters from which on voters are clusters too; the variance over fewer is not known."""
LEAVE_OUT_CELLS = 20_000_000
"""Clusters times squared parameters up to which each cluster is left out in turn; beyond, it makes no
difference."""


@dataclass(frozen=True)
class Spread:
    """The covariance of a fit's parameters, and how well it is known."""

    robust: Array
    """Clustered sandwich, shape (m, m)."""
    floors: tuple[Array, ...]
    """What independent votes, or examples alone, would give: no contrast has less, since few clusters can
    agree by chance."""
    freedom: float
    """Degrees of freedom of `robust`."""
    over: str
    """What is resampled in thought, e.g. `examples`."""

    def errors(self, contrasts: Array) -> Array:
        """Standard errors of contrasts (k, m), shape (k,)."""
        parts = [((contrasts @ part) * contrasts).sum(axis=1) for part in (self.robust, *self.floors)]
        return np.asarray(np.sqrt(np.maximum(np.max(parts, axis=0), 0)))

    def reach(self, level: float) -> float:
        """How many standard errors an interval of this level extends to each side."""
        from scipy.stats import t

        return float(t.ppf((1 + level) / 2, self.freedom))

    def interval(self, strength: Array, contrasts: Array, level: float) -> tuple[Array, Array]:
        """Lower and upper ends of contrasts, shape (k,) each."""
        middle, margin = contrasts @ strength, self.reach(level) * self.errors(contrasts)
        return middle - margin, middle + margin

    def select(self, size: int) -> Spread:
        """Of the first `size` parameters, as differences from their mean."""
        centring = contrasts_to(size, None)
        robust, *floors = (centring @ part[:size, :size] @ centring for part in (self.robust, *self.floors))
        return Spread(robust, tuple(floors), self.freedom, self.over)


def contrasts_to(n: int, anchor: int | None) -> Array:
    """Each strength less the anchor's, or without one less the mean of all; shape (n, n)."""
    if anchor is None:
        return np.eye(n) - 1 / n
    contrasts = np.eye(n)
    contrasts[:, anchor] -= 1
    return contrasts


def compute_spread(likelihood: Likelihood, theta: Array, counts: Counts, table: Table | None) -> Spread:
    """The clustered covariance of a fit at its maximum `theta` (m,); a tally alone has independent votes."""
    curvature = likelihood.curvature(theta[None])[0]
    inverse = np.linalg.inv(curvature)
    floor = inverse @ _independent_scatter(likelihood, theta, counts) @ inverse
    if table is None or not ({"example", "voter"} & set(table.labels) or table.probability is not None):
        robust = inverse @ _squared_scores(likelihood, theta, counts) @ inverse
        n = max(2, counts.votes)
        return Spread(robust * n / (n - 1), (floor,), n - 1, "votes")
    votes = VoteScores.build(likelihood, theta, table)
    return two_way(votes, curvature, floor, table)


def two_way(votes: VoteScores, curvature: Array, floor: Array, table: Table) -> Spread:
    """The variance over examples, and over voters where there are enough of them."""
    examples, voters = (cluster_codes(table, kind) for kind in ("example", "voter"))
    count = len(np.unique(voters))
    robust, freedom = votes.covariance(curvature, examples)
    names = "examples" if "example" in table.labels else "votes"
    if "voter" not in table.labels or not TWO_WAY_FROM <= count < len(table):
        return Spread(robust, (floor,), freedom, names)
    by_voter, voter_freedom = votes.covariance(curvature, voters)
    both, _ = votes.covariance(curvature, examples * (voters.max() + 1) + voters)
    floors = (floor, robust)
    return Spread(robust + by_voter - both, floors, min(freedom, voter_freedom), f"{names} and voters")


def cluster_codes(table: Table, kind: str) -> NDArray[np.int64]:
    """Cluster of each vote; a vote without a label is one of its own."""
    labels = table.labels.get(kind)
    own = np.arange(len(table), dtype=np.int64)
    if labels is None:
        return own
    return np.where(labels.codes == MISSING, own + len(labels.names), labels.codes).astype(np.int64)


@dataclass(frozen=True)
class VoteScores:
    """Derivatives of each vote's log-likelihood, as sparse rows: `scores` (votes, m), and its curvature."""

    scores: Any
    """A scipy CSR matrix."""
    bends: Array | None
    """Each vote's part in the curvature of its gap, shape (votes,); `None`: no cluster is left out."""
    first: Codes
    second: Codes

    @classmethod
    def build(cls, likelihood: Likelihood, theta: Array, table: Table) -> VoteScores:
        strength, eta = theta[: likelihood.games.n], theta[likelihood.games.n :]
        gap = strength[table.first] - strength[table.second]
        tie = eta if likelihood.model.has_parameter else np.zeros(1)
        weight: Array = np.ones(len(table)) if table.weight is None else table.weight
        won, lost, tied = (np.asarray(table.outcome == outcome, dtype=np.float64) for outcome in range(3))
        ones: Three = (won, lost, tied)
        by_gap, by_tie = likelihood.model.scores(gap, tie)
        slope = weight * dot(ones, by_gap)
        if likelihood.model.name == "half":
            slope = weight * (table.points - 1 / (1 + np.exp(-gap)))
        bends = weight * likelihood.model.bends(gap, tie, ones).gap
        extra = weight * dot(ones, by_tie) if likelihood.model.has_parameter else None
        return cls(sparse_scores(table, slope, likelihood.size, extra), bends, table.first, table.second)

    def covariance(self, curvature: Array, cluster: NDArray[np.int64]) -> tuple[Array, float]:
        """Leave-one-cluster-out covariance of the parameters, and its degrees of freedom."""
        from scipy.sparse import csr_matrix

        names, place = np.unique(cluster, return_inverse=True)
        groups, m = len(names), self.scores.shape[1]
        member = csr_matrix((np.ones(len(place)), (place, np.arange(len(place)))), shape=(groups, len(place)))
        sums = member @ self.scores
        if self.bends is None or groups * m * m > LEAVE_OUT_CELLS or groups == len(place):
            inverse = np.linalg.inv(curvature)
            scatter = np.asarray((sums.T @ sums).todense()) * groups / max(1, groups - 1)
            return inverse @ scatter @ inverse, max(1, groups - 1)
        own = np.zeros((groups, m, m))
        first, second = self.first.astype(np.intp), self.second.astype(np.intp)
        for i, j, sign in ((first, first, 1), (second, second, 1), (first, second, -1), (second, first, -1)):
            np.add.at(own, (place, i, j), sign * self.bends)
        left = curvature[None] - own * (
            1 - 1 / max(2, groups)
        )  # so that what one cluster alone shows stays finite
        shift = np.linalg.solve(left, sums.toarray()[:, :, None])[:, :, 0]
        shift -= shift.mean(axis=0)
        return shift.T @ shift * (groups - 1) / groups, max(1, groups - 1)


def sparse_scores(table: Table, slope: Array, size: int, extra: Array | None = None) -> Any:
    """Rows (votes, size) with the slope at the first contestant and its opposite at the second."""
    from scipy.sparse import csr_matrix

    rows = np.arange(len(table))
    data, at, column = [slope, -slope], [rows, rows], [table.first, table.second]
    if extra is not None:
        data, at, column = [*data, extra], [*at, rows], [*column, np.full(len(table), size - 1)]
    place = (np.concatenate(at), np.concatenate(column).astype(np.intp))
    return csr_matrix((np.concatenate(data), place), shape=(len(table), size))


def _squared_scores(likelihood: Likelihood, theta: Array, counts: Counts) -> Array:
    """The sum of squares of the scores of independent votes, shape (m, m)."""
    _, d, eta = likelihood.split(theta[None])
    by_gap, by_tie = likelihood.model.scores(d, eta)
    squared = Games.of(counts, squared=True).outcomes
    gap = dot(squared, _products(by_gap, by_gap))
    cross = dot(squared, _products(by_gap, by_tie))
    tie = dot(squared, _products(by_tie, by_tie))
    return np.asarray(likelihood.assemble(gap, cross, tie)[0])


def _independent_scatter(likelihood: Likelihood, theta: Array, counts: Counts) -> Array:
    """What `_squared_scores` is expected to be: after a clean sweep no residual is left to estimate it from.

    Ties as half points vary less than coin flips, by a quarter of their share.
    """
    squared = Games.of(counts, squared=True).outcomes
    _, d, eta = likelihood.split(theta[None])
    bends = likelihood.model.bends(d, eta, squared)
    if likelihood.model.has_parameter:
        return np.asarray(likelihood.assemble(bends.gap, bends.cross, bends.tie)[0])
    dispersion = tie_dispersion(float(bends.gap.sum()), counts)
    return np.asarray(dispersion * likelihood.assemble(bends.gap, bends.cross, bends.tie)[0])


def tie_dispersion(binary: float, counts: Counts) -> float:
    """Variance of the points of votes, over that of votes without ties; `binary` is the sum of p (1 - p)."""
    more = 0.0 if counts.graded else 0.25  # one vote that is no tie, for where all are
    return max(1e-9, 1 - counts.blunted / max(binary + more, 1e-9))


def _products(some: Three, other: Three) -> Three:
    return some[0] * other[0], some[1] * other[1], some[2] * other[2]
