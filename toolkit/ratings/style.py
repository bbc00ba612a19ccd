"""Bradley-Terry ratings with style taken out: what contestants would get if answers were alike in it.

The log-odds of a battle get a term for each style measure, beta * (x_a - x_b) / (x_a + x_b + 1), as LMArena's
style control (2024) has it, each scaled to a mean square of 1. Sides may be swapped without any effect: the
measures are not centred. There is no penalty on beta.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit.errors import DataError, RatingError
from toolkit.ratings.bradley_terry import CENTRE, index_of, select_prior
from toolkit.ratings.counts import Counts, tally
from toolkit.ratings.decisions import Decisions, decide_fixed
from toolkit.ratings.intervals import Spread, VoteScores, contrasts_to, sparse_scores, tie_dispersion, two_way
from toolkit.ratings.mle import MAX_STEP, STEPS, TOLERANCE
from toolkit.ratings.ranking import RatingTable, leaderboard
from toolkit.ratings.table import Array, Codes, Table, blocks, tabulate
from toolkit.ratings.ties import sigmoid
from toolkit.ratings.win_probability import SCALE
from toolkit.types import Rating

if TYPE_CHECKING:
    import pandas as pd

MARKDOWN = {
    "length": re.compile(r"\S+"),
    "headers": re.compile(r"^\s{0,3}#{1,6}\s", re.MULTILINE),
    "lists": re.compile(r"^\s*(?:[-*+]|\d+[.)])\s", re.MULTILINE),
    "bold": re.compile(r"\*\*[^*\n]+\*\*|__[^_\n]+__"),
}
"""Style measures of a text: how many words, headings, list items and bold pieces it has."""


@dataclass(frozen=True)
class Coefficient:
    """What one standard deviation more of a style measure does to the log-odds of winning."""

    feature: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class StyleControlled(RatingTable):
    """Ratings, best first, with the style measures held equal, and what the measures are worth."""

    ratings: tuple[Rating, ...]
    coefficients: tuple[Coefficient, ...]
    votes: int
    prior: float
    note: str | None
    level: float
    anchor: str | None
    centre: float
    interval: str
    decisions: Decisions

    @property
    def settings(self) -> str:
        """How the figures were made, in one sentence."""
        controlled = ", ".join(f"{part.feature} {part.value:+.3f}" for part in self.coefficients)
        note = f"; {self.note}" if self.note else ""
        return (
            f"{self.votes} votes; intervals over {self.interval}; held equal (log-odds for one standard "
            f"deviation more): {controlled}{note}; {self.decisions.meaning}."
        )


def style_controlled(
    votes: pd.DataFrame,
    features: Sequence[str] = ("length",),
    *,
    prior: float | None = None,
    level: float = 0.95,
    anchor: str | None = None,
    centre: float = CENTRE,
) -> StyleControlled:
    """Rate every contestant with measures of style held equal; intervals as of `bradley_terry`.

    Args:
        votes: a frame with `model_a`, `model_b`, `winner`, and for each feature the columns `FEATURE_a` and
            `FEATURE_b`; `length`, `headers`, `lists` and `bold` are counted where it has the texts instead
            (`conversation_a`, `conversation_b`).
        features: measures to hold equal.
        prior: as in `bradley_terry`.
        level: of the intervals.
        anchor: contestant whose rating is `centre`; left out, the mean of all is.
        centre: that rating.

    Raises:
        RatingError: no votes, an unknown anchor, or features that cannot be told apart from each other or
            from the contestants.
        DataError: a column is missing, or a row does not fit.
    """
    table = tabulate(votes)
    counts = tally(table)
    chosen, note = select_prior(counts, "half", prior)
    rows = _Rows(table, _scaled(votes, features), chosen)
    theta = _solve(rows)
    n = len(table.names)
    spread = _spread(rows, theta, counts)
    strength, own = theta[:n] - theta[:n].mean(), spread.select(n)
    decisions = decide_fixed(table.names, strength, own, level)
    contrasts = contrasts_to(n, None if anchor is None else index_of(table.names, anchor))
    low, high = own.interval(strength, contrasts, level)
    ends = spread.interval(theta, np.eye(len(theta))[n:], level)
    parts = zip(features, theta[n:].tolist(), ends[0].tolist(), ends[1].tolist(), strict=True)
    return StyleControlled(
        ratings=leaderboard(
            table.names,
            centre + SCALE * (contrasts @ strength),
            (centre + SCALE * low, centre + SCALE * high),
            counts.battles,
            decisions.ranks(),
        ),
        coefficients=tuple(Coefficient(*part) for part in parts),
        votes=len(table),
        prior=chosen,
        note=note,
        level=level,
        anchor=anchor,
        centre=centre,
        interval=spread.over,
        decisions=decisions,
    )


def measure(text: str) -> dict[str, int]:
    """The style measures of one text."""
    return {name: len(pattern.findall(text)) for name, pattern in MARKDOWN.items()}


@dataclass(frozen=True)
class _Rows:
    """Votes with their features (votes, features): here nothing can be collapsed to counts."""

    table: Table
    features: Array
    prior: float

    def derivatives(self, theta: Array) -> tuple[Array, Array]:
        """Gradient (m,) and curvature (m, m) of the log-likelihood at `theta`."""
        n, size = len(self.table.names), len(theta)
        slope, bend = np.zeros(n * n), np.zeros(n * n)
        cross = np.zeros((size - n, n * n))
        gradient, curvature = np.zeros(size), np.zeros((size, size))
        for pair, features, residual, spread in self._blocks(theta):
            slope += np.bincount(pair, residual, minlength=n * n)
            bend += np.bincount(pair, spread, minlength=n * n)
            weighted = features * spread[:, None]
            for k in range(size - n):
                cross[k] += np.bincount(pair, weighted[:, k], minlength=n * n)
            gradient[n:] += features.T @ residual
            curvature[n:, n:] += features.T @ weighted
        gradient[:n] = _net(slope, n)
        curvature[:n, :n] = _laplacian(bend.reshape(n, n))
        curvature[:n, n:] = np.array([_net(row, n) for row in cross]).T
        curvature[n:, :n] = curvature[:n, n:].T
        self._penalise(theta, gradient, curvature)
        return gradient, curvature

    def _blocks(self, theta: Array) -> Iterator[tuple[Codes, Array, Array, Array]]:
        n, points = len(self.table.names), self.table.points
        for part in blocks(len(self.table)):
            first, second = self.table.first[part].astype(np.int64), self.table.second[part]
            features = self.features[part]
            chance = sigmoid(theta[first] - theta[second] + features @ theta[n:])
            weight = 1.0 if self.table.weight is None else self.table.weight[part]
            residual = weight * (points[part] - chance)
            yield first * n + second, features, residual, weight * chance * (1 - chance)

    def _penalise(self, theta: Array, gradient: Array, curvature: Array) -> None:
        """Add the prior; without one, fix the free level of the strengths."""
        n = len(self.table.names)
        chance = sigmoid(theta[:n])
        gradient[:n] += self.prior * (0.5 - chance)
        curvature[np.arange(n), np.arange(n)] += self.prior * chance * (1 - chance)
        if self.prior == 0:
            curvature[:n, :n] += np.trace(curvature[:n, :n]) / n**2


def _net(pairs: Array, n: int) -> Array:
    """What each contestant gets from pairs (first, second) that add to the first and take from the second."""
    square = pairs.reshape(n, n)
    return np.asarray(square.sum(axis=1) - square.sum(axis=0))


def _laplacian(pairs: Array) -> Array:
    both = pairs + pairs.T
    return np.asarray(np.diag(both.sum(axis=1)) - both)


def _solve(rows: _Rows) -> Array:
    theta = np.zeros(len(rows.table.names) + rows.features.shape[1])
    for _ in range(STEPS):
        gradient, curvature = rows.derivatives(theta)
        try:
            step = np.linalg.solve(curvature, gradient)
        except np.linalg.LinAlgError:
            break
        longest = float(np.abs(step).max())
        theta += step * min(1.0, MAX_STEP / max(longest, TOLERANCE))
        if longest < np.sqrt(TOLERANCE):  # quadratic convergence: the step just taken was the last one needed
            return theta
    raise RatingError("the fit did not converge: a feature decides every battle, or says the same as another")


def _spread(rows: _Rows, theta: Array, counts: Counts) -> Spread:
    """Clustered covariance of all parameters."""
    from scipy.sparse import csr_matrix, hstack

    table, n = rows.table, len(rows.table.names)
    parts = [(residual, chance) for _, _, residual, chance in rows._blocks(theta)]
    residual, bends = (np.concatenate(part) for part in zip(*parts, strict=True))
    features = csr_matrix(rows.features * residual[:, None])
    scores = hstack([sparse_scores(table, residual, n), features]).tocsr()
    _, curvature = rows.derivatives(theta)
    floor = np.asarray(
        tie_dispersion(float(bends.sum()), counts) * np.linalg.inv(curvature), dtype=np.float64
    )
    return two_way(VoteScores(scores, None, table.first, table.second), curvature, floor, table)


def _scaled(votes: pd.DataFrame, features: Sequence[str]) -> Array:
    """The features' relative differences (votes, features), each with a mean square of 1."""
    columns = []
    for name in features:
        a, b = (_feature_table(votes, name, side) for side in ("a", "b"))
        difference = (a - b) / (np.abs(a) + np.abs(b) + 1)
        spread = float(np.sqrt((difference**2).mean()))
        if not spread > 0:
            raise RatingError(f"{name} is the same on both sides of every vote: it cannot be held equal")
        columns.append(difference / spread)
    return np.column_stack(columns)


def _feature_table(votes: pd.DataFrame, name: str, side: str) -> Array:
    column, text = f"{name}_{side}", f"conversation_{side}"
    if column in votes.columns:
        return _numbers(votes[column], column)
    if name in MARKDOWN and text in votes.columns:
        pattern = MARKDOWN[name]
        return np.array([len(pattern.findall(_text_of(turns))) for turns in votes[text]], dtype=np.float64)
    texts = " (or conversation_a and conversation_b)" if name in MARKDOWN else ""
    raise DataError(f"votes: to hold {name} equal they need the columns {name}_a and {name}_b{texts}")


def _numbers(column: pd.Series[Any], name: str) -> Array:
    import pandas as pd

    values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
    wrong = ~np.isfinite(values)
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(f"votes row {row + 1}: {name} is {column.tolist()[row]!r}; it must be a number")
    return values


def _text_of(turns: Any) -> str:
    """What the contestant wrote in a conversation: all its turns."""
    if isinstance(turns, str):
        return turns
    return "\n".join(str(turn["content"]) for turn in turns if turn["role"] == "assistant")
