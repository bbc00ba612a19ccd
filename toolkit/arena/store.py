"""The vote store: ballots, votes and voters. A vote is acknowledged only after it is committed.

Every method is one short transaction. Retries, double clicks, reloads and second tabs hit the constraints in
`schema` and receive what is already stored.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, Select, and_, func, or_, select, union
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from toolkit.arena.battles import Ballot, Cast, Reveal, battle_key, new_id, prompt_text, storable, text_key
from toolkit.arena.schema import Database, ballots, casts, events, secret_table, texts, views, voters
from toolkit.types import Message, Outcome, Vote

_REVISIONS = casts.alias()
IS_NEWEST = casts.c.revision == (
    select(func.max(_REVISIONS.c.revision)).where(_REVISIONS.c.ballot == ballots.c.id).scalar_subquery()
)
"""Selects the line of the vote log that counts for a ballot."""

WHO = func.coalesce(voters.c.account, voters.c.id)
"""The voter of a ballot: the account that took over a cookie's votes, else as stored."""

VOTE_KINDS = ("battle", "live", "imported")

OWN_QUESTIONS = "own questions"
"""Category of votes on voters' own questions, which are kept apart from the task's."""

BLOCKED = "blocked:"
"""Prefix of the voter id in the subject of a block event."""

FORGOTTEN = "a voter's data deleted"
"""Subject of the event of a deletion."""

CHUNK = 500
"""Maximum ids per statement; databases limit its parameters."""


Answers = Mapping[str, Mapping[str, str]]
"""Example id -> contestant -> the text of its answer."""

VERSION = re.compile(r"-\d+$")
"""What the name of a run's later version ends with."""


class VoteRow(NamedTuple):
    """One vote that counts, without its texts; named as in `Vote`."""

    id: int
    """Line of the vote log; later votes have higher ones."""
    battle_id: str
    example_id: str
    model_a: str
    model_b: str
    outcome: Outcome
    voter: str
    category: str | None
    cast_at: float
    seconds: float | None
    kind: str
    repeat: bool | None
    ballot: str = ""

    @property
    def vote(self) -> Vote:
        fields = self._asdict()
        return Vote(kind="person", **{name: fields[name] for name in _SHARED_FIELDS})


_SHARED_FIELDS = [name for name in VoteRow._fields if name in Vote.model_fields and name != "kind"]


class LogState(NamedTuple):
    """How far the store has come: cheap to read, and changed whenever the votes are."""

    last: int
    """Highest line of the vote log."""
    events: int
    """Highest line of the administrators' events."""
    accounts: int
    """Cookies whose votes an account took over."""


