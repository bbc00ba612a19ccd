"""What voters are told of errors names no folder, server or contestant."""

from __future__ import annotations

from apps.session import public_message
from toolkit.arena.service import NotAllowed
from toolkit.errors import StoreError


def test_the_arenas_own_rules_are_shown_and_nothing_else() -> None:
    assert public_message(NotAllowed("the arena is closed")) == "the arena is closed"
    hidden = public_message(StoreError("postgresql://db.example/heron: the vote store failed: no route"))
    assert "heron" not in hidden
    assert "db.example" not in hidden
