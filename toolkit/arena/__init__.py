"""Which battle next, the blind ballot (`service.ArenaService`), the vote store, preference export."""

import sqlite3
from contextlib import closing
from pathlib import Path

from toolkit.arena.battles import Reveal
from toolkit.arena.settings import address_limit
from toolkit.arena.store import SIMULATED, VOTE_KINDS, Answers, Store
from toolkit.arena.tally import AddressLimit
from toolkit.types import Vote


def accepted_votes(
    database: str, run: str | None = None, answers: Answers | None = None, *, simulated: bool = False
) -> list[Vote]:
    """The people's votes in a vote store that count, corrected ones as corrected.

    Left out are blocked voters, votes on answers whose author the voter knew, on voters' own questions, and
    voters without an account after the first few of a network address (`ArenaSettings.voters_per_address`).
    `database` is an SQLAlchemy URL, `answers` are as of `Store.vote_rows`; `simulated`: the simulated voters'
    votes in the place of people's. Without `run`, the votes of all runs.
    """
    kinds = (SIMULATED,) if simulated else ("battle", "imported")
    with closing(Store(database)) as store:
        rows = store.vote_rows(run, kinds=kinds, repeats=False, answers=answers)
        addresses = AddressLimit(store.voter_addresses, address_limit(store.current_events(), run))
        return [row.vote for row in rows if not addresses.is_crowded(row.voter)]


def accepted_reveals(database: str, *, simulated: bool = False) -> list[Reveal]:
    """The votes of `accepted_votes`, of all runs, with their texts."""
    with closing(Store(database)) as store:
        addresses = AddressLimit(store.voter_addresses, address_limit(store.current_events(), None))
        reveals = store.cast_votes(repeats=False, kinds=(SIMULATED,) if simulated else VOTE_KINDS)
        return [reveal for reveal in reveals if not addresses.is_crowded(reveal.ballot.voter)]


def copy_votes(source: Path, target: Path, run: str) -> None:
    """Copy a run's vote store (an SQLite file) for another version of the run, under that one's name."""
    with closing(sqlite3.connect(source)) as theirs, closing(sqlite3.connect(target)) as ours:
        theirs.backup(ours)
        ours.execute("UPDATE arena_ballots SET run = ? WHERE run = ?", (run, source.parent.name))
        ours.commit()