class Store:
    """Ballots, votes and voters in one database."""

    def __init__(self, url: str) -> None:
        self._database = Database(url)
        with self._database.read() as connection:
            self._secret = str(connection.execute(select(secret_table.c.value)).scalar_one()).encode()

    def keyed_hash(self, *parts: str) -> str:
        """Hash under the arena's secret, 32 hex digits: nobody else can compute it."""
        return hmac.new(self._secret, "\x1f".join(parts).encode(), hashlib.sha256).hexdigest()[:32]

    def close(self) -> None:
        self._database.close()

    # Voters and settings

    def add_voter(self, voter: str, kind: str, at: float, address: str | None = None) -> None:
        """Insert a voter if not present."""
        row = {"id": voter, "kind": kind, "created_at": at, "address": address}
        with self._database.write() as connection:
            self._add(connection, voters, [row])

    def cookie_voter(self, token: str) -> str:
        """Id of the voter with a cookie; a new one after an account took over the votes of the one before."""
        taken = select(voters.c.id).where(voters.c.account.is_not(None))
        with self._database.read() as connection:
            for times in count():
                voter = self.keyed_hash("cookie", token, str(times))
                if connection.execute(taken.where(voters.c.id == voter)).first() is None:
                    return voter
        raise AssertionError

    def join_account(self, voter: str, account: str) -> None:
        """Count a cookie's votes as an account's from now on."""
        where = and_(voters.c.id == voter, voters.c.kind == "cookie", voters.c.account.is_(None))
        with self._database.write() as connection:
            connection.execute(voters.update().where(where).values(account=account))

    def voter_addresses(self) -> dict[str, str]:
        """Voter -> hash of their network address, of voters without an account."""
        query = select(voters.c.id, voters.c.address).where(
            voters.c.address.is_not(None), voters.c.kind != "signed-in", voters.c.account.is_(None)
        )
        with self._database.read() as connection:
            return {row.id: row.address for row in connection.execute(query)}

    def has_voter(self, voter: str) -> bool:
        with self._database.read() as connection:
            return connection.execute(select(voters.c.id).where(voters.c.id == voter)).first() is not None

    def voter_preferences(self, voter: str) -> dict[str, Any]:
        """How a voter wants the pages."""
        with self._database.read() as connection:
            return connection.execute(select(voters.c.preferences).where(voters.c.id == voter)).scalar() or {}

    def set_voter(self, voter: str, **values: Any) -> None:
        """Store `preferences` or `finished_at` of a voter."""
        with self._database.write() as connection:
            connection.execute(voters.update().where(voters.c.id == voter).values(**values))

    def finished_at(self, voter: str) -> float:
        """When names were last opened to this voter; 0: never."""
        query = select(func.max(voters.c.finished_at)).where(_is_person(voter))
        with self._database.read() as connection:
            return float(connection.execute(query).scalar() or 0.0)

    def record_event(self, subject: str, value: Any, reason: str, at: float, actor: str = "") -> None:
        """Append an administrator event on a setting or a voter."""
        row = {"subject": subject, "value": value, "reason": reason, "at": at, "actor": actor}
        with self._database.write() as connection:
            connection.execute(events.insert().values(row))

    def count_events(self, subject: str, since: float) -> int:
        """How many events of a subject there were after a time."""
        query = select(func.count()).where(events.c.subject == subject, events.c.at > since)
        with self._database.read() as connection:
            return int(connection.execute(query.select_from(events)).scalar_one())

    def event_log(self, limit: int = 50) -> list[dict[str, Any]]:
        """The newest events, with who made them."""
        with self._database.read() as connection:
            rows = connection.execute(select(events).order_by(events.c.id.desc()).limit(limit))
            return [dict(row._mapping) for row in rows]

    def block(self, voter: str, reason: str, at: float, actor: str = "", *, blocked: bool = True) -> None:
        """Leave out a voter's votes from now on, or count them again."""
        self.record_event(f"{BLOCKED}{voter}", blocked, reason, at, actor)

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
        bodies = {text_key(body): body for body in _bodies(ballot)}
        try:
            with self._database.write() as connection:
                self._add(connection, texts, [{"id": key, "body": body} for key, body in bodies.items()])
                connection.execute(ballots.insert().values(_row_of(ballot)))
        except IntegrityError:
            with self._database.read() as connection:
                mine = _is_voter(connection, ballot.voter)
                return self._one(connection, mine, ballots.c.number == ballot.number)
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
                bodies = {text_key(body): body for ballot, _ in new for body in _bodies(ballot)}
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
        with self._database.read() as connection:
            mine = _is_voter(connection, voter)
            query = select(func.max(ballots.c.number)).where(mine)
            number = connection.execute(query).scalar_one()
            here = query.where(ballots.c.run == run, ballots.c.kind != "live")
            last = connection.execute(here).scalar_one()
            ballot = None if last is None else self._one(connection, mine, ballots.c.number == last)
            cast = self._cast(connection, ballot.id) if ballot else None
            return ballot, cast, 0 if number is None else number + 1

    def seen_battles(self, voter: str) -> set[str]:
        """Keys of the battles a voter was shown."""
        with self._database.read() as connection:
            query = select(ballots.c.battle).where(_is_voter(connection, voter))
            return set(connection.execute(query).scalars())

    def told_answers(self, voter: str, before: float) -> tuple[set[tuple[str, str]], set[str]]:
        """Answers whose author a voter knows, of votes cast before a time.

        Returns:
            Keys of prompt and answer (`BattlePool.text_keys`), and examples looked at on the page Compare.
        """
        sides = [ballots.c.messages, ballots.c.answer_a, ballots.c.answer_b]
        query = select(*sides).select_from(ballots.join(casts, casts.c.ballot == ballots.c.id))
        query = query.where(casts.c.revision == 0, casts.c.action == "vote", casts.c.cast_at <= before)
        viewed = select(views.c.example_id).where(views.c.voter == voter)
        with self._database.read() as connection:
            rows = connection.execute(query.where(_is_voter(connection, voter))).all()
            return (
                {(messages, answer) for messages, *answers in rows for answer in answers},
                set(connection.execute(viewed).scalars()),
            )

    def add_view(self, voter: str, example: str) -> None:
        """Record that a voter saw who wrote the answers to an example."""
        with self._database.write() as connection:
            self._add(connection, views, [{"voter": voter, "example_id": example}])

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

    def votes_since(self, voter: str, since: float, address: str | None = None) -> int:
        """How many ballots this voter, or this address, voted on or skipped after a time; no corrections."""
        recent = select(casts.c.ballot).where(casts.c.revision == 0, casts.c.cast_at > since)
        count_of = select(func.count()).select_from(_BY_VOTER).where(_is_person(voter, address))
        with self._database.read() as connection:  # planners would begin with all ballots of an address
            new = list(connection.execute(recent).scalars())
            parts = (count_of.where(ballots.c.id.in_(new[i : i + CHUNK])) for i in range(0, len(new), CHUNK))
            return sum(int(connection.execute(part).scalar_one()) for part in parts)

    def history(self, voter: str, limit: int = 50) -> list[Reveal]:
        """A voter's own votes, newest first."""
        with self._database.read() as connection:
            mine = _is_voter(connection, voter)
        query = _votes_query(ballots.c.id, *_CAST_COLUMNS).where(mine)
        return self._reveals(query.order_by(ballots.c.number.desc()).limit(limit))

    # What was voted on, together

    def log_state(self) -> LogState:
        """What tells whether the votes may have changed."""
        parts = (func.max(casts.c.id), func.max(events.c.id), func.count(voters.c.account))
        query = select(*(select(part).scalar_subquery() for part in parts))
        with self._database.read() as connection:
            return LogState(*(int(value or 0) for value in connection.execute(query).one()))

    def log_lines(self, after: int) -> dict[int, str]:
        """The lines of the vote log after this one, each with its ballot."""
        query = select(casts.c.id, casts.c.ballot).where(casts.c.id > after)
        with self._database.read() as connection:
            return {row.id: row.ballot for row in connection.execute(query)}

    def vote_rows(
        self,
        run: str | None = None,
        *,
        kinds: Sequence[str] = VOTE_KINDS,
        repeats: bool = True,
        only: Sequence[str] | None = None,
        answers: Answers | None = None,
        everyone: bool = False,
    ) -> list[VoteRow]:
        """The votes that count, oldest first; blocked voters are left out, except for `everyone`.

        Args:
            run: name of one run; left out, of all.
            kinds: of ballots.
            repeats: with votes on answers whose author the voter had been told before.
            only: of these ballots, at most `CHUNK`.
            answers: as they are now; votes on stored answers that have been replaced are left out, and votes
                on other versions of the run (`mine` of `mine-2`) count where both answers are the same.
            everyone: with blocked voters.
        """
        sides = [ballots.c[name] for name in ("battle", "example_id", "contestant_a", "contestant_b")]
        cast = [ballots.c.category, casts.c.cast_at, casts.c.seconds]
        columns = [casts.c.id, *sides, casts.c.outcome, WHO.label("voter"), *cast, ballots.c.kind]
        columns += [ballots.c.repeat, ballots.c.id.label("ballot")]
        answer_keys = [ballots.c.answer_a, ballots.c.answer_b, ballots.c.run]
        query = _votes_query(*columns, *answer_keys).order_by(casts.c.id).where(ballots.c.kind.in_(kinds))
        if only is not None:
            query = query.where(ballots.c.id.in_(only))
        if run is not None:
            family = VERSION.sub("", run)
            versions = or_(ballots.c.run == family, ballots.c.run.like(f"{family}-%"))
            query = query.where(versions if answers else ballots.c.run == run)
        left_out = set() if everyone else self.blocked()
        with self._database.read() as connection:
            rows = [tuple(row) for row in connection.execute(query).all()]
        current = {
            (example, name): text_key(text)
            for example, by_name in (answers or {}).items()
            for name, text in by_name.items()
        }
        found = [(VoteRow._make(row[:-3]), row[-3:]) for row in rows]
        return [
            row
            for row, keys in found
            if row.voter not in left_out
            and (repeats or not row.repeat)
            and not _is_replaced(row, keys, current, run)
        ]

    def votes(
        self, run: str | None = None, *, without: Iterable[str] = (), answers: Answers | None = None
    ) -> list[Vote]:
        """The votes of `vote_rows` without repeats, and without the voters in `without`."""
        left_out = set(without)
        rows = self.vote_rows(run, repeats=False, answers=answers)
        return [row.vote for row in rows if row.voter not in left_out]

    def cast_votes(
        self,
        run: str | None = None,
        *,
        kinds: Sequence[str] = VOTE_KINDS,
        example: str | None = None,
        repeats: bool = True,
    ) -> list[Reveal]:
        """The votes that count with their full texts, oldest first; blocked voters are left out."""
        query = _votes_query(ballots.c.id, *_CAST_COLUMNS).where(ballots.c.kind.in_(kinds))
        if run is not None:
            query = query.where(ballots.c.run == run)
        if example is not None:
            query = query.where(ballots.c.example_id == example)
        if not repeats:
            query = query.where(or_(ballots.c.repeat.is_(None), ballots.c.repeat.is_(False)))
        return self._reveals(query.where(WHO.not_in(self.blocked())).order_by(casts.c.id))

    def answer_texts(self, run: str) -> dict[tuple[str, str], str]:
        """(example, contestant) -> answer, of the votes of a run on other than its stored answers."""
        found: dict[tuple[str, str], str] = {}
        with self._database.read() as connection:
            for side in "ab":
                name, key = ballots.c[f"contestant_{side}"], ballots.c[f"answer_{side}"]
                query = select(ballots.c.example_id, name, texts.c.body).distinct()
                query = query.join(texts, texts.c.id == key)
                query = query.where(ballots.c.run == run, ballots.c.kind.in_(("live", "imported")))
                for example, contestant, body in connection.execute(query.where(texts.c.body != "")):
                    found[example, contestant] = body
        return found

    def log(self, ballot_id: str) -> list[Cast]:
        """Every line about one ballot, corrections included."""
        query = select(casts).where(casts.c.ballot == ballot_id).order_by(casts.c.revision)
        with self._database.read() as connection:
            return [_cast_of(row) for row in connection.execute(query)]

    def forget(self, voter: str, *, remove: bool) -> int:
        """Delete what is known of a voter; their votes are removed too, or kept without the person.

        Returns:
            How many ballots the voter had.
        """
        substitute = self.keyed_hash("forgotten", new_id())
        with self._database.write() as connection:
            ids = list(connection.execute(select(voters.c.id).where(_is_person(voter))).scalars())
            mine = select(ballots.c.id).where(ballots.c.voter.in_(ids))
            had = int(connection.execute(select(func.count()).select_from(mine.subquery())).scalar_one())
            connection.execute(views.delete().where(views.c.voter.in_(ids)))
            subjects = [f"{prefix}{name}" for prefix in (BLOCKED, "password:") for name in ids]
            connection.execute(events.delete().where(events.c.subject.in_(subjects)))
            if remove:
                connection.execute(casts.delete().where(casts.c.ballot.in_(mine)))
                connection.execute(ballots.delete().where(ballots.c.voter.in_(ids)))
            elif ids:
                self._add(connection, voters, [{"id": substitute, "kind": "forgotten", "created_at": 0.0}])
                connection.execute(casts.update().where(casts.c.ballot.in_(mine)).values(comment=""))
                rows = connection.execute(mine.order_by(ballots.c.number, ballots.c.id)).scalars().all()
                for number, ballot in enumerate(rows):
                    values = {"voter": substitute, "number": number}
                    connection.execute(ballots.update().where(ballots.c.id == ballot).values(**values))
            connection.execute(voters.delete().where(voters.c.id.in_(ids)))
            self._drop_unused_texts(connection)
            note = {"subject": FORGOTTEN, "value": substitute, "reason": "on request", "at": time.time()}
            connection.execute(events.insert().values(**note, actor="command line"))
        return had

    @staticmethod
    def _drop_unused_texts(connection: Connection) -> None:
        columns = (ballots.c.messages, ballots.c.reference, ballots.c.answer_a, ballots.c.answer_b)
        used = union(*(select(column).where(column.is_not(None)) for column in columns)).subquery()
        connection.execute(texts.delete().where(texts.c.id.not_in(select(used.c[0]))))

    # Rows to records

    def _reveals(self, query: Select[Any]) -> list[Reveal]:
        with self._database.read() as connection:
            rows = connection.execute(query).all()
            found = self._ballots(connection, [row.id for row in rows])
        return [Reveal(ballot=found[row.id], cast=_cast_of(row)) for row in rows]

    def _one(self, connection: Connection, *where: Any) -> Ballot | None:
        query = select(ballots.c.id).select_from(_BY_VOTER).where(and_(*where))
        row = connection.execute(query).first()
        return self._ballots(connection, [row.id])[row.id] if row else None

    def _ballots(self, connection: Connection, ids: Sequence[str]) -> dict[str, Ballot]:
        found: dict[str, Ballot] = {}
        for start in range(0, len(ids), CHUNK):
            chunk = ids[start : start + CHUNK]
            columns = [WHO.label("voter") if column.name == "voter" else column for column in ballots.c]
            query = select(*columns).select_from(_BY_VOTER).where(ballots.c.id.in_(chunk))
            rows = connection.execute(query).all()
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


