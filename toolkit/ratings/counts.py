"""Votes collapsed to what ratings need: how often each pair met, and how it went."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import DataError, RatingError
from toolkit.types import WINNERS, Outcome, Vote

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]

OUTCOMES: dict[str, Outcome] = {winner: outcome for outcome, winner in WINNERS.items()}
"""The `winner` column of a vote file -> outcome."""


@dataclass(frozen=True)
class Counts:
    """How often `names[i]` beat `names[j]` (`wins[i, j]`) and tied with it (`ties[i, j]`), by weight."""

    names: tuple[str, ...]
    wins: Array
    ties: Array
    votes: int

    @property
    def points(self) -> Array:
        """Points `i` took from `j`, a tie being half a win for both."""
        return self.wins + self.ties / 2

    @property
    def battles(self) -> NDArray[np.int64]:
        """Weight of all votes that each contestant was in, rounded."""
        met = self.wins + self.wins.T + self.ties
        return np.asarray(np.rint(met.sum(axis=1)), dtype=np.int64)

    def add(self, a: str, b: str, outcome: Outcome, weight: float = 1.0) -> Counts:
        """These counts with one vote more, on known contestants; costs the same at any size."""
        i, j = self.names.index(a), self.names.index(b)
        if outcome == "a":
            self.wins[i, j] += weight
        elif outcome == "b":
            self.wins[j, i] += weight
        else:
            self.ties[i, j] += weight
            self.ties[j, i] += weight
        return Counts(self.names, self.wins, self.ties, self.votes + 1)


def count(votes: Iterable[Vote] | pd.DataFrame | Counts) -> Counts:
    """Collapse votes: records of ours, or a pandas frame with the columns `model_a`, `model_b`, `winner`.

    Raises:
        RatingError: there are no votes.
        DataError: a row of the frame has an unknown outcome, no name, or one contestant twice.
    """
    if isinstance(votes, Counts):
        return votes
    if hasattr(votes, "columns"):
        left, right, outcome, weight = _columns(votes)
    else:
        cast = list(votes)
        left = np.array([vote.model_a for vote in cast], dtype=object)
        right = np.array([vote.model_b for vote in cast], dtype=object)
        outcome = np.array([vote.outcome for vote in cast], dtype=object)
        weight = np.array([vote.weight for vote in cast], dtype=np.float64)
    if not len(left):
        raise RatingError("no votes to rate; collect some in the arena, or let a judge vote")
    if (left == right).any():
        row = int(np.argmax(left == right))
        raise DataError(f"vote {row + 1}: {left[row]} is on both sides")
    return _tally(left, right, outcome, weight)


def as_votes(votes: Iterable[Vote] | pd.DataFrame) -> list[Vote]:
    """Votes as records, in order; a frame's rows are checked as in `count`."""
    if not hasattr(votes, "columns"):
        return list(votes)
    rows = zip(*_columns(votes), strict=True)
    return [Vote(model_a=a, model_b=b, outcome=outcome, weight=weight) for a, b, outcome, weight in rows]


def _tally(left: Any, right: Any, outcome: Any, weight: Array) -> Counts:
    names, codes = np.unique(np.concatenate([left, right]), return_inverse=True)
    size, n = len(names), len(left)
    a, b = codes[:n], codes[n:]

    def tally(first: Any, second: Any, chosen: Any) -> Array:
        pairs = first[chosen] * size + second[chosen]
        cells = np.bincount(pairs, weights=weight[chosen], minlength=size * size)
        return cells.reshape(size, size).astype(np.float64)

    won, lost = outcome == "a", outcome == "b"
    wins = tally(a, b, won) + tally(b, a, lost)
    ties = tally(a, b, ~won & ~lost)
    return Counts(tuple(str(name) for name in names), wins, ties + ties.T, n)


def _columns(frame: Any) -> tuple[Any, Any, Any, Array]:
    """The columns of a vote frame, checked; the first bad row is named by its number, counted from 1."""
    missing = [name for name in ("model_a", "model_b", "winner") if name not in frame.columns]
    if missing:
        raise DataError(f"votes: no column {missing[0]}; a vote has model_a, model_b, winner")
    left, right = frame["model_a"].to_numpy(dtype=object), frame["model_b"].to_numpy(dtype=object)
    winner = frame["winner"].to_numpy(dtype=object)
    for row, (a, b, won) in enumerate(zip(left, right, winner, strict=True), start=1):
        if won not in OUTCOMES:
            raise DataError(f"votes row {row}: winner is {won!r}; it must be one of {', '.join(OUTCOMES)}")
        if not (isinstance(a, str) and a and isinstance(b, str) and b):
            raise DataError(f"votes row {row}: model_a and model_b must be names, not {a!r} and {b!r}")
    outcome = np.array([OUTCOMES[won] for won in winner], dtype=object)
    weight = frame["weight"].to_numpy(dtype=np.float64) if "weight" in frame.columns else np.ones(len(left))
    return left, right, outcome, weight
