"""Votes as checked columns of small integers, and counted by pair: what every rating method works on."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import DataError, RatingError
from toolkit.types import WINNERS, Outcome, Vote

if TYPE_CHECKING:
    import pandas as pd


Array = NDArray[np.float64]
Codes = NDArray[np.integer[Any]]

FIRST, SECOND, TIE = 0, 1, 2
POINTS = np.array([1.0, 0.0, 0.5])
"""What each outcome is worth to the first contestant."""
RESULTS: dict[Outcome, int] = {"a": FIRST, "b": SECOND, "tie": TIE, "both_bad": TIE}

OUTCOMES: dict[str, Outcome] = {winner: outcome for outcome, winner in WINNERS.items()} | {
    "both_bad": "both_bad"
}
"""The `winner` column of a battle log -> outcome; LMArena's newer logs write `both_bad`."""

LABELS = {
    "voter": ("voter", "judge"),
    "example": ("question_id", "example_id"),
    "category": ("category",),
}
"""What a vote may be labelled with -> the columns it is read from, the first one present."""

MISSING = -1

BLOCK = 1 << 18
"""Votes looked at a time where each needs some bytes of memory for a moment."""


@dataclass(frozen=True)
class Labels:
    """One label a vote: `names[codes[i]]`, or none where the code is `MISSING`."""

    codes: Codes
    names: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Votes in order: `names[first[i]]` met `names[second[i]]`, and it ended as `outcome[i]`."""

    names: tuple[str, ...]
    """Contestants, sorted."""
    first: Codes
    second: Codes
    outcome: Codes
    """`FIRST` or `SECOND` won, or `TIE`."""
    weight: Array | None
    """`None`: every vote counts 1."""
    labels: Mapping[str, Labels]
    """`voter`, `example` and `category`, where the votes have them."""
    probability: Array | None = None
    """A judge's probability that the first is better, its points; NaN, or `None` for all, where there is
    none."""

    @property
    def points(self) -> Array:
        """What each vote is worth to the first contestant."""
        points: Array = POINTS[self.outcome]
        given = self.probability
        return points if given is None else np.where(np.isnan(given), points, given)

    @property
    def weights(self) -> Array:
        """How much each vote counts."""
        return np.ones(len(self)) if self.weight is None else self.weight

    def __len__(self) -> int:
        return len(self.first)

    def label(self, kind: str) -> Labels:
        """The votes' labels of one kind; raises `RatingError` where a vote has none."""
        labels = self.labels.get(kind)
        if labels is None or (labels.codes == MISSING).any():
            columns = " or ".join(LABELS[kind])
            raise RatingError(f"not every vote says its {kind}: fill in the column {columns}")
        return labels

    def take(self, chosen: NDArray[Any]) -> Table:
        """The votes at these positions, or where a mask holds; `names` stays as it is."""
        columns = ("first", "second", "outcome", "weight", "probability")
        taken = {name: column[chosen] for name in columns if (column := getattr(self, name)) is not None}
        labels = {kind: Labels(part.codes[chosen], part.names) for kind, part in self.labels.items()}
        return replace(self, labels=labels, **taken)

    def compact(self) -> Table:
        """The same votes, with only the contestants that are in them."""
        used, codes = np.unique(np.concatenate([self.first, self.second]), return_inverse=True)
        names = tuple(self.names[code] for code in used)
        return replace(self, names=names, first=codes[: len(self)], second=codes[len(self) :])

    def reweighted(self, voters: Mapping[str, float]) -> Table:
        """The same votes, those of these voters with their weight multiplied; each must be known."""
        labels = self.label("voter")
        factors = np.ones(len(labels.names))
        for voter, factor in voters.items():
            if voter not in labels.names:
                raise RatingError(f"no vote is by {voter}; voters: {', '.join(labels.names[:10])}")
            if not factor >= 0:
                raise RatingError(f"the weight of {voter} is {factor}; it must be 0 or more")
            factors[labels.names.index(voter)] = factor
        return replace(self, weight=self.weights * factors[labels.codes])


def blocks(votes: int) -> Iterator[slice]:
    """Slices that together are all votes, so that memory for a moment does not grow with their number."""
    return (slice(start, start + BLOCK) for start in range(0, votes, BLOCK))