_BY_VOTER = ballots.join(voters, voters.c.id == ballots.c.voter)

_CAST_COLUMNS = [casts.c[name] for name in Cast.model_fields]


def _is_person(voter: str, address: str | None = None) -> Any:
    """A person's rows of the voters' table; with an address, all voters' without an account there too."""
    own = or_(voters.c.id == voter, voters.c.account == voter)
    there = and_(voters.c.address == address, voters.c.account.is_(None), voters.c.kind != "signed-in")
    return own if address is None else or_(own, there)


def _is_voter(connection: Connection, voter: str, address: str | None = None) -> Any:
    """A person's ballots; with the ids filled in, since planners do badly with a subquery here."""
    ids = connection.execute(select(voters.c.id).where(_is_person(voter, address))).scalars()
    return ballots.c.voter.in_(list(ids))


def _votes_query(*columns: Any) -> Select[Any]:
    """The votes that count, of all kinds of ballots."""
    latest = _BY_VOTER.join(casts, and_(casts.c.ballot == ballots.c.id, IS_NEWEST))
    return select(*columns).select_from(latest).where(casts.c.action == "vote")


def _bodies(ballot: Ballot) -> list[str]:
    bodies = [prompt_text(ballot.messages), storable(ballot.answer_a), storable(ballot.answer_b)]
    return [*bodies, storable(ballot.reference)] if ballot.reference is not None else bodies


