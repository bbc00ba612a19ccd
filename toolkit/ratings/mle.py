"""Maximum likelihood of paired comparisons: the one likelihood behind every Bradley-Terry-like rating.

A model of ties gives, for gaps `d` in strength (log-odds) and its parameter `eta`, the log-probabilities of
a win, a loss and a tie, their derivatives by `d` and `eta` (the scores), and minus the second derivatives of
the log-likelihood. All arrays have one entry a row.

The likelihood's parameters are the strengths of the contestants, and behind them the tie parameter where the
model has one, or the coefficients of features. It is concave, so the one maximum is found or an error is
raised; naive fixed-point iterations can stop elsewhere in silence.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np

from toolkit.errors import RatingError
from toolkit.ratings.vote_table import Array, Codes, Counts, Table, blocks
from toolkit.statistics import newton

Ties = Literal["half", "davidson", "rao-kupper"]

Three = tuple[Array, Array, Array]
"""Of a win, a loss and a tie of the first contestant; or by the gap twice, by both, by `eta` twice."""


@dataclass(frozen=True)
class TieModel:
    """One model of ties. Functions of gaps and `eta`; the last one of outcome counts too."""

    name: Ties
    has_parameter: bool
    logs: Callable[[Array, Array], Three]
    scores: Callable[[Array, Array], tuple[Three, Three]]
    """Derivatives of `logs` by the gap, and by `eta`."""
    bends: Callable[[Array, Array, Three], Three]
    """Minus the second derivatives of the log-likelihood, by `d` twice, by `d` and `eta`, by `eta` twice."""
    least: float = -np.inf
    """`eta` is larger."""

    def parameter(self, eta: float) -> float | None:
        """The tie parameter as papers give it: Davidson's nu, Rao and Kupper's theta."""
        return float(np.exp(eta)) if self.has_parameter else None

    def expected(self, gap: float, eta: float) -> float:
        """Points the first contestant can expect from one battle, a tie being half a win."""
        win, _, tie = (float(np.exp(log)) for log in self.logs(np.array(gap), np.array(eta)))
        return win if self.name == "half" else win + tie / 2


def dot(counts: Three, scores: Three) -> Array:
    """The sum over the three outcomes of `counts * scores`."""
    return counts[0] * scores[0] + counts[1] * scores[1] + counts[2] * scores[2]


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(x / 2)))


def log_sigmoid(x: Array) -> Array:
    """The logarithm of `sigmoid`, exact far out."""
    return np.asarray(-np.logaddexp(0, -x))


def _half_logs(d: Array, eta: Array) -> Three:
    win, loss = log_sigmoid(d), log_sigmoid(-d)
    return win, loss, (win + loss) / 2


def _half_scores(d: Array, eta: Array) -> tuple[Three, Three]:
    p = sigmoid(d)
    zero = np.zeros_like(p)
    return (1 - p, -p, 0.5 - p), (zero, zero, zero)


def _half_bends(d: Array, eta: Array, counts: Three) -> Three:
    p = sigmoid(d)
    zero = np.zeros_like(p)
    return (counts[0] + counts[1] + counts[2]) * p * (1 - p), zero, zero


def _davidson_logs(d: Array, eta: Array) -> Three:
    total = np.logaddexp(np.logaddexp(d / 2, -d / 2), eta)
    return d / 2 - total, -d / 2 - total, eta - total


def _davidson_scores(d: Array, eta: Array) -> tuple[Three, Three]:
    win, loss, tie = (np.exp(log) for log in _davidson_logs(d, eta))
    mean = (win - loss) / 2
    return (0.5 - mean, -0.5 - mean, -mean), (-tie, -tie, 1 - tie)


def _davidson_bends(d: Array, eta: Array, counts: Three) -> Three:
    win, loss, tie = (np.exp(log) for log in _davidson_logs(d, eta))
    met, mean = counts[0] + counts[1] + counts[2], (win - loss) / 2
    return met * ((win + loss) / 4 - mean**2), -met * mean * tie, met * tie * (1 - tie)


def _rao_kupper_logs(d: Array, eta: Array) -> Three:
    win, loss = log_sigmoid(d - eta), log_sigmoid(-d - eta)
    return win, loss, np.log(np.expm1(2 * eta)) + win + loss


def _rao_kupper_scores(d: Array, eta: Array) -> tuple[Three, Three]:
    not_win, not_loss = sigmoid(eta - d), sigmoid(eta + d)
    by_eta = -2 / np.expm1(-2 * eta) - not_win - not_loss
    return (not_win, -not_loss, not_win - not_loss), (-not_win, -not_loss, by_eta)


def _rao_kupper_bends(d: Array, eta: Array, counts: Three) -> Three:
    wins, losses, ties = counts
    win, loss = sigmoid(d - eta), sigmoid(-d - eta)
    up, down = (wins + ties) * win * (1 - win), (losses + ties) * loss * (1 - loss)
    return up + down, down - up, up + down + ties / np.sinh(eta) ** 2


TIE_MODELS: dict[Ties, TieModel] = {
    "half": TieModel("half", False, _half_logs, _half_scores, _half_bends),
    "davidson": TieModel("davidson", True, _davidson_logs, _davidson_scores, _davidson_bends),
    "rao-kupper": TieModel("rao-kupper", True, _rao_kupper_logs, _rao_kupper_scores, _rao_kupper_bends, 0.0),
}
"""`half`: a tie is half a win for both. `davidson`: Davidson (1970), P(tie) = nu sqrt(P(win) P(loss)).
`rao-kupper`: Rao and Kupper (1967), a contestant must be better by a margin log(theta) to win."""


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
    def of(cls, counts: Counts, *, squared: bool = False) -> Self:
        """The pairs of a tally; with `squared`, of its sums of squared weights."""
        i, j = np.nonzero(np.triu(counts.met > 0, 1))
        wins = counts.wins_squared if squared else counts.wins
        ties = counts.ties_squared if squared else counts.ties
        return cls(len(counts.names), i, j, (wins[i, j], wins[j, i], ties[i, j]))

    @classmethod
    def of_votes(cls, table: Table, model: TieModel, features: Array | None = None) -> Self:
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
    """The parameters of highest likelihood, shape (m,), strengths with mean 0; `RatingError`: not reached."""
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
