"""Uncertainty of ratings: the sandwich covariance of a fit, clustered by example and voter.

Votes on one example share its answers, and votes of one voter a taste, so neither are independent. The
sandwich (Huber 1967; Liang and Zeger 1986) sums the votes' scores within a cluster before it squares them.
Ten voters or more are clusters too, and the two variances are added and their overlap taken away (Cameron,
Gelbach and Miller 2011). Everything is in log-odds, about contrasts: a row of `contrasts` (k, m) gives the
weights of the parameters in one quantity, such as a contestant's strength less the mean of all.
"""

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from toolkit.ratings.mle import Derivatives, Games, Likelihood, dot
from toolkit.ratings.vote_table import MISSING, Array, Codes, Counts, Table, blocks
from toolkit.statistics import LEVEL, effective_freedom

TWO_WAY_FROM = 10
"""Voters from which on voters are clusters too; the variance over fewer is not known ..."""
LEAST_FREEDOM = 4.0
"""... nor over more, where fewer than five of them cast most of the votes."""
LEAST_RATIO = 0.1
"""Of a clustered variance to that of independent votes, lest one pair that agrees by chance tell of all."""
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
        parts = [variances(contrasts, part) for part in (self.robust, *self.floors)]
        return np.asarray(np.sqrt(np.maximum(np.max(parts, axis=0), 0)))

    def moderated(self, contrasts: Array) -> tuple[Array, float]:
        """Standard errors of contrasts (k, m), each variance drawn to the others', and their freedom.

        An empirical Bayes prior (Smyth 2004) on how many times the variance of independent votes each one
        is: as firm as they are alike, beyond what few degrees of freedom explain, and never firmer than
        all that strengths can tell. As `errors` where there are no independent votes to compare with, and
        over voters: pairs share a voter's taste, and pooled variances had 7% of false claims.
        """
        from scipy.special import digamma, polygamma

        robust, independent = (variances(contrasts, part) for part in (self.robust, self.floors[0]))
        most, over_voters = (len(self.robust) - 2) * self.freedom, len(self.floors) > 1
        if over_voters or most <= 0 or independent.min() <= 0 or np.array_equal(independent, robust):
            return self.errors(contrasts), self.freedom
        ratio, half = np.maximum(robust / independent, LEAST_RATIO), self.freedom / 2
        logs = np.log(ratio) - digamma(half) + np.log(half)
        unlike = float(logs.var(ddof=1) - polygamma(1, half))
        # The inverse of trigamma, of which 1 / x + 1 / (2 x^2) is the beginning.
        prior = min(most, float(1 + np.sqrt(1 + 2 * unlike)) / unlike) if unlike > 0 else most
        common = np.exp(logs.mean() + digamma(prior / 2) - np.log(prior / 2))
        pooled = (prior * common + self.freedom * ratio) / (prior + self.freedom)
        return np.sqrt(np.maximum(pooled, 1) * independent), self.freedom + prior

    def reach(self) -> float:
        """How many standard errors a 95% interval extends to each side."""
        from scipy.special import stdtrit

        return float(stdtrit(self.freedom, (1 + LEVEL) / 2))

    def interval(self, strength: Array, contrasts: Array) -> tuple[Array, Array]:
        """Lower and upper ends of contrasts, shape (k,) each."""
        middle, margin = contrasts @ strength, self.reach() * self.errors(contrasts)
        return middle - margin, middle + margin

    def select(self, size: int) -> Self:
        """Of the first `size` parameters, as differences from their mean."""
        centring = contrasts_to(size, None)
        robust, *floors = (centring @ part[:size, :size] @ centring for part in (self.robust, *self.floors))
        return replace(self, robust=robust, floors=tuple(floors))


def variances(contrasts: Array, covariance: Array) -> Array:
    """Variances of contrasts (k, m) of parameters, shape (k,)."""
    return np.asarray(((contrasts @ covariance) * contrasts).sum(axis=1))


def contrasts_to(n: int, anchor: int | None) -> Array:
    """Each strength less the anchor's, or without one less the mean of all; shape (n, n)."""
    return np.eye(n) - (1 / n if anchor is None else np.eye(n)[anchor])


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
    def of(cls, votes: Likelihood, theta: Array) -> Self:
        """At `theta`; clusters are left out in turn where there are no features."""
        games = votes.games
        parts = [votes.rows(theta, part) for part in blocks(len(games.first))]
        slope, bends, extra = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("slope", "bend", "extra")
        )
        return cls.build(games, slope, bends if games.features is None else None, extra)

    @classmethod
    def build(cls, games: Games, slope: Array, bends: Array | None, extra: Array) -> Self:
        """From slopes by the gap (votes,), which count against the second, and by other parameters."""
        from scipy.sparse import csr_matrix, hstack

        rows = np.arange(len(slope))
        at = np.concatenate([rows, rows]), np.concatenate([games.first, games.second]).astype(np.intp)
        gaps = csr_matrix((np.concatenate([slope, -slope]), at), shape=(len(slope), games.n))
        scores = hstack([gaps, csr_matrix(extra)]).tocsr() if extra.shape[1] else gaps
        return cls(scores, bends, games.first, games.second)

    def covariance(self, curvature: Array, cluster: NDArray[np.int64]) -> Array:
        """Leave-one-cluster-out covariance of the parameters."""
        from scipy.sparse import csr_matrix

        names, place = np.unique(cluster, return_inverse=True)
        groups, m = len(names), self.scores.shape[1]
        member = csr_matrix((np.ones(len(place)), (place, np.arange(len(place)))), shape=(groups, len(place)))
        sums = member @ self.scores
        if self.bends is None or groups * m * m > LEAVE_OUT_CELLS or groups == len(place):
            inverse = np.linalg.inv(curvature)
            scatter = np.asarray((sums.T @ sums).todense()) * groups / max(1, groups - 1)
            return inverse @ scatter @ inverse
        own = np.zeros((groups, m, m))
        first, second = self.first.astype(np.intp), self.second.astype(np.intp)
        for i, j, sign in ((first, first, 1), (second, second, 1), (first, second, -1), (second, first, -1)):
            np.add.at(own, (place, i, j), sign * self.bends)
        part = 1 - 1 / max(2, groups)  # so that what one cluster alone shows stays finite
        shift = np.linalg.solve(curvature[None] - own * part, sums.toarray()[:, :, None])[:, :, 0]
        shift -= shift.mean(axis=0)
        return shift.T @ shift * (groups - 1) / groups


