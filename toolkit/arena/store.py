"""The vote store: ballots, votes and voters. A vote is acknowledged only after it is committed.

Every method is one short transaction. Retries, double clicks, reloads and second tabs hit the constraints in
`schema` and receive what is already stored.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from toolkit.arena.battles import Ballot, Cast, Reveal, battle_key
from toolkit.arena.schema import Database, ballots, casts, events, texts, voters
from toolkit.types import Message, Outcome, Record, Vote

NEWEST = (
    select(casts.c.ballot, func.max(casts.c.revision).label("revision")).group_by(casts.c.ballot).subquery()
)
"""The revision of each ballot that counts."""

BLOCKED = "blocked:"
"""Prefix of the voter id in the subject of a block event."""

CHUNK = 500
"""Maximum ids per statement; databases limit its parameters."""


Answers = Mapping[str, Mapping[str, str]]
"""Example id -> contestant -> the text of its answer."""


class BattleCount(Record):
    """How often one battle was shown and how it ended: a row of the tally that pairing works from."""

    example_id: str
    contestant_a: str
    contestant_b: str
    action: str | None
    outcome: Outcome | None
    times: int


class Store:
    """Ballots, votes and voters in one database."""

    def __init__(self, url: str) -> None:
        self._database = Database(url)

    def close(self) -> None:
        self._database.close()

    # Voters and settings

    def add_voter(self, voter: str, kind: str, at: float) -> None:
        """Insert a voter if not present."""
        with self._database.write() as connection:
            self._add(connection, voters, [{"id": voter, "kind": kind, "created_at": at}])

    def record_event(self, subject: str, value: Any, reason: str, at: float) -> None:
        """Append an administrator event on a setting or a voter."""
        with self._database.write() as connection:
            connection.execute(events.insert().values(subject=subject, value=value, reason=reason, at=at))

    def block(self, voter: str, reason: str, at: float, *, blocked: bool = True) -> None:
        """Leave out a voter's votes from now on, or count them again."""
        self.record_event(f"{BLOCKED}{voter}", blocked, reason, at)

    def blocked(self, decisions: dict[str, Any] | None = None) -> set[str]:
        """Ids of blocked voters."""
        known = self.current_events() if decisions is None else decisions
        return {
            subject.removeprefix(BLOCKED)
            for subject, on in known.items()
            if subject.startswith(BLOCKED) and on
        }

    def current_events(self) -> dict[str, Any]:
        """Subject -> the value in force."""
        query = select(events.c.subject, events.c.value).order_by(events.c.id)
        with self._database.read() as connection:
            return {row.subject: row.value for row in connection.execute(query)}

    # Ballots

    def add_ballot(self, ballot: Ballot) -> Ballot | None:
        """Store a ballot before it is shown.

        Returns:
            The ballot; or the one that another tab of this voter stored under the same number; or `None` when
            the voter has met this battle before.
        """
        bodies = {_key(body): body for body in _bodies(ballot)}
        try:
            with self._database.write() as connection:
                self._add(connection, texts, [{"id": key, "body": body} for key, body in bodies.items()])
                connection.execute(ballots.insert().values(_row_of(ballot)))
        except IntegrityError:
            with self._database.read() as connection:
                return self._one(
                    connection, ballots.c.voter == ballot.voter, ballots.c.number == ballot.number
                )
        return ballot

    def load(self, lines: Sequence[tuple[Ballot, Cast]]) -> int:
        """Add votes cast elsewhere, all or none; returns how many were not there yet."""
        with self._database.write() as connection:
            known: set[str] = set()
            for start in range(0, len(lines), CHUNK):
                ids = [ballot.id for ballot, _ in lines[start : start + CHUNK]]
                known.update(connection.execute(select(ballots.c.id).where(ballots.c.id.in_(ids))).scalars())
            new = [(ballot, cast) for ballot, cast in lines if ballot.id not in known]
            if new:
                who = {
                    ballot.voter: {"id": ballot.voter, "kind": "imported", "created_at": 0.0}
                    for ballot, _ in new
                }
                bodies = {_key(body): body for ballot, _ in new for body in _bodies(ballot)}
                self._add(connection, voters, list(who.values()))
                self._add(connection, texts, [{"id": key, "body": body} for key, body in bodies.items()])
                numbers = self._last_numbers(connection, list(who))
                rows = []
                for ballot, _ in new:
                    numbers[ballot.voter] += 1
                    rows.append(_row_of(ballot) | {"number": numbers[ballot.voter]})
                connection.execute(ballots.insert(), rows)
                connection.execute(casts.insert(), [_row_of_cast(cast) for _, cast in new])
        return len(new)

    @staticmethod
    def _last_numbers(connection: Connection, who: Sequence[str]) -> Counter[str]:
        """How many ballots each of these voters has."""
        found: Counter[str] = Counter()
        for start in range(0, len(who), CHUNK):
            some = ballots.c.voter.in_(who[start : start + CHUNK])
            query = select(ballots.c.voter, func.max(ballots.c.number)).where(some).group_by(ballots.c.voter)
            found.update({voter: last for voter, last in connection.execute(query)})  # noqa: C416 - rows to pairs
        return found

    def ballot(self, ballot_id: str) -> Ballot | None:
        with self._database.read() as connection:
            return self._one(connection, ballots.c.id == ballot_id)

    def newest_ballot(self, voter: str, run: str) -> tuple[Ballot | None, Cast | None, int]:
        """A voter's last ballot from the run, what was cast on it, and the number of their next ballot.

        Ballots are numbered through all runs whose votes are kept here.
        """
        mine = select(func.max(ballots.c.number)).where(ballots.c.voter == voter)
        last = mine.where(ballots.c.run == run, ballots.c.kind != "live").scalar_subquery()
        with self._database.read() as connection:
            ballot = self._one(connection, ballots.c.voter == voter, ballots.c.number == last)
            number = connection.execute(mine).scalar_one()
            cast = self._cast(connection, ballot.id) if ballot else None
            return ballot, cast, 0 if number is None else number + 1

    def seen_battles(self, voter: str) -> set[str]:
        """Keys of the battles a voter was shown."""
        with self._database.read() as connection:
            return set(connection.execute(select(ballots.c.battle).where(ballots.c.voter == voter)).scalars())

    def questions_since(self, voter: str, since: float) -> int:
        """How many questions of their own this voter had answered after a time."""
        query = (
            select(func.count())
            .select_from(ballots)
            .where(ballots.c.voter == voter, ballots.c.kind == "live", ballots.c.shown_at > since)
        )
        with self._database.read() as connection:
            return int(connection.execute(query).scalar_one())

    # Votes

    def add_cast(self, cast: Cast) -> Cast:
        """Commit one line of the vote log; if that revision is there already, return the one that is."""
        try:
            with self._database.write() as connection:
                connection.execute(casts.insert().values(_row_of_cast(cast)))
        except IntegrityError:
            with self._database.read() as connection:
                query = select(casts).where(casts.c.ballot == cast.ballot, casts.c.revision == cast.revision)
                return _cast_of(connection.execute(query).one())
        return cast

    def cast(self, ballot_id: str) -> Cast | None:
        """The line of the vote log that counts for this ballot."""
        with self._database.read() as connection:
            return self._cast(connection, ballot_id)

    def votes_since(self, voter: str, since: float) -> int:
        """How many ballots this voter voted on or skipped after a time; corrections are not counted."""
        query = (
            select(func.count())
            .select_from(casts.join(ballots, casts.c.ballot == ballots.c.id))
            .where(ballots.c.voter == voter, casts.c.revision == 0, casts.c.cast_at > since)
        )
        with self._database.read() as connection:
            return int(connection.execute(query).scalar_one())

    def history(self, voter: str, limit: int = 50) -> list[Reveal]:
        """A voter's own votes, newest first."""
        query = _votes_query().where(ballots.c.voter == voter).order_by(ballots.c.number.desc()).limit(limit)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
            found = self._ballots(connection, [row.id for row in rows])
        return [Reveal(ballot=found[row.id], cast=_cast_of(row)) for row in rows]

    # What was voted on, together

    def tally(self, run: str) -> list[BattleCount]:
        """Every battle of a run that was shown, with its outcomes.

        Attention checks and blocked voters are left out.
        """
        columns = (ballots.c.example_id, ballots.c.contestant_a, ballots.c.contestant_b)
        query = (
            select(*columns, casts.c.action, casts.c.outcome, func.count().label("times"))
            .select_from(_with_newest())
            .where(ballots.c.run == run, ballots.c.kind == "battle", ballots.c.voter.not_in(self.blocked()))
            .group_by(*columns, casts.c.action, casts.c.outcome)
        )
        with self._database.read() as connection:
            return [BattleCount.model_validate(dict(row._mapping)) for row in connection.execute(query)]

    def votes(
        self, run: str | None = None, *, without: Iterable[str] = (), answers: Answers | None = None
    ) -> list[Vote]:
        """The votes that count, oldest first.

        Attention checks, blocked voters and the voters in `without` are left out, and, where `answers` are
        given, votes on stored answers that have been replaced since.
        """
        query = _votes_query().where(ballots.c.kind != "check").order_by(casts.c.id)
        if run is not None:
            query = query.where(ballots.c.run == run)
        left_out = self.blocked() | set(without)
        with self._database.read() as connection:
            rows = [row for row in connection.execute(query) if row.voter not in left_out]
        return [_vote_of(row) for row in rows if not _replaced(row, answers or {})]

    def cast_votes(
        self,
        run: str | None = None,
        *,
        kinds: Sequence[str] = ("battle", "live", "imported"),
        example: str | None = None,
    ) -> list[Reveal]:
        """The votes that count with their full texts, oldest first; blocked voters are left out."""
        query = _votes_query().where(ballots.c.kind.in_(kinds)).order_by(casts.c.id)
        if run is not None:
            query = query.where(ballots.c.run == run)
        if example is not None:
            query = query.where(ballots.c.example_id == example)
        query = query.where(ballots.c.voter.not_in(self.blocked()))
        with self._database.read() as connection:
            rows = connection.execute(query).all()
            found = self._ballots(connection, [row.id for row in rows])
        return [Reveal(ballot=found[row.id], cast=_cast_of(row)) for row in rows]

    def log(self, ballot_id: str) -> list[Cast]:
        """Every line about one ballot, corrections included."""
        query = select(casts).where(casts.c.ballot == ballot_id).order_by(casts.c.revision)
        with self._database.read() as connection:
            return [_cast_of(row) for row in connection.execute(query)]

    # Rows to records

    def _one(self, connection: Connection, *where: Any) -> Ballot | None:
        row = connection.execute(select(ballots.c.id).where(and_(*where))).first()
        return self._ballots(connection, [row.id])[row.id] if row else None

    def _ballots(self, connection: Connection, ids: Sequence[str]) -> dict[str, Ballot]:
        found: dict[str, Ballot] = {}
        for start in range(0, len(ids), CHUNK):
            chunk = ids[start : start + CHUNK]
            rows = connection.execute(select(ballots).where(ballots.c.id.in_(chunk))).all()
            bodies = self._texts(connection, rows)
            found |= {row.id: _ballot_of(row, bodies) for row in rows}
        return found

    def _texts(self, connection: Connection, rows: Sequence[Row[Any]]) -> dict[str, str]:
        keys = {
            key for row in rows for key in (row.messages, row.reference, row.answer_a, row.answer_b) if key
        }
        query = select(texts).where(texts.c.id.in_(keys))
        return {row.id: row.body for row in connection.execute(query)}

    def _cast(self, connection: Connection, ballot_id: str) -> Cast | None:
        query = select(casts).where(casts.c.ballot == ballot_id).order_by(casts.c.revision.desc()).limit(1)
        row = connection.execute(query).first()
        return _cast_of(row) if row else None

    def _add(self, connection: Connection, table: Any, rows: list[dict[str, Any]]) -> None:
        """Insert the rows that are not there yet."""
        insert = postgresql.insert if self._database.dialect == "postgresql" else sqlite.insert
        connection.execute(insert(table).on_conflict_do_nothing(), rows)


