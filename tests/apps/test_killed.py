"""The whole server, killed twice under twenty voters: what a voter saw acknowledged is stored, once.

On SQLite one server; on PostgreSQL two replicas, and each voter meets now the one, now the other.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import WebSocketException

from apps.server import signed_cookie
from apps.settings import VOTER_COOKIE
from tests.apps.conftest import free_port, start
from tests.apps.visitor import Visitor
from tests.arena.postgres import cluster
from tests.arena.test_durability import doubled
from toolkit.arena.battles import new_id
from toolkit.arena.store import Store

pytestmark = pytest.mark.slow

VOTERS, KILLS, BETWEEN = 20, 2, 20
CHOICES = {"A is better": "a", "B is better": "b", "Tie": "tie", "Both bad": "both_bad"}


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'arena.db'}"
    else:
        with cluster() as url:
            yield url


async def vote(cookie: str, addresses: list[str], acknowledged: list[tuple[str, str]]) -> None:
    """One voter, who comes back to any server that answers until nothing is left."""
    luck = random.Random(cookie)
    while True:
        try:
            async with Visitor(luck.choice(addresses), cookie) as visitor:
                while "A is better" in visitor.buttons:
                    label = luck.choice(list(CHOICES))
                    ballot = visitor.buttons[label][-len(new_id()) :]  # a widget's id ends with its key
                    await visitor.press(label)
                    assert "Next battle" in visitor.buttons
                    acknowledged.append((ballot, CHOICES[label]))
                    await asyncio.sleep(
                        luck.random()
                    )  # lest nothing be left to vote on when servers are slow
                    await visitor.press("Next battle")
                return
        except (OSError, WebSocketException, TimeoutError):
            await asyncio.sleep(0.2)


async def vote_and_kill(run: Path, database: str, replicas: int) -> list[tuple[str, str]]:
    ports = [free_port() for _ in range(replicas)]
    options = ("--db", database, "--votes-per-minute", "10000")
    addresses = [f"http://127.0.0.1:{port}" for port in ports]
    acknowledged: list[tuple[str, str]] = []
    sign = Store(database).keyed_hash
    cookies = [f"{VOTER_COOKIE}={signed_cookie(sign)}" for _ in range(VOTERS)]
    voters = [asyncio.create_task(vote(cookie, addresses, acknowledged)) for cookie in cookies]
    for _ in range(KILLS):
        before = len(acknowledged)  # the first server that is up is voted on while another starts
        starting = [asyncio.to_thread(start, run, *options, port=port) for port in ports]
        servers = await asyncio.gather(*starting)
        async with asyncio.timeout(90):
            while len(acknowledged) < before + BETWEEN:
                await asyncio.sleep(0.02)
        for process, _ in servers:
            process.send_signal(signal.SIGKILL)
            process.wait()
    for voter in voters:
        voter.cancel()
    ended = await asyncio.gather(*voters, return_exceptions=True)
    assert [end for end in ended if isinstance(end, AssertionError)] == []
    return acknowledged


def test_what_voters_saw_acknowledged_is_stored_once(database: str, example_run: Path) -> None:
    replicas = 1 if database.startswith("sqlite") else 2
    acknowledged = asyncio.run(vote_and_kill(example_run, database, replicas))
    assert len(acknowledged) >= KILLS * BETWEEN
    store = Store(database)
    for ballot, outcome in acknowledged:
        assert [(line.action, line.outcome) for line in store.log(ballot)] == [("vote", outcome)]
    assert len({vote.voter for vote in store.vote_rows(repeats=False)}) > VOTERS / 2
    assert not doubled(database)
