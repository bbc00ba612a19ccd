"""Opening the database: SQLite with a write-ahead log and full sync, or any other by its SQLAlchemy URL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from toolkit.arena.schema import migrate
from toolkit.errors import StoreError

WAIT = 30
"""Seconds a writer waits for its turn."""


class Database:
    """An engine whose transactions are either read-only or take the write lock from their first statement."""

    def __init__(self, url: str) -> None:
        """Connect, and create or migrate the tables.

        Raises:
            StoreError: the URL is not one, its driver is not installed, or the database cannot be reached.
        """
        self.shown_url = url
        try:
            self.shown_url = sqlalchemy.make_url(url).render_as_string(hide_password=True)
            self._engine = _engine(url)
            with self.write() as connection:
                migrate(connection)
        except (ArgumentError, ModuleNotFoundError) as error:
            raise StoreError(f"{self.shown_url}: not a usable database URL: {error}") from None

    @property
    def dialect(self) -> str:
        return self._engine.dialect.name

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with self._reported(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction: committed, and on disk, when the block ends without an error."""
        with self._reported(), self._engine.connect() as connection:
            connection.execution_options(writes=True)
            with connection.begin():
                yield connection

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _reported(self) -> Iterator[None]:
        """Turn a failing database into one line; a broken constraint is the caller's matter."""
        try:
            yield
        except sqlalchemy.exc.IntegrityError:
            raise
        except SQLAlchemyError as error:
            cause = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
            raise StoreError(f"{self.shown_url}: the vote store failed: {cause}") from error


def _engine(url: str) -> Engine:
    parsed = sqlalchemy.make_url(url)
    if parsed.get_backend_name() == "postgresql" and parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() != "sqlite":
        return sqlalchemy.create_engine(parsed, pool_pre_ping=True, pool_size=10, max_overflow=20)
    engine = sqlalchemy.create_engine(parsed, connect_args={"timeout": WAIT})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions are begun below, not guessed by the driver
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    """A writer takes its lock at once: upgrading a read lock would fail instead of waiting."""
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
