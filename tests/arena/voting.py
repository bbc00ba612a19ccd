"""Fifty people voting at once, as a process that can be killed.

    python -m tests.arena.voting RUN URL ACKNOWLEDGED VOTERS

Each vote that the desk has taken is added to the file ACKNOWLEDGED, as an impatient client would see it: some
votes are sent twice, some by two tabs at once, and the last one before a crash is sent again.
"""

from __future__ import annotations

import os
import random
import sys
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from toolkit.arena.battles import load_battle_pool
from toolkit.arena.service import ArenaService, Rules
from toolkit.arena.store import Store
from toolkit.arena.vote_io import Imported, import_votes, parse_votes


def import_rows(store: Store, rows: Iterable[Mapping[str, Any]], *, run: str, source: str) -> Imported:
    """Add the rows of a battle log to a store."""
    places = ((f"{source}:{n}", row) for n, row in enumerate(rows, 1))
    return import_votes(store, parse_votes(places), run=run, source=source)


def vote_on(service: ArenaService, voter: str, acknowledged: int, luck: random.Random) -> None:
    """One voter: vote until nothing is left."""
    while ballot := service.ballot(voter):
        outcome = luck.choice(["a", "b", "tie", "both_bad"])
        if luck.random() < 0.2:  # a second tab at the same moment
            twin = threading.Thread(
                target=service.vote, args=(voter, ballot.id, luck.choice(["a", "b"])), daemon=True
            )
            twin.start()
        taken = service.vote(voter, ballot.id, outcome).cast.outcome
        os.write(acknowledged, f"{voter} {ballot.id} {taken}\n".encode())
        if luck.random() < 0.2:
            assert service.vote(voter, ballot.id, "a").cast.outcome == taken


def main(run: str, url: str, acknowledged: str, voters: str) -> None:
    service = ArenaService(load_battle_pool(Path(run)), Store(url), Rules(per_minute=10_000))
    log = os.open(acknowledged, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    threads = []
    for number in range(int(voters)):
        voter = f"voter-{number}"
        service.register_voter(voter)
        threads.append(
            threading.Thread(target=vote_on, args=(service, voter, log, random.Random()), daemon=True)
        )
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
