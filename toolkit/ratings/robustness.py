"""Robustness of first place: the fewest votes, or the one voter, whose removal changes the leader.

Votes are ranked by what leaving one out moves the gap between two contestants, to first order, and the others
are fitted to confirm it (as Huang, Shen, Wei and Broderick 2025 drop votes of arenas).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import RatingError
from toolkit.ratings.bradley_terry import select_prior
from toolkit.ratings.mle import Games, Likelihood, solve
from toolkit.ratings.vote_table import Array, Table, Votes, count, tabulate

FEWEST = 10
"""Votes below which nothing is firm."""
TRIES = 12
"""Fits, each with a tenth more votes left out, until another is first."""
MOST_VOTERS = 50
"""Voters that are left out one by one, those that move the gap most first."""


@dataclass(frozen=True)
class Firmness:
    """Who is first, and what it would take for another to be."""

    first: str
    votes: int
    """All of them."""
    dropped: int | None
    """So few votes less, and `rival` is first; `None`: not found up to half of all."""
    rival: str | None
    voter: str | None
    """The voter without whom another is first; `None`: there is none, or voters are not known."""

    @property
    def sentence(self) -> str:
        """What first place hangs on, such as `without 3 of 240 votes, or without the voter ann`."""
        if self.dropped is None:
            most = f"No removal of up to half of the {self.votes} votes"
            return f"{most} that was tried changes first place ({self.first})."
        voter = f", or without the voter {self.voter}" if self.voter else "; no single voter decides it"
        return (
            f"First place ({self.first}) would go to {self.rival} without {self.dropped} of {self.votes} "
            f"votes{voter}."
        )


def first_place(votes: Votes) -> Firmness | None:
    """How firm it is; `None` with fewer than two contestants or `FEWEST` votes."""
    table = tabulate(votes)
    if len(table.names) < 2 or len(table) < FEWEST:  # noqa: PLR2004
        return None
    strength, inverse = _fitted(table)
    order = np.argsort(-strength, kind="stable")
    first, size = int(order[0]), len(table)
    gap = strength[table.first] - strength[table.second]
    slope = table.weights * (table.points - 1 / (1 + np.exp(-gap)))
    found: list[tuple[int, int, Array]] = []
    for other in order[1:]:
        contrast = inverse[first] - inverse[other]
        moves = slope * (contrast[table.first] - contrast[table.second])
        reached = np.cumsum(-np.sort(-moves)) >= strength[first] - strength[other]
        if reached.any():
            found.append((int(np.argmax(reached)) + 1, int(other), moves))
    dropped, rival = None, None
    if found:
        least, other, moves = min(found, key=lambda each: each[0])
        dropped, rival = _confirm(table, first, least, np.argsort(-moves, kind="stable"))
    voter = _voter(table, first, [moves for _, _, moves in found] or [np.abs(slope)])
    return Firmness(table.names[first], size, dropped, rival, voter)


def _fitted(table: Table) -> tuple[Array, Array]:
    counts = count(table)
    likelihood = Likelihood(Games.of(counts), prior=select_prior(counts, "half", None)[0])
    strength = solve(likelihood)
    return strength, np.asarray(np.linalg.inv(likelihood.derivatives(strength)[1]))


def _leader(table: Table, left: NDArray[np.intp]) -> str | None:
    """Who is first by these votes; nobody where two are alike or no vote is left."""
    try:
        part = table.take(left).compact()
        strength = _fitted(part)[0] if len(part) else np.zeros(0)
    except RatingError:
        return None
    return part.names[int(np.argmax(strength))] if len(strength) else None


def _confirm(table: Table, first: int, least: int, order: NDArray[np.intp]) -> tuple[int | None, str | None]:
    """The fewest of these votes, in this order, without which another is first."""
    everyone, drop = np.arange(len(table)), least
    same = (None, table.names[first])

    def leader(dropped: int) -> str | None:
        return _leader(table, np.setdiff1d(everyone, order[:dropped]))

    for _ in range(TRIES):
        if drop > len(table) // 2:
            break
        if (rival := leader(drop)) not in same:
            while drop > 1 and (other := leader(drop - 1)) not in same:
                drop, rival = drop - 1, other
            return drop, rival
        drop += max(1, drop // 10)
    return None, None


def _voter(table: Table, first: int, moves: list[Array]) -> str | None:
    """The voter without whom another is first, the one that moves the gap most."""
    labels = table.labels.get("voter")
    if labels is None or len(np.unique(labels.codes)) < 2:  # noqa: PLR2004
        return None
    sums = np.max(
        [np.bincount(labels.codes[labels.codes >= 0], each[labels.codes >= 0]) for each in moves], axis=0
    )
    for code in np.argsort(-sums)[:MOST_VOTERS]:
        if sums[code] <= 0:
            break
        leader = _leader(table, np.flatnonzero(labels.codes != code))
        if leader not in (None, table.names[first]):
            return str(labels.names[code])
    return None
