"""Counts of shown battles and votes, win rates, and a judge's verdicts on an example."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import permutations, product
from typing import Any

from toolkit.arena.battles import Ballot, BattlePool, Cast, Reveal
from toolkit.arena.store import BattleCount, Store
from toolkit.types import (
    POINTS,
    WINNERS,
    Battle,
    Completion,
    Outcome,
    Pair,
    Verdict,
    Vote,
    sorted_pair,
)


def win_rates(votes: Iterable[Vote]) -> list[dict[str, Any]]:
    """Win rate of each ordered pair with votes; a tie is half a win."""
    points: dict[tuple[str, str], float] = defaultdict(float)
    met: Counter[tuple[str, str]] = Counter()
    for vote in votes:
        for one, other, won in (
            (vote.model_a, vote.model_b, POINTS[vote.outcome]),
            (vote.model_b, vote.model_a, 1 - POINTS[vote.outcome]),
        ):
            points[one, other] += won
            met[one, other] += 1
    return [
        {"contestant": one, "against": other, "rate": points[one, other] / times, "votes": times}
        for (one, other), times in sorted(met.items())
    ]


def add_lengths(
    votes: Iterable[Vote], pool: BattlePool, others: Iterable[Reveal] = ()
) -> list[dict[str, Any]]:
    """Votes as rows of a battle log with the words of both answers, `length_a` and `length_b`.

    Args:
        votes: people's or a judge's.
        pool: whose answers they are on.
        others: votes with texts of their own: live ones, and imported ones.

    Returns:
        A row for each vote whose answers are known.
    """
    words = {
        (example, name): len(answer.completion.split())
        for example, answers in pool.answers.items()
        for name, answer in answers.items()
    }
    for ballot in (reveal.ballot for reveal in others):
        if ballot.answer_a or ballot.answer_b:
            words[ballot.example_id, ballot.contestant_a] = len(ballot.answer_a.split())
            words[ballot.example_id, ballot.contestant_b] = len(ballot.answer_b.split())
    rows = []
    for vote in votes:
        a, b = (words.get((vote.example_id, name)) for name in (vote.model_a, vote.model_b))
        if a is not None and b is not None:
            battle = {"model_a": vote.model_a, "model_b": vote.model_b, "winner": WINNERS[vote.outcome]}
            rows.append({**battle, "length_a": a, "length_b": b})
    return rows


def verdicts_on(
    answers: Mapping[str, Completion], verdicts: Iterable[Verdict]
) -> list[tuple[str, str, Verdict]]:
    """The verdicts on battles between these answers to one example, each with its sides a and b.

    Verdicts know a battle by its content only, so those on answers that have changed since are not found.
    """
    sides: dict[str, dict[tuple[str, str], None]] = {}
    for (a, b), shown in product(permutations(answers.values(), 2), (True, False)):
        battle = Battle(
            example_id=a.example_id,
            messages=a.messages,
            reference=a.reference,
            model_a=a.contestant,
            model_b=b.contestant,
            completion_a=a.completion,
            completion_b=b.completion,
            reference_shown=shown,
        )
        sides.setdefault(battle.id, {})[a.contestant, b.contestant] = None
    return [(*pair, verdict) for verdict in verdicts for pair in sides.get(verdict.battle_id, ())]


@dataclass
class Tally:
    """Counts of shown battles and votes."""

    shown: Counter[Pair] = field(default_factory=Counter)
    on_example: Counter[tuple[str, Pair]] = field(default_factory=Counter)
    left: Counter[tuple[Pair, str]] = field(default_factory=Counter)
    votes: Counter[Pair] = field(default_factory=Counter)
    points: defaultdict[tuple[str, str], float] = field(default_factory=lambda: defaultdict(float))
    """(winner, loser) -> wins; a tie is half a win for each."""

    @classmethod
    def of(cls, rows: Iterable[BattleCount]) -> Tally:
        tally = cls()
        for row in rows:
            tally.add_shown(row.example_id, row.contestant_a, row.contestant_b, row.times)
            if row.action == "vote" and row.outcome is not None:
                tally.add_vote(row.contestant_a, row.contestant_b, row.outcome, row.times)
        return tally

    def add_shown(self, example_id: str, a: str, b: str, times: int = 1) -> None:
        pair = sorted_pair(a, b)
        self.shown[pair] += times
        self.on_example[example_id, pair] += times
        self.left[pair, a] += times

    def add_vote(self, a: str, b: str, outcome: Outcome, times: int = 1) -> None:
        self.votes[sorted_pair(a, b)] += times
        self.points[a, b] += POINTS[outcome] * times
        self.points[b, a] += (1 - POINTS[outcome]) * times


REFRESH = 5.0
"""Seconds after which votes of other processes are read."""


class TallyCache:
    """Cache of a run's tally: own votes count at once, those of other processes within `REFRESH` seconds."""

    def __init__(self, store: Store, run: str, clock: Callable[[], float]) -> None:
        self._store = store
        self._run = run
        self._clock = clock
        self._lock = threading.Lock()
        self._tally: Tally | None = None
        self._read_at = 0.0

    def read(self) -> Tally:
        """The current tally; read-only."""
        with self._lock:
            if self._tally is None or not 0 <= self._clock() - self._read_at <= REFRESH:
                self._read_at = self._clock()
                self._tally = Tally.of(self._store.tally(self._run))
            return self._tally

    def shown(self, ballot: Ballot) -> None:
        with self._lock:
            if self._tally is not None and ballot.kind == "battle":
                self._tally.add_shown(ballot.example_id, ballot.contestant_a, ballot.contestant_b)

    def cast_votes(self, ballot: Ballot, cast: Cast) -> None:
        with self._lock:
            if self._tally is not None and ballot.kind == "battle" and cast.outcome is not None:
                self._tally.add_vote(ballot.contestant_a, ballot.contestant_b, cast.outcome)

    def forget(self) -> None:
        """Invalidate the cache, after an undo."""
        with self._lock:
            self._tally = None