def compute_spread(
    likelihood: Likelihood, theta: Array, counts: Counts, table: Table | None
) -> tuple[Spread, float]:
    """The clustered covariance of a fit at its maximum `theta` (m,), and the votes' `tie_dispersion`."""
    curvature = likelihood.derivatives(theta)[1]
    inverse, n = np.linalg.inv(curvature), likelihood.games.n
    squared = Likelihood(Games.of(counts, squared=True), likelihood.model)
    # What the squares of independent scores are expected to be: after a clean sweep no residual is left.
    scatter = squared.sums(lambda part: squared.rows(theta, part))[1]
    dispersion = tie_dispersion(float(np.trace(scatter[:n, :n])) / 2, counts)
    if not likelihood.model.has_parameter:
        scatter = dispersion * scatter  # ties as half points vary less than coin flips
    floor = inverse @ scatter @ inverse
    if table is None or not ({"example", "voter"} & set(table.labels) or table.probability is not None):
        robust, size = inverse @ _squared_scores(squared, theta) @ inverse, max(2, counts.votes)
        return Spread(robust * size / (size - 1), (floor,), size - 1, "votes"), dispersion
    votes = Likelihood(Games.of_votes(table, likelihood.model), likelihood.model)
    return two_way(VoteScores.of(votes, theta), curvature, floor, table), dispersion


def _squared_scores(squared: Likelihood, theta: Array) -> Array:
    """The sum of squares of the scores of independent votes, shape (m, m)."""
    games, eta = squared.games, theta[squared.games.n :]
    k = len(eta)

    def products(part: slice) -> Derivatives:
        gaps = theta[games.first[part]] - theta[games.second[part]]
        won, lost, tied = (outcome[part] for outcome in games.outcomes)
        by_gap, by_tie = squared.model.scores(gaps, eta)
        gap, cross, tie = (
            dot((won, lost, tied), (x[0] * y[0], x[1] * y[1], x[2] * y[2]))
            for x, y in ((by_gap, by_gap), (by_gap, by_tie), (by_tie, by_tie))
        )
        none = np.zeros((len(gap), k))
        return Derivatives(np.zeros_like(gap), gap, none, none + cross[:, None], np.full((k, k), tie.sum()))

    return squared.sums(products)[1]


def tie_dispersion(binary: float, counts: Counts) -> float:
    """Variance of the points of votes, over that of votes without ties; `binary` is the sum of p (1 - p)."""
    more = 0.0 if counts.graded else 0.25  # one vote that is no tie, for where all are
    return max(1e-9, 1 - counts.blunted / max(binary + more, 1e-9))


def two_way(votes: VoteScores, curvature: Array, floor: Array, table: Table) -> Spread:
    """The variance over examples, and over voters where there are enough of them."""
    examples, voters = (cluster_codes(table, kind) for kind in ("example", "voter"))
    freedom, among_voters = (degrees_of_freedom(each, table.weights) for each in (examples, voters))
    robust, count = votes.covariance(curvature, examples), len(np.unique(voters))
    names = "examples" if "example" in table.labels else "votes"
    enough = TWO_WAY_FROM <= count < len(table) and among_voters >= LEAST_FREEDOM
    if "voter" not in table.labels or not enough:
        return Spread(robust, (floor,), freedom, names)
    by_voter = votes.covariance(curvature, voters)
    both = votes.covariance(curvature, examples * (voters.max() + 1) + voters)
    floors = (floor, robust)
    return Spread(robust + by_voter - both, floors, min(freedom, among_voters), f"{names} and voters")


def degrees_of_freedom(cluster: NDArray[np.int64], weight: Array) -> float:
    """Of a variance over clusters: one less than as many of one size as tell as much (Kish 1965).

    Where a few clusters hold most votes, their number says too much (Carter, Schnepel and Steigerwald 2017).
    """
    sizes = np.bincount(np.unique(cluster, return_inverse=True)[1], weight)
    return effective_freedom(sizes)


def cluster_codes(table: Table, kind: str) -> NDArray[np.int64]:
    """Cluster of each vote; a vote without a label is one of its own."""
    labels = table.labels.get(kind)
    own = np.arange(len(table), dtype=np.int64)
    if labels is None:
        return own
    return np.where(labels.codes == MISSING, own + len(labels.names), labels.codes).astype(np.int64)