def _with_newest() -> Any:
    """Ballots, each with the line of the vote log that counts, if any."""
    latest = casts.join(
        NEWEST, and_(casts.c.ballot == NEWEST.c.ballot, casts.c.revision == NEWEST.c.revision)
    )
    return ballots.join(latest, casts.c.ballot == ballots.c.id, isouter=True)


def _votes_query() -> Select[Any]:
    columns = [column for column in ballots.c if column.name not in ("messages", "reference")]
    newest = [
        casts.c[name] for name in ("ballot", "revision", "action", "outcome", "tags", "comment", "cast_at")
    ]
    return select(*columns, *newest).select_from(_with_newest()).where(casts.c.action == "vote")


def _bodies(ballot: Ballot) -> list[str]:
    bodies = [_prompt(ballot), _storable(ballot.answer_a), _storable(ballot.answer_b)]
    return [*bodies, _storable(ballot.reference)] if ballot.reference is not None else bodies


def _storable(text: str) -> str:
    """The text as every database can keep it: PostgreSQL has no NUL."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def _prompt(ballot: Ballot) -> str:
    turns = [message.as_dict() | {"content": _storable(message.content)} for message in ballot.messages]
    return json.dumps(turns, ensure_ascii=False)


def _key(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()


def _row_of(ballot: Ballot) -> dict[str, Any]:
    sides = (ballot.contestant_a, ballot.answer_a), (ballot.contestant_b, ballot.answer_b)
    return ballot.model_dump() | {
        "battle": ballot.id if ballot.kind == "imported" else battle_key(ballot.example_id, *sides),
        "messages": _key(_prompt(ballot)),
        "reference": None if ballot.reference is None else _key(_storable(ballot.reference)),
        "answer_a": _key(_storable(ballot.answer_a)),
        "answer_b": _key(_storable(ballot.answer_b)),
    }


def _row_of_cast(cast: Cast) -> dict[str, Any]:
    return cast.model_dump() | {
        "tags": [_storable(tag) for tag in cast.tags],
        "comment": _storable(cast.comment),
    }


def _ballot_of(row: Row[Any], bodies: dict[str, str]) -> Ballot:
    fields = {name: value for name, value in row._mapping.items() if name in Ballot.model_fields}
    return Ballot.model_validate(
        fields
        | {
            "messages": tuple(Message.model_validate(m) for m in json.loads(bodies[row.messages])),
            "reference": bodies[row.reference] if row.reference else None,
            "answer_a": bodies[row.answer_a],
            "answer_b": bodies[row.answer_b],
        }
    )


def _replaced(row: Row[Any], answers: Answers) -> bool:
    """Whether a vote is on stored answers that are others by now."""
    now = answers.get(row.example_id, {}) if row.kind == "battle" else {}
    sides = ((row.contestant_a, row.answer_a), (row.contestant_b, row.answer_b))
    return any(name in now and _key(_storable(now[name])) != key for name, key in sides)


def _cast_of(row: Row[Any]) -> Cast:
    return Cast.model_validate({name: row._mapping[name] for name in Cast.model_fields})


def _vote_of(row: Row[Any]) -> Vote:
    return Vote(
        battle_id=row.battle,
        example_id=row.example_id,
        model_a=row.contestant_a,
        model_b=row.contestant_b,
        outcome=row.outcome,
        voter=row.voter,
        category=row.category,
        cast_at=row.cast_at,
    )
