"""Win rates of one contestant over another, raw and with the judge's liking for length taken out.

The length-controlled win rate is AlpacaEval 2's (Dubois et al. 2024): a logistic regression of the preference
on the difference in length says what the preference would be between answers of equal length.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import DataError
from toolkit.judge.statistics import share
from toolkit.statistics import Z
from toolkit.types import POINTS, Battle, Record, Vote

Array = NDArray[np.float64]

RIDGES = np.array([0.01, 4.0, 4.0])
"""Penalties of the constant, length and difficulty (half the squared coefficient each). The last two say that
coefficients beyond +-1 are unusual: a contestant that is always the shorter one says little about what would
happen at equal length, and without a penalty the fit extrapolates wildly."""


class Preference(Record):
    """How much one answer was preferred to another's on one example."""

    contestant: str
    against: str
    value: float
    """From 0 (the other won) to 1."""
    length: int
    """Of the contestant's answer, in characters."""
    length_against: int
    difficulty: float = 0.0
    """Of the example, where one is known: a covariate of the length-controlled win rate."""


def preferences(battles: Sequence[Battle], cast: Iterable[Vote]) -> list[Preference]:
    """Votes on battles as preferences, seen from side `a`."""
    lengths = {battle.id: (len(battle.completion_a), len(battle.completion_b)) for battle in battles}
    return [
        Preference(
            contestant=vote.model_a,
            against=vote.model_b,
            value=POINTS[vote.outcome],
            length=lengths[vote.battle_id][0],
            length_against=lengths[vote.battle_id][1],
        )
        for vote in cast
    ]


def win_rates(found: Iterable[Preference]) -> list[dict[str, Any]]:
    """Every pair's raw and length-controlled win rate: `contestant`, `against`, and two shares with `n`."""
    pairs: dict[tuple[str, str], list[Preference]] = {}
    for preference in found:
        pairs.setdefault((preference.contestant, preference.against), []).append(preference)
    return [
        {
            "contestant": contestant,
            "against": against,
            "win_rate": share(sum(row.value for row in rows), len(rows)),
            "length_controlled": length_controlled(rows),
        }
        for (contestant, against), rows in pairs.items()
    ]


def standard_error(rows: Sequence[Preference]) -> float:
    """Of the raw win rate, as AlpacaEval reports it."""
    return float(np.std([row.value for row in rows], ddof=1) / math.sqrt(len(rows)))


def length_controlled(rows: Sequence[Preference]) -> dict[str, Any]:
    """The win rate between answers of equal length, with its 95% interval.

    Logistic regression of the preference on a constant, tanh of the standardised difference in length and,
    where examples have them, their difficulties; then the mean prediction at no difference in length. The
    interval is that of the constant, from the sandwich covariance. AlpacaEval fits the same features, but
    holds the coefficients back with an L1 penalty chosen by cross-validation and with judgments of gamed
    answers of its own baseline, which other data does not have; here a fixed penalty does it.
    """
    if not rows:
        raise DataError("no battles to take a win rate of")
    values = np.array([row.value for row in rows])
    apart = np.array([row.length - row.length_against for row in rows], dtype=float)
    spread = apart.std(ddof=1) if len(rows) > 1 else 0.0
    length = np.tanh(apart / spread) if spread > 0 else np.zeros(len(rows))
    difficulty = np.array([row.difficulty for row in rows])
    columns = np.stack([np.ones(len(rows)), length, difficulty], axis=1)
    fitted, covariance = logistic(columns, values, RIDGES)
    margin = Z * math.sqrt(covariance[0, 0])
    low, value, high = (
        float(_sigmoid(fitted[0] + shift + fitted[2] * difficulty).mean()) for shift in (-margin, 0.0, margin)
    )
    return {"value": value, "low": low, "high": high, "n": len(rows)}


def logistic(columns: Array, values: Array, ridges: Array) -> tuple[Array, Array]:
    """Coefficients of a logistic regression with targets in [0, 1], and their sandwich covariance.

    Args:
        columns: (rows, features); a constant is one of them, or is not fitted.
        values: (rows,).
        ridges: (features,), the weight of half of each squared coefficient.
    """
    fitted = np.zeros(columns.shape[1])
    for _ in range(100):
        expected = _sigmoid(columns @ fitted)
        gradient = columns.T @ (values - expected) - ridges * fitted
        step = np.linalg.solve(_curvature(columns, expected, ridges), gradient)
        fitted = fitted + step
        if np.abs(step).max() < 1e-10:  # noqa: PLR2004
            break
    expected = _sigmoid(columns @ fitted)
    inverse = np.linalg.inv(_curvature(columns, expected, ridges))
    scatter = (columns * (values - expected)[:, None]).T @ (columns * (values - expected)[:, None])
    model_based = columns.T @ (columns * (expected * (1 - expected))[:, None])
    # After a clean sweep no residual is left to estimate from: never claim less than the model's own spread.
    middle = scatter if np.trace(scatter) > np.trace(model_based) else model_based
    return fitted, inverse @ middle @ inverse


def _curvature(columns: Array, expected: Array, ridges: Array) -> Array:
    weights = expected * (1 - expected)
    curvature: Array = columns.T @ (columns * weights[:, None]) + np.diag(ridges)
    return curvature


def _sigmoid(x: Array) -> Array:
    result: Array = 1 / (1 + np.exp(-np.clip(x, -500, 500)))
    return result
