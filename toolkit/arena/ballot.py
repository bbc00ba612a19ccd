"""The records of a blind vote: what the arena knows, what the voter may see, and what a vote opens."""

from __future__ import annotations

import secrets
from typing import Literal

from toolkit.types import Message, Outcome, Record

Kind = Literal["battle", "check", "live", "imported"]
"""`battle`: two stored answers; `check`: an attention check with a known right side; `live`: the voter's own
question; `imported`: from a battle log."""

Action = Literal["vote", "undo", "skip"]


class Ballot(Record):
    """One battle as shown to one voter. Never sent to a browser: see `Ballot.blind`."""

    id: str
    """Random and opaque; the only name of a battle that leaves the server before the vote."""
    voter: str
    number: int
    """0, 1, 2 ... of this voter. Unique per voter, so two tabs open the same ballot."""
    kind: Kind = "battle"
    run: str
    example_id: str
    category: str | None = None
    messages: tuple[Message, ...]
    reference: str | None = None
    contestant_a: str
    contestant_b: str
    answer_a: str
    answer_b: str
    expected: Outcome | None = None
    """The right side of an attention check."""
    shown_at: float

    @property
    def blind(self) -> BlindBallot:
        return BlindBallot(id=self.id, messages=self.messages, answer_a=self.answer_a, answer_b=self.answer_b)


class BlindBallot(Record):
    """All that a page may know before the vote: no names, and no sign of an attention check."""

    id: str
    messages: tuple[Message, ...]
    answer_a: str
    answer_b: str


class Cast(Record):
    """One line of the vote log. The line with the highest revision of a ballot is what counts."""

    ballot: str
    revision: int
    """0 for the first; corrections count up. Nothing is changed or deleted."""
    action: Action
    outcome: Outcome | None = None
    tags: tuple[str, ...] = ()
    comment: str = ""
    cast_at: float


class Reveal(Record):
    """What a committed vote opens."""

    ballot: Ballot
    cast: Cast


def new_id() -> str:
    """128 random bits: unguessable, and says nothing."""
    return secrets.token_urlsafe(16)
