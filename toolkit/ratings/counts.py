"""Votes collapsed to what ratings need: how often each pair met, and how it went."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from toolkit.ratings.table import FIRST, SECOND, TIE, Array, Table, Votes, blocks, tabulate


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
