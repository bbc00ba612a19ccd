"""Style-controlled Bradley-Terry ratings: estimates for answers of equal style.

The log-odds of a battle get a term for each style measure, beta * (x_a - x_b) / (x_a + x_b + 1), as LMArena's
style control (2024) has it, each scaled to a mean square of 1. Sides may be swapped without any effect: the
measures are not centred. There is no penalty on beta.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit.errors import DataError, RatingError
from toolkit.ratings.bradley_terry import select_prior
from toolkit.ratings.decisions import CENTRE, Decisions, RatingTable, decide_fixed, index_of, leaderboard
from toolkit.ratings.intervals import Spread, VoteScores, contrasts_to, tie_dispersion, two_way
from toolkit.ratings.mle import TIE_MODELS, Games, Likelihood, solve
from toolkit.ratings.vote_table import Array, Counts, Table, blocks, count, read_numbers, tabulate

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

    coefficients: tuple[Coefficient, ...]
    prior: float
    note: str | None
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
    votes: pd.DataFrame | Table,
    features: Sequence[str] | Mapping[str, tuple[Array, Array]] = ("length",),
    *,
    prior: float | None = None,
    anchor: str | None = None,
    centre: float = CENTRE,
) -> StyleControlled:
    """Rate every contestant with measures of style held equal; intervals as of `bradley_terry`.

    Args:
        votes: a frame with `model_a`, `model_b`, `winner`, and for each feature the columns `FEATURE_a` and
            `FEATURE_b`; `length`, `headers`, `lists` and `bold` are counted where it has the texts instead
            (`conversation_a`, `conversation_b`). Or a table.
        features: measures to hold equal; of a table, with their values (votes,) on both sides.
        prior: as in `bradley_terry`.
        anchor: contestant whose rating is `centre`; left out, the mean of all is.
        centre: that rating.

    Raises:
        RatingError: no votes, an unknown anchor, or features that cannot be separated from each other or
            from the contestants.
        DataError: a column is missing, or a row does not fit.
    """
    table = tabulate(votes)
    counts, n = count(table), len(table.names)
    chosen, note = select_prior(counts, "half", prior)
    games = Games.of_votes(table, TIE_MODELS["half"], _scaled(votes, features))
    likelihood = Likelihood(games, prior=chosen)
    try:
        theta = solve(likelihood)
    except RatingError:
        raise RatingError(
            "the fit did not converge: a feature decides every battle, or is collinear with another"
        ) from None
    spread = _spread(likelihood, theta, counts, table)
    strength, own = theta[:n], spread.select(n)
    decisions = decide_fixed(table.names, strength, own)
    contrasts = contrasts_to(n, None if anchor is None else index_of(table.names, anchor))
    ends = spread.interval(theta, np.eye(len(theta))[n:])
    parts = zip(features, theta[n:].tolist(), ends[0].tolist(), ends[1].tolist(), strict=True)
    return StyleControlled(
        ratings=leaderboard(decisions, strength, own, contrasts, counts.battles, centre),
        coefficients=tuple(Coefficient(*part) for part in parts),
        votes=len(table),
        prior=chosen,
        note=note,
        anchor=anchor,
        centre=centre,
        interval=spread.over,
        decisions=decisions,
    )


def _spread(likelihood: Likelihood, theta: Array, counts: Counts, table: Table) -> Spread:
    _, curvature = likelihood.derivatives(theta)
    binary = sum(float(likelihood.rows(theta, part).bend.sum()) for part in blocks(len(table)))
    floor = np.asarray(tie_dispersion(binary, counts) * np.linalg.inv(curvature))
    return two_way(VoteScores.of(likelihood, theta), curvature, floor, table)


def _scaled(votes: Any, features: Sequence[str] | Mapping[str, tuple[Array, Array]]) -> Array:
    """The features' relative differences (votes, features), each with a mean square of 1."""
    columns = []
    for name in features:
        if isinstance(features, Mapping):
            a, b = features[name]
        else:
            a, b = (_feature_table(votes, name, side) for side in ("a", "b"))
        difference = (a - b) / (np.abs(a) + np.abs(b) + 1)
        spread = float(np.sqrt((difference**2).mean()))
        if not spread > 0:
            raise RatingError(f"{name} is the same on both sides of every vote: it cannot be held equal")
        columns.append(difference / spread)
    return np.column_stack(columns)


def _feature_table(votes: pd.DataFrame, name: str, side: str) -> Array:
    column, text = f"{name}_{side}", f"conversation_{side}"
    values = read_numbers(votes, column)
    if values is not None:
        wrong = ~np.isfinite(values)
        if wrong.any():
            row = int(wrong.argmax())
            raise DataError(
                f"votes row {row + 1}: {column} is {votes[column].tolist()[row]!r}; it must be a number"
            )
        return values
    if name in MARKDOWN and text in votes.columns:
        pattern = MARKDOWN[name]
        return np.array([len(pattern.findall(_text_of(turns))) for turns in votes[text]], dtype=np.float64)
    texts = " (or conversation_a and conversation_b)" if name in MARKDOWN else ""
    raise DataError(f"votes: to hold {name} equal they need the columns {name}_a and {name}_b{texts}")


def _text_of(turns: Any) -> str:
    if isinstance(turns, str):
        return turns
    return "\n".join(str(turn["content"]) for turn in turns if turn["role"] == "assistant")
