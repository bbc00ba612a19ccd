"""Which battle a voter sees next.

Three choices, each balanced against what was shown before: the pair of contestants (`uniform`: the one shown
least; `active`: drawn in proportion to how doubtful its order still is), the example (the one this pair was
shown least on), and the sides (who stood less often on the left). Nothing a voter has met comes again.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.random import Generator

from toolkit.arena.contest import Contest, Pair, pair
from toolkit.arena.doubt import Matrix, Posterior, order_doubt, posterior
from toolkit.arena.store import Shown
from toolkit.types import POINTS, Outcome

T = TypeVar("T")

LEAST_DOUBT = 1e-12
"""With thousands of votes a pair's doubt may round to zero, and then that of all of them."""


@dataclass
class Tally:
    """What has been shown and voted so far."""

    shown: Counter[Pair] = field(default_factory=Counter)
    on_example: Counter[tuple[str, Pair]] = field(default_factory=Counter)
    left: Counter[tuple[Pair, str]] = field(default_factory=Counter)
    votes: Counter[Pair] = field(default_factory=Counter)
    points: defaultdict[tuple[str, str], float] = field(default_factory=lambda: defaultdict(float))
    """(winner, loser) -> wins; a tie is half a win for each."""

    @classmethod
    def of(cls, rows: Iterable[Shown]) -> Tally:
        tally = cls()
        for row in rows:
            tally.add_shown(row.example_id, row.contestant_a, row.contestant_b, row.times)
            if row.action == "vote" and row.outcome is not None:
                tally.add_vote(row.contestant_a, row.contestant_b, row.outcome, row.times)
        return tally

    def add_shown(self, example_id: str, a: str, b: str, times: int = 1) -> None:
        both = pair(a, b)
        self.shown[both] += times
        self.on_example[example_id, both] += times
        self.left[both, a] += times

    def add_vote(self, a: str, b: str, outcome: Outcome, times: int = 1) -> None:
        self.votes[pair(a, b)] += times
        self.points[a, b] += POINTS[outcome] * times
        self.points[b, a] += (1 - POINTS[outcome]) * times

    def posterior(self, contestants: tuple[str, ...]) -> Posterior:
        wins = [[self.points.get((one, other), 0.0) for other in contestants] for one in contestants]
        return posterior(np.array(wins))


@dataclass(frozen=True)
class Pairing:
    """The chosen battle: `a` stands on the left."""

    example_id: str
    a: str
    b: str


def draw(contest: Contest, tally: Tally, met: set[str], rng: Generator) -> Pairing | None:
    """The next battle for a voter who has met the battles with the keys `met`; `None` when none is left."""
    open_examples = {both: _unmet(contest, both, met) for both in contest.pairs}
    pairs = [both for both in contest.pairs if open_examples[both]]
    if not pairs:
        return None
    a, b = meet(contest, tally, pairs, rng)
    counts = {example: tally.on_example[example, pair(a, b)] for example in open_examples[pair(a, b)]}
    return Pairing(_least(list(counts), counts, rng), a, b)


def meet(contest: Contest, tally: Tally, pairs: list[Pair], rng: Generator) -> tuple[str, str]:
    """Which of these pairs meets next, and who stands on the left."""
    chosen = _doubtful(contest, tally, pairs, rng) or _least(pairs, tally.shown, rng)
    a = _least(list(chosen), {name: tally.left[chosen, name] for name in chosen}, rng)
    return a, chosen[1] if a == chosen[0] else chosen[0]


def _doubtful(contest: Contest, tally: Tally, pairs: list[Pair], rng: Generator) -> Pair | None:
    """Active pairing: a pair short of its goal, drawn by doubt."""
    short = [both for both in pairs if tally.votes[both] < contest.options.goal]
    if contest.options.pairing != "active" or not short:
        return None
    doubt = doubts(contest, tally)
    weights = np.maximum([doubt[both] for both in short], LEAST_DOUBT)
    return short[int(rng.choice(len(short), p=weights / weights.sum()))]


def doubts(contest: Contest, tally: Tally) -> dict[Pair, float]:
    """Pair -> the probability that its order is the other way round than the votes make it look."""
    doubt: Matrix = order_doubt(tally.posterior(contest.contestants))
    place = {name: index for index, name in enumerate(contest.contestants)}
    return {both: float(doubt[place[both[0]], place[both[1]]]) for both in contest.pairs}


def _unmet(contest: Contest, both: Pair, met: set[str]) -> list[str]:
    return [example for example, key in contest.battles[both].items() if key not in met]


def _least(choices: list[T], counts: Mapping[T, int], rng: Generator) -> T:
    """One of the choices with the lowest count, at random."""
    lowest = min(counts[choice] for choice in choices)
    best = [choice for choice in choices if counts[choice] == lowest]
    return best[int(rng.integers(len(best)))]
