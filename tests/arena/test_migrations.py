"""A store made by an older program is brought up to date with its votes; one of a newer one is left alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine, inspect, text

from tests.arena.postgres import cluster
from tests.arena.test_moderation import check
from toolkit.arena import schema
from toolkit.arena.store import Store
from toolkit.errors import StoreError


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with cluster() as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store of this program's version with one vote in it."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'arena.db'}"
    else:
        url = str(request.getfixturevalue("postgres"))
    store = Store(url)
    store.load([(reveal.ballot, reveal.cast) for reveal in [check("ann", "a")]])
    store.close()
    return url


def look(url: str) -> tuple[int, set[str]]:
    """Version, and the columns of the vote log."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        version = int(connection.execute(text("SELECT version FROM arena_schema")).scalar_one())
        columns = {column["name"] for column in inspect(connection).get_columns("arena_votes")}
    engine.dispose()
    return version, columns


def add_device(connection: Connection) -> None:
    connection.execute(text("ALTER TABLE arena_votes ADD COLUMN device VARCHAR(20)"))


def fail(connection: Connection) -> None:
    connection.execute(text("ALTER TABLE arena_votes ADD COLUMN other VARCHAR(20)"))
    raise StoreError("power cut")


NEW_SINCE_1 = {
    "arena_voters": ("address", "account", "finished_at", "preferences"),
    "arena_ballots": ("cut", "repeat", "pair_probability", "probability", "weight"),
    "arena_votes": ("seconds",),
    "arena_events": ("actor",),
}


def test_a_store_of_the_first_version_keeps_its_votes(database: str) -> None:
    engine = create_engine(database.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        for index in schema.indexes:
            connection.execute(text(f"DROP INDEX {index.name}"))
        for table, columns in NEW_SINCE_1.items():
            for column in columns:
                connection.execute(text(f'ALTER TABLE {table} DROP COLUMN "{column}"'))
        connection.execute(text("DROP TABLE arena_secrets"))
        connection.execute(text("DROP TABLE arena_views"))
        connection.execute(text("UPDATE arena_schema SET version = 1"))
    engine.dispose()
    hashes = []
    for _ in range(2):
        store = Store(database)
        (reveal,) = store.cast_votes(kinds=("check",))
        ballot = reveal.ballot
        assert (ballot.repeat, ballot.probability, ballot.weight, reveal.cast.seconds) == (None,) * 4
        hashes.append(store.keyed_hash("x"))
        store.close()
    assert hashes[0] == hashes[1], "the secret is made once"
    assert look(database)[0] == 1 + len(schema.MIGRATIONS)


def test_an_older_store_is_brought_up_to_date(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before, _ = look(database)
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, fail))
    with pytest.raises(StoreError, match="power cut"):
        Store(database)
    assert look(database)[0] == before
    assert "other" not in look(database)[1], "a step that fails leaves nothing half done"
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS[:-1], add_device))  # in place of `fail`
    for _ in range(2):
        assert len(Store(database).cast_votes(kinds=("check",))) == 1
        version, columns = look(database)
        assert version == before + 1
        assert "device" in columns
    monkeypatch.undo()
    with pytest.raises(StoreError, match=f"schema version {before + 1}, this program knows {before}"):
        Store(database)
