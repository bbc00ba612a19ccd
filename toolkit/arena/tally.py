"""Votes in memory, counts, win rates, and a judge's verdicts on an example."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import permutations, product
from typing import Any

from toolkit.arena.battles import BattlePool
from toolkit.arena.store import Answers, LogState, Store, VoteRow
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


def win_rates(votes: Iterable[Vote | VoteRow]) -> list[dict[str, Any]]:
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
    votes: Iterable[Vote | VoteRow], pool: BattlePool, others: Mapping[tuple[str, str], str]
) -> list[dict[str, Any]]:
    """Votes as rows of a battle log with the words of both answers, `length_a` and `length_b`.

    Args:
        votes: people's or a judge's.
        pool: whose answers they are on.
        others: (example, contestant) -> answer, of live and imported votes.

    Returns:
        A row for each vote whose answers are known.
    """
    words = {
        (example, name): len(answer.completion.split())
        for example, answers in pool.answers.items()
        for name, answer in answers.items()
    } | {place: len(text.split()) for place, text in others.items()}
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
    """Counts of votes on stored answers."""

    votes: Counter[Pair] = field(default_factory=Counter)
    points: defaultdict[tuple[str, str], float] = field(default_factory=lambda: defaultdict(float))
    """(winner, loser) -> wins; a tie is half a win for each."""

    def add_vote(self, a: str, b: str, outcome: Outcome, times: int = 1) -> None:
        self.votes[sorted_pair(a, b)] += times
        self.points[a, b] += POINTS[outcome] * times
        self.points[b, a] += (1 - POINTS[outcome]) * times


class AddressLimit:
    """Selects the votes of voters without an account after the first few voters of their network address."""

    def __init__(self, addresses: Callable[[], Mapping[str, str]], limit: int) -> None:
        self._read = addresses
        self._addresses = dict(addresses())
        self._limit = limit
        self._counted: defaultdict[str, set[str]] = defaultdict(set)
        self._known: set[str] = set()

    def is_crowded(self, voter: str) -> bool:
        """Whether a vote is kept apart; called for every vote in order."""
        if voter not in self._known:
            self._known.add(voter)
            if voter not in self._addresses:
                self._addresses = dict(self._read())
        address = self._addresses.get(voter)
        if address is None or not self._limit:
            return False
        counted = self._counted[address]
        if voter not in counted and len(counted) < self._limit:
            counted.add(voter)
        return voter not in counted


@dataclass
class CountedVotes:
    """A run's votes, in the order they were cast; lists grow at the end only."""

    version: int = 0
    """Changes with the votes."""
    rows: list[VoteRow] = field(default_factory=list)
    """Votes that count by default."""
    repeats: list[VoteRow] = field(default_factory=list)
    """Votes on answers whose author the voter had been told before."""
    crowded: list[VoteRow] = field(default_factory=list)
    """Votes of voters after the first few without an account at their network address."""
    tally: Tally = field(default_factory=Tally)

    def add(self, rows: Iterable[VoteRow], limit: AddressLimit) -> None:
        """Sort new votes into the lists."""
        self.version += 1
        for row in rows:
            if row.repeat:
                self.repeats.append(row)
            elif limit.is_crowded(row.voter):
                self.crowded.append(row)
            else:
                self.rows.append(row)
                if row.kind == "battle":
                    self.tally.add_vote(row.model_a, row.model_b, row.outcome)


class VoteLog:
    """A run's votes in memory, read on as the vote log grows, and again after a correction or a decision."""

    def __init__(self, store: Store, run: str, limit: Callable[[], int], answers: Answers) -> None:
        self._store = store
        self._run = run
        self._answers = answers
        self._limit = limit
        self._lock = threading.Lock()
        self._state = LogState(0, 0, 0, -1, 0)
        self._known_limit = -1
        self._votes = CountedVotes()
        self._addresses = AddressLimit(dict, 0)

    def read(self) -> CountedVotes:
        """The votes as they are now; read-only."""
        limit = self._limit()
        with self._lock:
            before = self._state
            state = self._store.log_state(before.last)
            if state[:4] == before[:4] and limit == self._known_limit:
                return self._votes
            grown = state.lines == before.lines + state.new  # else a line came late, or one is gone
            known = (before.corrections, before.events, self._known_limit)
            on = grown and (state.corrections, state.events, limit) == known
            if not on:
                self._votes = CountedVotes(self._votes.version)
                self._addresses = AddressLimit(self._store.voter_addresses, limit)
            after = before.last if on else 0
            rows = self._store.vote_rows(self._run, after=after, answers=self._answers)
            self._votes.add(rows, self._addresses)
            self._state, self._known_limit = state, limit
            return self._votes
