"""Tables, migrations and connections of the vote store.

Constraints enforce the invariants: a voter's ballots are numbered without gaps (two tabs open the same one),
no voter sees a battle twice, and a ballot's revisions are unique (a vote that is sent twice is stored once).
"""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, IntegrityError, SQLAlchemyError

from toolkit.errors import StoreError

ID_LENGTH = 32
"""Characters of a ballot's id at the most."""

metadata = sa.MetaData()

versions = sa.Table("arena_schema", metadata, sa.Column("version", sa.Integer, primary_key=True))

texts = sa.Table(
    "arena_texts",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("body", sa.Text, nullable=False),
)
"""Prompts and answers by content hash; kept even when the run is deleted."""

voters = sa.Table(
    "arena_voters",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("address", sa.String(64)),
    sa.Column("account", sa.String(64)),
    sa.Column("finished_at", sa.Float),
    sa.Column("preferences", sa.JSON),
)
"""`address`: keyed hash of the network address; `account`: the voter whose sign-in took over this cookie's
votes; `finished_at`: when names were last opened to a voter of an arena that reveals at the end."""

secret_table = sa.Table(
    "arena_secrets",
    metadata,
    sa.Column("name", sa.String(32), primary_key=True),
    sa.Column("value", sa.String(64)),
)
views = sa.Table(
    "arena_views",
    metadata,
    sa.Column("voter", sa.String(64), primary_key=True),
    sa.Column("example_id", sa.String(200), primary_key=True),
)
"""Examples whose authors a voter saw on the page Compare."""

ballots = sa.Table(
    "arena_ballots",
    metadata,
    sa.Column("id", sa.String(ID_LENGTH), primary_key=True),
    sa.Column("voter", sa.ForeignKey("arena_voters.id"), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("battle", sa.String(64), nullable=False),
    sa.Column("run", sa.String(200), nullable=False),
    sa.Column("example_id", sa.String(200), nullable=False),
    sa.Column("category", sa.String(200)),
    sa.Column("contestant_a", sa.String(200), nullable=False),
    sa.Column("contestant_b", sa.String(200), nullable=False),
    sa.Column("messages", sa.ForeignKey("arena_texts.id"), nullable=False),
    sa.Column("reference", sa.ForeignKey("arena_texts.id")),
    sa.Column("answer_a", sa.ForeignKey("arena_texts.id"), nullable=False),
    sa.Column("answer_b", sa.ForeignKey("arena_texts.id"), nullable=False),
    sa.Column("expected", sa.String(16)),
    sa.Column("shown_at", sa.Float, nullable=False),
    sa.Column("cut", sa.String(2)),
    sa.Column("repeat", sa.Boolean),
    sa.Column("pair_probability", sa.Float),
    sa.Column("probability", sa.Float),
    sa.Column("weight", sa.Float),
    sa.UniqueConstraint("voter", "number"),
    sa.UniqueConstraint("voter", "battle"),
)
sa.Index("arena_ballots_run", ballots.c.run, ballots.c.kind)

casts = sa.Table(
    "arena_votes",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("ballot", sa.ForeignKey("arena_ballots.id"), nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("action", sa.String(16), nullable=False),
    sa.Column("outcome", sa.String(16)),
    sa.Column("tags", sa.JSON, nullable=False),
    sa.Column("comment", sa.Text, nullable=False),
    sa.Column("cast_at", sa.Float, nullable=False),
    sa.Column("seconds", sa.Float),
    sa.UniqueConstraint("ballot", "revision"),
)
"""The vote log: lines are only ever added."""
indexes = (
    sa.Index("arena_votes_time", casts.c.cast_at),
    sa.Index("arena_voters_account", voters.c.account),
    sa.Index("arena_voters_address", voters.c.address),
)

events = sa.Table(
    "arena_events",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("subject", sa.String(200), nullable=False, index=True),
    sa.Column("value", sa.JSON, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("actor", sa.String(200)),
)
"""What administrators decided (settings, blocked voters); the newest line of a subject is in force."""


def _add_draws_and_origins(connection: sa.Connection) -> None:
    """To version 2: how ballots were drawn, how long votes took, where voters come from, who administers."""
    _add_columns(connection, voters, "address", "account", "finished_at", "preferences")
    _add_columns(connection, ballots, "cut", "repeat", "pair_probability", "probability")
    _add_columns(connection, casts, "seconds")
    _add_columns(connection, events, "actor")
    metadata.create_all(connection, tables=[secret_table, views])


def _add_indexes(connection: sa.Connection) -> None:
    """To version 3: the votes of the last minute, of an account or an address are found among many."""
    for index in indexes:
        index.create(connection, checkfirst=True)


def _add_columns(connection: sa.Connection, table: sa.Table, *names: str) -> None:
    for name in names:
        kind = table.c[name].type.compile(connection.dialect)
        connection.execute(sa.text(f'ALTER TABLE {table.name} ADD COLUMN "{name}" {kind}'))


MIGRATIONS: tuple[Callable[[sa.Connection], None], ...] = (
    _add_draws_and_origins,
    _add_indexes,
    lambda connection: _add_columns(connection, ballots, "weight"),  # to version 4
)
"""Step n brings a store from version n + 1, which had the tables of the first release, to n + 2."""


def migrate(connection: sa.Connection) -> None:
    """Bring the store to this program's version, in the caller's transaction; `StoreError`: it is newer."""
    if connection.dialect.name == "postgresql":  # two processes that start at once take turns
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(7318349)"))
    is_new = not sa.inspect(connection).has_table(versions.name)
    version = 0 if is_new else connection.execute(sa.select(versions.c.version)).scalar() or 0
    newest = 1 + len(MIGRATIONS)
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
    if connection.execute(sa.select(secret_table.c.value)).first() is None:
        connection.execute(secret_table.insert().values(name="arena", value=secrets.token_hex(32)))


WAIT = 30
"""Seconds a writer waits for its turn."""


class Database:
    """An engine whose transactions are either read-only or take the write lock from their first statement."""

    def __init__(self, url: str) -> None:
        """Connect, and create or migrate the tables; `StoreError` where that cannot be done."""
        self.shown_url = url
        try:
            self.shown_url = sa.make_url(url).render_as_string(hide_password=True)
            self._engine = _engine(url)
            with self.write() as connection:
                migrate(connection)
        except (ArgumentError, ModuleNotFoundError) as error:
            raise StoreError(f"{self.shown_url}: not a usable database URL: {error}") from None

    @property
    def dialect(self) -> str:
        return self._engine.dialect.name

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        with self._reported(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
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
        except IntegrityError:
            raise
        except SQLAlchemyError as error:
            cause = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
            raise StoreError(f"{self.shown_url}: the vote store failed: {cause}") from error


def _engine(url: str) -> sa.Engine:
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "postgresql" and parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() != "sqlite":
        return sa.create_engine(parsed, pool_pre_ping=True, pool_size=10, max_overflow=20)
    engine = sa.create_engine(parsed, connect_args={"timeout": WAIT})
    sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions are begun below, not guessed by the driver
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: sa.Connection) -> None:
    """A writer takes its lock at once: upgrading a read lock would fail instead of waiting."""
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