def tabulate(votes: Votes) -> Table:
    """Check votes and turn them into columns of integers.

    Args:
        votes: records of ours, or a pandas frame with the columns `model_a`, `model_b`, `winner` and
            perhaps `weight` (1 where empty), `voter` or `judge`, `question_id`, `category`. Categorical
            columns are fastest.

    Raises:
        RatingError: there are no votes.
        DataError: a column is missing or a row does not fit; the first such row is named, counted from 1.
    """
    if isinstance(votes, Table):
        table = votes
    elif hasattr(votes, "columns"):  # a frame, found out without importing pandas
        frame: Any = votes
        table = from_frame(frame, place=lambda row: f"votes row {row + 1}")
    else:
        table = _from_records(list(votes))
    if not len(table):
        raise RatingError("no votes to rate; collect some in the arena, or let a judge vote")
    if table.weight is not None and not table.weight.any():
        raise RatingError("every vote has the weight 0; mend the column `weight`, or leave it out")
    return table


Votes: TypeAlias = "Iterable[Vote] | pd.DataFrame | Table"

T = TypeVar("T")


def by_category(votes: Votes, rate: Callable[[Table], T], *, label: str = "category") -> dict[str, T]:
    """Category -> result of a rating method on its votes, by name; votes that name no category are in none.

    `label` may be `voter` or `example` too. Such as `by_category(votes, bradley_terry)`.
    """
    table = tabulate(votes)
    labels = table.labels.get(label)
    if labels is None:
        return {}
    parts = {
        name: table.take(np.flatnonzero(labels.codes == code)).compact()
        for code, name in enumerate(labels.names)
    }
    return {name: rate(parts[name]) for name in sorted(parts) if len(parts[name])}


def from_frame(frame: pd.DataFrame, *, place: Callable[[int], str]) -> Table:
    """A frame's votes; `place` names a row by its position in the `DataError` of one that does not fit."""
    missing = [name for name in ("model_a", "model_b", "winner") if name not in frame.columns]
    if missing:
        raise DataError(f"votes: no column {missing[0]}; a vote has model_a, model_b, winner")
    a, b, winner = (_factorize(frame[name]) for name in ("model_a", "model_b", "winner"))
    names = _names_used(a, b)
    index = {name: code for code, name in enumerate(names)}
    first, second = _translate(a, index), _translate(b, index)
    outcome = _translate(winner, {name: RESULTS[known] for name, known in OUTCOMES.items()})
    weight = read_numbers(frame, "weight")
    if weight is not None:
        weight = np.where(frame["weight"].isna(), 1.0, weight)
        weight = None if (weight == 1).all() else weight
    probability = read_numbers(frame, "probability_a")
    _refuse(frame, place, (first, second, outcome), weight, probability)
    if probability is not None and np.isnan(probability).all():
        probability = None
    labels = {kind: _labels(frame, columns) for kind, columns in LABELS.items()}
    present = {kind: part for kind, part in labels.items() if part is not None}
    return Table(tuple(names), first, second, outcome, weight, present, probability)


def _refuse(
    frame: pd.DataFrame,
    place: Callable[[int], str],
    codes: tuple[Codes, Codes, Codes],
    weight: Array | None,
    probability: Array | None,
) -> None:
    first, second, outcome = codes
    # Each is made after the one before is gone: it takes a byte a vote.
    faults: list[tuple[Callable[[], NDArray[np.bool_]], str]] = [
        (lambda: first == MISSING, "model_a is {model_a!r}; it must be a name"),
        (lambda: second == MISSING, "model_b is {model_b!r}; it must be a name"),
        (lambda: outcome == MISSING, f"winner is {{winner!r}}; it must be one of {', '.join(OUTCOMES)}"),
        (lambda: (first == second) & (first != MISSING), "{model_a} is on both sides"),
    ]
    if weight is not None:
        unfit = ~(np.isfinite(weight) & (weight >= 0))
        faults.append((lambda: unfit, "weight is {weight!r}; it must be 0 or more"))
    if probability is not None:
        outside = ~((probability >= 0) & (probability <= 1)) & frame["probability_a"].notna().to_numpy()
        faults.append(
            (lambda: outside, "probability_a is {probability_a!r}; it must be from 0 to 1, or empty")
        )
    found = [(int(wrong.argmax()), message) for find, message in faults if (wrong := find()).any()]
    if found:
        row, message = min(found, key=lambda fault: fault[0])
        values = {str(name): frame[name].iloc[row : row + 1].tolist()[0] for name in frame.columns}
        raise DataError(f"{place(row)}: {message.format(**values)}")


