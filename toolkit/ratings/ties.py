"""How a battle ends, given the gap in strength of its two contestants: three models of ties.

Each model gives, for gaps `d` (log-odds) and its tie parameter `eta`, the log-probabilities of a win, a loss
and a tie, their derivatives by `d` and `eta` (the scores), and minus the second derivatives of the
log-likelihood. All arrays have one entry a row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from toolkit.ratings.table import Array

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
