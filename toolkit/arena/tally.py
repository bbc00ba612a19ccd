"""Votes in memory, counts, win rates, and a judge's verdicts on an example."""

import gc
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import permutations, product
from typing import Any

import numpy as np

from toolkit.arena.battles import BattlePool
from toolkit.arena.store import CHUNK, FORGOTTEN, Answers, LogState, Store, VoteRow
from toolkit.judge.battles import battle_of
from toolkit.ratings import count
from toolkit.ratings.vote_table import MISSING, Array, Labels, Table
from toolkit.types import POINTS, Completion, Outcome, Pair, Verdict, sorted_pair


def win_rates(table: Table) -> list[dict[str, Any]]:
    """Win rate of each ordered pair with votes; a tie is half a win."""
    counts, votes = count(table), np.rint(count(replace(table, weight=None)).met)
    met, won = counts.met, counts.points
    return [
        {
            "contestant": table.names[one],
            "against": table.names[other],
            "rate": float(won[one, other] / met[one, other]),
            "votes": int(votes[one, other]),
        }
        for one, other in np.argwhere(met).tolist()
    ]


def with_lengths(
    table: Table, pool: BattlePool, others: Mapping[tuple[str, str], str]
) -> tuple[Table, dict[str, tuple[Array, Array]]]:
    """The votes on answers that are known, and the words of both answers as the style measure `length`.

    `others` are the (example, contestant)'s answers of live and imported votes, beside those of the pool.
    """
    examples = table.labels.get("example", Labels(np.full(len(table), MISSING), ()))
    columns, rows = ({name: at for at, name in enumerate(names)} for names in (table.names, examples.names))
    words = np.full((len(rows) + 1, len(columns)), np.nan)  # the last row: votes without an example
    stored = (
        (example, name, answer.completion)
        for example, answers in pool.answers.items()
        for name, answer in answers.items()
    )
    for example, name, text in (*stored, *((*place, text) for place, text in others.items())):
        if example in rows and name in columns:
            words[rows[example], columns[name]] = len(text.split())
    lengths = np.stack([words[examples.codes, side] for side in (table.first, table.second)])
    known = np.isfinite(lengths).all(axis=0)
    return table.take(known).compact(), {"length": (lengths[0, known], lengths[1, known])}


def verdicts_on(
    answers: Mapping[str, Completion], verdicts: Iterable[Verdict]
) -> list[tuple[str, str, Verdict]]:
    """The verdicts on battles between these answers to one example, each with its sides a and b.

    Verdicts know a battle by its content only, so those on answers that have changed since are not found.
    """
    sides: dict[str, dict[tuple[str, str], None]] = {}
    for (a, b), shown in product(permutations(answers.values(), 2), (True, False)):
        sides.setdefault(battle_of(a, b, None, shown).id, {})[a.contestant, b.contestant] = None
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
    """A run's votes, in the order they were cast."""

    version: int = 0
    """Changes with the votes."""
    rows: list[VoteRow] = field(default_factory=list)
    """Votes that count by default."""
    repeats: list[VoteRow] = field(default_factory=list)
    """Votes on answers whose author had been revealed to the voter before."""
    crowded: list[VoteRow] = field(default_factory=list)
    """Votes of voters after the first few without an account at their network address."""
    own_questions: list[VoteRow] = field(default_factory=list)
    """Votes on voters' own questions."""
    tally: Tally = field(default_factory=Tally)
    categories: set[str] = field(default_factory=set)
    ballots: set[str] = field(default_factory=set)

    def remove(self, ballots: AbstractSet[str]) -> None:
        """Take the votes on these ballots out; whoever reads the lists keeps theirs."""
        if not ballots:
            return
        self.ballots -= ballots
        for row in self.rows:
            if row.ballot in ballots and row.kind == "battle":
                self.tally.add_vote(row.model_a, row.model_b, row.outcome, -1)
        for name in ("rows", "repeats", "crowded", "own_questions"):
            setattr(self, name, [row for row in getattr(self, name) if row.ballot not in ballots])

    def add(self, rows: Iterable[VoteRow], limit: AddressLimit) -> None:
        """Sort new votes into the lists."""
        self.version += 1
        for row in rows:
            self.ballots.add(row.ballot)
            if row.repeat:
                self.repeats.append(row)
            elif limit.is_crowded(row.voter):
                self.crowded.append(row)
            elif row.kind == "live":
                self.own_questions.append(row)
            else:
                self.rows.append(row)
                if row.category:
                    self.categories.add(row.category)
                if row.kind == "battle":
                    self.tally.add_vote(row.model_a, row.model_b, row.outcome)


@contextmanager
def paused_collection() -> Iterator[None]:
    """Collect no garbage meanwhile: among a hundred thousand new records every collection is long."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


class VoteLog:
    """A run's votes in memory, read on as the vote log grows.

    Only a decision about voters (a block, a limit, an account that took over votes) reads all of them again.
    """

    LOOK_BACK = 200
    """Lines before the last that are looked at again: with several processes one may come late."""

    def __init__(self, store: Store, run: str, answers: Answers) -> None:
        self._store, self._run, self._answers = store, run, answers
        self._lock = threading.Lock()
        self._state: LogState | None = None
        self._decisions: tuple[Any, ...] = ()
        self._known: set[int] = set()
        self._votes = CountedVotes()
        self._addresses = AddressLimit(dict, 0)

    def read(self, limit: int) -> CountedVotes:
        """The votes as they are now, read-only; `limit` voters without an account count of an address."""
        with self._lock:
            state = self._store.log_state()
            if state == self._state and limit == self._decisions[0]:
                return self._votes
            decisions = self._decisions
            if self._state is None or (state.events, limit) != (self._state.events, decisions[0]):
                events = self._store.current_events()
                decisions = limit, frozenset(self._store.blocked(events)), events.get(FORGOTTEN)
            since = max(0, self._state.last - self.LOOK_BACK) if self._state else 0
            lines = self._store.log_lines(since)
            changed = {ballot for line, ballot in lines.items() if line not in self._known}
            same = self._state is not None and self._state.accounts == state.accounts
            if same and decisions == self._decisions and len(changed) < CHUNK:
                self._votes.remove(changed & self._votes.ballots)
                rows = self._store.vote_rows(self._run, only=list(changed), answers=self._answers)
                self._votes.add(rows, self._addresses)
            else:
                self._addresses = AddressLimit(self._store.voter_addresses, limit)
                votes = CountedVotes(self._votes.version)
                with paused_collection():
                    rows = self._store.vote_rows(self._run, answers=self._answers)
                    votes.add(rows, self._addresses)
                self._votes = votes
            self._known = {line for line in lines if line > state.last - self.LOOK_BACK}
            self._state, self._decisions = state, decisions
            return self._votes
