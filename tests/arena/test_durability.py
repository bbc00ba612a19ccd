"""Every vote that was acknowledged is there, none twice: fifty voters, processes killed, two databases."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, func, select

from tests.arena.postgres import cluster
from toolkit.arena import schema
from toolkit.arena.battles import load_battle_pool
from toolkit.arena.service import ArenaService
from toolkit.arena.store import Store

VOTERS, KILLS, BETWEEN = 50, 3, 40


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with cluster() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'arena.db'}"
    return str(request.getfixturevalue("postgres"))


def read(acknowledged: Path) -> list[tuple[str, str, str]]:
    text = acknowledged.read_text() if acknowledged.exists() else ""
    return [(*line.split(),) for line in text.splitlines() if len(line.split()) == 3]


def until(acknowledged: Path, count: int, processes: list[subprocess.Popen[bytes]]) -> None:
    """Wait for that many acknowledged votes."""
    deadline = time.monotonic() + 300
    while len(read(acknowledged)) < count:
        assert time.monotonic() < deadline, f"only {len(read(acknowledged))} of {count} votes in five minutes"
        assert all(process.poll() is None for process in processes), "a voting process ended by itself"
        time.sleep(0.02)


@pytest.mark.slow
def test_no_acknowledged_vote_is_lost_and_none_is_there_twice(
    database: str, example_run: Path, tmp_path: Path
) -> None:
    acknowledged = tmp_path / "acknowledged"
    command = [sys.executable, "-m", "tests.arena.voting", example_run, database, acknowledged, str(VOTERS)]
    for _ in range(KILLS):
        processes = [subprocess.Popen(command) for _ in range(2)]  # two arenas on one store
        until(acknowledged, len(read(acknowledged)) + BETWEEN, processes)
        for process in processes:
            process.send_signal(signal.SIGKILL)
            process.wait()
    votes = read(acknowledged)
    assert len(votes) >= KILLS * BETWEEN

    store = Store(database)
    for _, ballot, outcome in votes:
        log = store.log(ballot)
        assert [(line.action, line.outcome) for line in log] == [("vote", outcome)]
    assert len({ballot for _, ballot, _ in votes}) <= len(store.vote_rows(repeats=False))
    assert not doubled(database)


def doubled(database: str) -> list[object]:
    """Ballots with two first votes, and battles that one voter met twice."""
    engine = create_engine(database.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        first = connection.execute(
            select(schema.casts.c.ballot).where(schema.casts.c.revision == 0)
        ).scalars()
        twice: list[object] = [ballot for ballot, times in Counter(first).items() if times > 1]
        met = select(schema.ballots.c.voter, schema.ballots.c.battle, func.count())
        rows = connection.execute(met.group_by(schema.ballots.c.voter, schema.ballots.c.battle))
        twice += [row for row in rows if row[2] > 1]
    engine.dispose()
    return twice


def test_an_answer_with_a_nul_in_it_is_kept_by_either_database(database: str, example_run: Path) -> None:
    service = ArenaService(load_battle_pool(example_run), Store(database))
    service.register_voter("nul")
    ballot = service.add_live_ballot("nul", ("heron-a1", "otter-b2"), ["Why?"], ("a\0b", "Because."))
    assert service.vote("nul", ballot, "a").ballot.answer_a == "a\ufffdb"
