"""A small finished run, and a desk on a store of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.arena.household import write_run
from toolkit.arena.contest import Contest, read_contest
from toolkit.arena.desk import Desk
from toolkit.arena.store import Store


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="session")
def household(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("results") / "household")


@pytest.fixture(scope="session")
def contest(household: Path) -> Contest:
    return read_contest(household)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'arena.db'}"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def desk(contest: Contest, url: str, clock: Clock) -> Desk:
    desk = Desk(contest, Store(url), clock=clock)
    desk.welcome("ann")
    desk.welcome("bob")
    return desk
