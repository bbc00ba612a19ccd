"""A small finished run, and a desk on a store of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.arena.example_run import write_run
from toolkit.arena.battles import BattlePool, load_battle_pool
from toolkit.arena.service import ArenaService
from toolkit.arena.store import Store


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="session")
def example_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("results") / "household")


@pytest.fixture(scope="session")
def pool(example_run: Path) -> BattlePool:
    return load_battle_pool(example_run)


@pytest.fixture
def url() -> Iterator[str]:
    """A store of its own, in memory where there is such a folder: syncing takes most of a test's time."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield f"sqlite:///{folder}/arena.db"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def service(pool: BattlePool, url: str, clock: Clock) -> ArenaService:
    service = ArenaService(pool, Store(url), clock=clock)
    service.register_voter("ann")
    service.register_voter("bob")
    return service