def _factorize(column: pd.Series[Any]) -> tuple[Codes, list[Any]]:
    """Codes into the column's distinct values, `MISSING` for none."""
    if column.dtype == "category":
        return np.asarray(column.array.codes), column.cat.categories.tolist()  # `cat.codes` is a copy
    try:
        codes, values = column.factorize()
    except TypeError:  # lists and the like are no names: leave them out, for `_refuse` to name their rows
        codes, values = column.map(lambda value: value if isinstance(value, Hashable) else None).factorize()
    return codes.astype(np.int32), list(values)


def _names_used(*columns: tuple[Codes, Sequence[Any]]) -> list[str]:
    """The distinct names that occur, sorted; other values are left for `_refuse` to name."""
    used: set[str] = set()
    for codes, values in columns:
        occurs = np.zeros(len(values) + 1, dtype=bool)
        for part in blocks(len(codes)):
            occurs[codes[part]] = True
        there = (value for value, here in zip(values, occurs, strict=False) if here)
        used |= {value for value in there if isinstance(value, str) and value}
    return sorted(used)


def _translate(column: tuple[Codes, Sequence[Any]], index: Mapping[str, int]) -> Codes:
    """Each value's number in `index`, in the smallest type that fits; `MISSING` for unknown values."""
    codes, values = column
    numbers = [index.get(value, MISSING) if isinstance(value, str) else MISSING for value in values]
    # Code -1 (no value) takes the last entry.
    translation = np.array([*numbers, MISSING], dtype=np.min_scalar_type(-len(index) - 1))
    translated = np.empty(len(codes), dtype=translation.dtype)
    for part in blocks(len(codes)):
        translated[part] = translation[codes[part]]
    return translated


def read_numbers(frame: pd.DataFrame, column: str) -> Array | None:
    """NaN where it is no number; `None`: there is no such column."""
    import pandas as pd

    if column not in frame.columns:
        return None
    values: Array = pd.to_numeric(frame[column], errors="coerce").to_numpy(dtype=np.float64)
    return values


def _labels(frame: pd.DataFrame, columns: Sequence[str]) -> Labels | None:
    column = next((name for name in columns if name in frame.columns), None)
    if column is None:
        return None
    codes, values = _factorize(frame[column])
    empty = [position for position, value in enumerate(values) if value == ""]
    if empty:
        codes = np.where(np.isin(codes, empty), MISSING, codes)
    return Labels(codes, tuple(str(value) for value in values))


def _from_records(votes: Sequence[Vote]) -> Table:
    """Records as columns; an empty label is none."""
    same = next((number for number, vote in enumerate(votes, 1) if vote.model_a == vote.model_b), None)
    if same:
        raise DataError(f"votes row {same}: {votes[same - 1].model_a} is on both sides")
    names = sorted({name for vote in votes for name in (vote.model_a, vote.model_b)})
    index = {name: code for code, name in enumerate(names)}
    labels = {}
    for kind, field in (("voter", "voter"), ("example", "example_id"), ("category", "category")):
        values = [getattr(vote, field) or "" for vote in votes]
        codes = {value: code for code, value in enumerate(filter(None, dict.fromkeys(values)))}
        if codes:
            labels[kind] = Labels(_numbered(values, codes | {"": MISSING}), tuple(codes))
    weight = np.array([vote.weight for vote in votes], dtype=np.float64)
    points = np.array([getattr(vote, "probability_a", None) for vote in votes], dtype=np.float64)  # NaN: none
    return Table(
        names=tuple(names),
        first=_numbered([vote.model_a for vote in votes], index),
        second=_numbered([vote.model_b for vote in votes], index),
        outcome=_numbered([vote.outcome for vote in votes], RESULTS).astype(np.int8),
        weight=None if (weight == 1).all() else weight,
        labels=labels,
        probability=None if np.isnan(points).all() else points,
    )


def _numbered(values: Sequence[Any], numbers: Mapping[Any, int]) -> NDArray[np.int32]:
    return np.fromiter(map(numbers.__getitem__, values), dtype=np.int32, count=len(values))


