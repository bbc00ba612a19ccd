"""Tables, migrations and connections of the vote store.

Constraints enforce the invariants: a voter's ballots are numbered without gaps (two tabs open the same one),
no voter sees a battle twice, and a ballot's revisions are unique (a vote that is sent twice is stored once).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy
from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Connection,
    Engine,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    event,
    inspect,
    select,
    text,
)
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from toolkit.errors import StoreError

metadata = MetaData()

versions = Table("arena_schema", metadata, Column("version", Integer, primary_key=True))

texts = Table(
    "arena_texts",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("body", Text, nullable=False),
)
"""Prompts and answers by content hash; kept even when the run is deleted."""

voters = Table(
    "arena_voters",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("address", String(64)),
    Column("account", String(64)),
    Column("finished_at", Float),
    Column("preferences", JSON),
)
"""`address`: keyed hash of the network address; `account`: the voter whose sign-in took over this cookie's
votes; `finished_at`: when names were last opened to a voter of an arena that reveals at the end."""

secret_table = Table(
    "arena_secrets", metadata, Column("name", String(32), primary_key=True), Column("value", String(64))
)
views = Table(
    "arena_views",
    metadata,
    Column("voter", String(64), primary_key=True),
    Column("example_id", String(200), primary_key=True),
)
"""Examples whose authors a voter saw on the page Compare."""

ballots = Table(
    "arena_ballots",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("voter", ForeignKey("arena_voters.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("battle", String(64), nullable=False),
    Column("run", String(200), nullable=False),
    Column("example_id", String(200), nullable=False),
    Column("category", String(200)),
    Column("contestant_a", String(200), nullable=False),
    Column("contestant_b", String(200), nullable=False),
    Column("messages", ForeignKey("arena_texts.id"), nullable=False),
    Column("reference", ForeignKey("arena_texts.id")),
    Column("answer_a", ForeignKey("arena_texts.id"), nullable=False),
    Column("answer_b", ForeignKey("arena_texts.id"), nullable=False),
    Column("expected", String(16)),
    Column("shown_at", Float, nullable=False),
    Column("cut", String(2)),
    Column("repeat", Boolean),
    Column("pair_probability", Float),
    Column("probability", Float),
    UniqueConstraint("voter", "number"),
    UniqueConstraint("voter", "battle"),
)
Index("arena_ballots_run", ballots.c.run, ballots.c.kind)

casts = Table(
    "arena_votes",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("ballot", ForeignKey("arena_ballots.id"), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("action", String(16), nullable=False),
    Column("outcome", String(16)),
    Column("tags", JSON, nullable=False),
    Column("comment", Text, nullable=False),
    Column("cast_at", Float, nullable=False),
    Column("seconds", Float),
    UniqueConstraint("ballot", "revision"),
)
"""The vote log: lines are only ever added."""
indexes = (
    Index("arena_votes_time", casts.c.cast_at),
    Index("arena_voters_account", voters.c.account),
    Index("arena_voters_address", voters.c.address),
)

events = Table(
    "arena_events",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("subject", String(200), nullable=False, index=True),
    Column("value", JSON, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", Float, nullable=False),
    Column("actor", String(200)),
)
"""What administrators decided (settings, blocked voters); the newest line of a subject is in force."""


def _add_draws_and_origins(connection: Connection) -> None:
    """To version 2: how ballots were drawn, how long votes took, where voters come from, who administers."""
    for table, names in (
        (voters, ("address", "account", "finished_at", "preferences")),
        (ballots, ("cut", "repeat", "pair_probability", "probability")),
        (casts, ("seconds",)),
        (events, ("actor",)),
    ):
        for name in names:
            kind = table.c[name].type.compile(connection.dialect)
            connection.execute(text(f'ALTER TABLE {table.name} ADD COLUMN "{name}" {kind}'))
    metadata.create_all(connection, tables=[secret_table, views])


def _add_indexes(connection: Connection) -> None:
    """To version 3: the votes of the last minute, of an account or an address are found among many."""
    for index in indexes:
        index.create(connection, checkfirst=True)


MIGRATIONS: tuple[Callable[[Connection], None], ...] = (_add_draws_and_origins, _add_indexes)
"""Step n brings a store from version n + 1, which had the tables of the first release, to n + 2."""


def migrate(connection: Connection) -> None:
    """Bring the store to this program's version, inside the caller's transaction; a new one gets its tables.

    Raises:
        StoreError: the store was made by a newer version of this program.
    """
    if connection.dialect.name == "postgresql":  # two processes that start at once take turns
        connection.execute(text("SELECT pg_advisory_xact_lock(7318349)"))
    version, newest = _version(connection), 1 + len(MIGRATIONS)
    if version > newest:
        raise StoreError(
            f"the vote store has schema version {version}, this program knows {newest}: update the program"
        )
    if version == 0:
        metadata.create_all(connection)
    else:
        for step in MIGRATIONS[version - 1 :]:
            step(connection)
    if version < newest:
        connection.execute(versions.delete())
        connection.execute(versions.insert().values(version=newest))
    if connection.execute(select(secret_table.c.value)).first() is None:
        connection.execute(secret_table.insert().values(name="arena", value=secrets.token_hex(32)))


def _version(connection: Connection) -> int:
    if not inspect(connection).has_table(versions.name):
        return 0
    return connection.execute(select(versions.c.version)).scalar() or 0


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
