"""Which battle next, the blind ballot, the vote store, preference export.

service = ArenaService(load_battle_pool(Path("results/demo")), Store("sqlite:///arena.db"))
service.register_voter("ann")
ballot = service.ballot("ann")  # a prompt and two answers, without names
reveal = service.vote("ann", ballot.id, "a")  # committed, then opened
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from toolkit.arena.battles import Ballot, BattlePool, BlindBallot, Cast, Reveal, load_battle_pool
from toolkit.arena.service import ArenaService, NotAllowed, Rules
from toolkit.arena.store import Answers, Store
from toolkit.types import Vote

__all__ = [
    "ArenaService",
    "Ballot",
    "BattlePool",
    "BlindBallot",
    "Cast",
    "NotAllowed",
    "Reveal",
    "Rules",
    "Store",
    "accepted_votes",
    "copy_votes",
    "load_battle_pool",
]


def accepted_votes(database: str, run: str | None = None, answers: Answers | None = None) -> list[Vote]:
    """The people's votes in a vote store that count: corrected ones as corrected, blocked voters left out.

    Args:
        database: SQLAlchemy URL.
        run: name of one run; left out, of all.
        answers: as they are now; votes on stored answers that have been replaced are left out.
    """
    store = Store(database)
    try:
        return store.votes(run, answers=answers)
    finally:
        store.close()


def copy_votes(source: Path, target: Path, run: str) -> None:
    """Copy a run's vote store (an SQLite file) for another version of the run, under that one's name."""
    with closing(sqlite3.connect(source)) as theirs, closing(sqlite3.connect(target)) as ours:
        theirs.backup(ours)
        ours.execute("UPDATE arena_ballots SET run = ? WHERE run = ?", (run, source.parent.name))
        ours.commit()