def _row_of(ballot: Ballot) -> dict[str, Any]:
    sides = (ballot.contestant_a, ballot.answer_a), (ballot.contestant_b, ballot.answer_b)
    return ballot.model_dump() | {
        "battle": ballot.id if ballot.kind == "imported" else battle_key(ballot.example_id, *sides),
        "messages": text_key(prompt_text(ballot.messages)),
        "reference": None if ballot.reference is None else text_key(ballot.reference),
        "answer_a": text_key(ballot.answer_a),
        "answer_b": text_key(ballot.answer_b),
    }


def _row_of_cast(cast: Cast) -> dict[str, Any]:
    return cast.model_dump() | {
        "tags": [storable(tag) for tag in cast.tags],
        "comment": storable(cast.comment),
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


def _is_replaced(
    row: VoteRow, keys: Sequence[str], current: Mapping[tuple[str, str], str], run: str | None
) -> bool:
    """Whether a vote is on stored answers that are others by now, or on those of a run that is no version.

    Args:
        row: the vote.
        keys: of both answers that it is on, and its run.
        current: (example, contestant) -> key of the answer now.
        run: that is read.
    """
    a, b, of_run = keys
    now_a = now_b = None
    if row.kind == "battle":
        now_a, now_b = (current.get((row.example_id, name)) for name in (row.model_a, row.model_b))
    if run is not None and of_run != run:
        return VERSION.sub("", of_run) != VERSION.sub("", run) or (now_a, now_b) != (a, b)
    return (now_a or a, now_b or b) != (a, b)


def _cast_of(row: Row[Any]) -> Cast:
    return Cast.model_validate({name: row._mapping[name] for name in Cast.model_fields})