class Counts:
    """Votes counted by pair and outcome.

    `wins[i, j]` is the weight of the votes in which `names[i]` beat `names[j]`, `ties[i, j]` (symmetric) of
    those that tied; `wins_squared` and `ties_squared` are the sums of squared weights, which the spread of
    weighted votes depends on.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.names: tuple[str, ...] = tuple(names)
        n = len(self.names)
        self.wins, self.ties = np.zeros((n, n)), np.zeros((n, n))
        self.wins_squared, self.ties_squared = np.zeros((n, n)), np.zeros((n, n))
        self.battles: NDArray[np.int64] = np.zeros(n, dtype=np.int64)
        """How many votes each contestant was in, whatever their weight."""
        self.votes = 0
        self.graded = False
        """Whether points are a judge's probabilities."""
        self.blunted = 0.0
        """Sum of w^2 x (1 - x) over the votes' points x: a quarter for a tie, nothing for a win."""

    @property
    def points(self) -> Array:
        """Points `i` took from `j`, a tie being half a win for both."""
        return self.wins + self.ties / 2

    @property
    def met(self) -> Array:
        """Weight of the votes on each pair (symmetric)."""
        return self.wins + self.wins.T + self.ties


def count(votes: Votes | Counts) -> Counts:
    """Count votes given as records, as a pandas frame, or as a table; errors as of `tabulate`."""
    if isinstance(votes, Counts):
        return votes
    table = tabulate(votes)
    counts = Counts(table.names)
    seen = _cells(table, None)
    heavy, heavy_squared = (
        seen if table.weight is None else _cells(table, table.weight**power) for power in (1, 2)
    )
    # Wins and ties, whichever side a contestant was on.
    counts.wins, counts.ties = heavy[FIRST] + heavy[SECOND].T, heavy[TIE] + heavy[TIE].T
    counts.wins_squared = heavy_squared[FIRST] + heavy_squared[SECOND].T
    counts.ties_squared = heavy_squared[TIE] + heavy_squared[TIE].T
    each = seen.sum(axis=0)
    counts.battles += np.rint(each.sum(axis=0) + each.sum(axis=1)).astype(np.int64)
    counts.votes = len(table)
    counts.blunted = float(counts.ties_squared.sum()) / 8
    if table.probability is not None:
        _share_points(counts, table)
    return counts


def _share_points(counts: Counts, table: Table) -> None:
    first, second, points = table.first.astype(np.intp), table.second.astype(np.intp), table.points
    weight = table.weights
    for target, mass in (("wins", weight), ("wins_squared", weight**2)):
        cells = np.zeros_like(counts.wins)
        np.add.at(cells, (first, second), mass * points)
        np.add.at(cells, (second, first), mass * (1 - points))
        setattr(counts, target, cells)
    counts.ties, counts.ties_squared = np.zeros_like(counts.ties), np.zeros_like(counts.ties)
    counts.graded = True
    counts.blunted = float((weight**2 * points * (1 - points)).sum())


def _cells(table: Table, weight: Array | None) -> Array:
    """Weight of the votes by outcome, first and second contestant; shape (3, n, n)."""
    n = len(table.names)
    total = np.zeros(3 * n * n)
    for part in blocks(len(table)):
        cell = table.outcome[part].astype(np.int64)
        cell *= n
        cell += table.first[part]
        cell *= n
        cell += table.second[part]
        total += np.bincount(cell, None if weight is None else weight[part], minlength=len(total))
    return total.reshape(3, n, n)


def identifiability_problem(counts: Counts, *, ties_count: bool) -> str | None:
    """Why plain maximum likelihood has no finite solution, in one clause; `None` where it has one.

    It has one exactly when everyone took something from everyone, directly or through others (Ford 1957): no
    group of contestants may be without a loss, or without any battle, against the rest. A tie takes something
    where it is half a win (`ties_count`); a model of ties can put any number of them down to its parameter.
    """
    from scipy.sparse.csgraph import breadth_first_order, connected_components

    names, scored = counts.names, (counts.points if ties_count else counts.wins) > 0
    if connected_components(scored, connection="strong", return_labels=False) <= 1:
        return None
    several, labels = connected_components(counts.met > 0)
    if several > 1:
        groups = sorted((np.flatnonzero(labels == group) for group in range(several)), key=len, reverse=True)
        some, other = (", ".join(names[i] for i in group[:3]) for group in groups[:2])
        return f"{some} and {other} never met, not even through others"
    # The smallest group that took something from the others and gave them nothing.
    above = [sorted(breadth_first_order(scored.T, i, return_predecessors=False)) for i in range(len(names))]
    group = min(above, key=len)
    listed = ", ".join(names[i] for i in group[:3]) + (", ..." if len(group) > 3 else "")  # noqa: PLR2004
    return f"{listed} never lost" + (" to any of the others" if len(group) > 1 else "")
