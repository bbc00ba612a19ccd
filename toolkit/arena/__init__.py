"""Which battle next, the blind ballot, the vote store, preference export.

desk = Desk(read_contest(Path("results/demo")), Store("sqlite:///arena.db"))
desk.welcome("ann")
ballot = desk.ballot("ann")  # a prompt and two answers, without names
reveal = desk.vote("ann", ballot.id, "a")  # committed, then opened
"""

from toolkit.arena.ballot import Ballot, BlindBallot, Cast, Reveal
from toolkit.arena.contest import Contest, read_contest
from toolkit.arena.desk import Desk, NotAllowed, Rules
from toolkit.arena.store import Store
from toolkit.types import Vote

__all__ = [
    "Ballot",
    "BlindBallot",
    "Cast",
    "Contest",
    "Desk",
    "NotAllowed",
    "Reveal",
    "Rules",
    "Store",
    "accepted_votes",
    "read_contest",
]


def accepted_votes(database: str, run: str | None = None) -> list[Vote]:
    """The people's votes in a vote store that count: corrected ones as corrected, blocked voters left out.

    Args:
        database: SQLAlchemy URL.
        run: name of one run; left out, of all.
    """
    store = Store(database)
    try:
        return store.votes(run)
    finally:
        store.close()
