"""The tally of a run, kept in memory and up to date, so that a vote does not count all votes again."""

from __future__ import annotations

import threading
from collections.abc import Callable

from toolkit.arena.ballot import Ballot, Cast
from toolkit.arena.pairing import Tally
from toolkit.arena.store import Store

REFRESH = 5.0
"""Seconds after which what other processes stored is read in."""


class LiveTally:
    """What this process stores is counted at once; the rest within `REFRESH` seconds."""

    def __init__(self, store: Store, run: str, clock: Callable[[], float]) -> None:
        self._store = store
        self._run = run
        self._clock = clock
        self._lock = threading.Lock()
        self._tally: Tally | None = None
        self._read_at = 0.0

    def read(self) -> Tally:
        """The tally; to be looked at, not changed."""
        with self._lock:
            if self._tally is None or not 0 <= self._clock() - self._read_at <= REFRESH:
                self._read_at = self._clock()
                self._tally = Tally.of(self._store.tally(self._run))
            return self._tally

    def shown(self, ballot: Ballot) -> None:
        with self._lock:
            if self._tally is not None and ballot.kind == "battle":
                self._tally.add_shown(ballot.example_id, ballot.contestant_a, ballot.contestant_b)

    def voted(self, ballot: Ballot, cast: Cast) -> None:
        with self._lock:
            if self._tally is not None and ballot.kind == "battle" and cast.outcome is not None:
                self._tally.add_vote(ballot.contestant_a, ballot.contestant_b, cast.outcome)

    def forget(self) -> None:
        """Count again at the next look: something was taken back."""
        with self._lock:
            self._tally = None
