"""The vote store: ballots, votes and voters. A vote is acknowledged only after it is committed.

Every method is one short transaction. Retries, double clicks, reloads and second tabs hit the constraints in
`schema` and receive what is already stored.
"""

import hashlib
import hmac
import json
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from itertools import count
from typing import Any, NamedTuple

from sqlalchemy import Connection, Executable, Row, Select, and_, func, or_, select, union
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from toolkit.arena.battles import (
    Ballot,
    Cast,
    Kind,
    Reveal,
    battle_key,
    new_id,
    prompt_text,
    storable,
    text_key,
)
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
SIMULATED: Kind = "simulated"
"""Kind of ballots that no person voted on: imported as such, and counted nowhere among people's."""
FROM_FILES = ("imported", SIMULATED)
"""Kinds of ballots that an import may repeat: a file's voter may vote on a battle twice."""

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
    weight: float = 1.0

    @property
    def vote(self) -> Vote:
        fields = self._asdict()
        kind: Any = SIMULATED if self.kind == SIMULATED else "person"
        return Vote(kind=kind, **{name: fields[name] for name in _SHARED_FIELDS})


_SHARED_FIELDS = [name for name in VoteRow._fields if name in Vote.model_fields and name != "kind"]


class LogState(NamedTuple):
    """Version of the store's contents: cheap to read, changes whenever the votes change."""

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
        self._secret = str(self._scalar(select(secret_table.c.value))).encode()

    def keyed_hash(self, *parts: str) -> str:
        """Hash under the arena's secret, 32 hex digits: nobody else can compute it."""
        return hmac.new(self._secret, "\x1f".join(parts).encode(), hashlib.sha256).hexdigest()[:32]

    def close(self) -> None:
        self._database.close()

    # Voters and settings

    def add_voter(self, voter: str, kind: str, at: float, address: str | None = None) -> None:
        """Insert a voter if not present."""
        self._insert_new(voters, {"id": voter, "kind": kind, "created_at": at, "address": address})

    def cookie_voter(self, token: str) -> str:
        """Id of the voter with a cookie; a new one after an account took over the votes of the one before."""
        taken = select(voters.c.id).where(voters.c.account.is_not(None))
        names = (self.keyed_hash("cookie", token, str(times)) for times in count())
        return next(name for name in names if not self._rows(taken.where(voters.c.id == name)))

    def join_account(self, voter: str, account: str) -> None:
        """Count a cookie's votes as an account's from now on."""
        where = and_(voters.c.id == voter, voters.c.kind == "cookie", voters.c.account.is_(None))
        self._run(voters.update().where(where).values(account=account))

    def voter_addresses(self) -> dict[str, str]:
        """Voter -> hash of their network address, of voters without an account."""
        query = select(voters.c.id, voters.c.address).where(
            voters.c.address.is_not(None), voters.c.kind != "signed-in", voters.c.account.is_(None)
        )
        return {row.id: row.address for row in self._rows(query)}

    def has_voter(self, voter: str) -> bool:
        return bool(self._rows(select(voters.c.id).where(voters.c.id == voter)))

    def voter_preferences(self, voter: str) -> dict[str, Any]:
        """How a voter wants the pages."""
        return self._scalar(select(voters.c.preferences).where(voters.c.id == voter)) or {}

    def set_voter(self, voter: str, **values: Any) -> None:
        """Store `preferences` or `finished_at` of a voter."""
        self._run(voters.update().where(voters.c.id == voter).values(**values))

    def finished_at(self, voter: str) -> float:
        """When names were last opened to this voter; 0: never."""
        return float(self._scalar(select(func.max(voters.c.finished_at)).where(_is_person(voter))) or 0.0)

    def record_event(self, subject: str, value: Any, reason: str, at: float, actor: str = "") -> None:
        """Append an administrator event on a setting or a voter."""
        row = {"subject": subject, "value": value, "reason": reason, "at": at, "actor": actor}
        self._run(events.insert().values(row))

    def count_events(self, subject: str, since: float) -> int:
        """How many events of a subject there were after a time."""
        query = select(func.count()).select_from(events)
        return int(self._scalar(query.where(events.c.subject == subject, events.c.at > since)))

    def event_log(self, limit: int = 50) -> list[dict[str, Any]]:
        """The newest events, with who made them."""
        rows = self._rows(select(events).order_by(events.c.id.desc()).limit(limit))
        return [dict(row._mapping) for row in rows]

    def block(self, voter: str, reason: str, at: float, actor: str = "", *, blocked: bool = True) -> None:
        """Leave out a voter's votes from now on, or count them again."""
        self.record_event(f"{BLOCKED}{voter}", blocked, reason, at, actor)

    def blocked(self, decisions: dict[str, Any] | None = None) -> set[str]:
        """Ids of blocked voters."""
        known = self.current_events() if decisions is None else decisions
        return {name.removeprefix(BLOCKED) for name, on in known.items() if name.startswith(BLOCKED) and on}

    def current_events(self) -> dict[str, Any]:
        """Subject -> the value in force."""
        query = select(events.c.subject, events.c.value).order_by(events.c.id)
        return {row.subject: row.value for row in self._rows(query)}

    # Ballots

    def add_ballot(self, ballot: Ballot) -> Ballot | None:
        """Store a ballot before it is shown; returns the one that has its number now.

        That may be of another tab of this voter; `None`: the voter has met this battle before.
        """
        try:
            with self._database.write() as connection:
                self._insert_new(texts, *_bodies([ballot]), connection=connection)
                connection.execute(ballots.insert().values(_row_of(ballot)))
        except IntegrityError:
            return self._ballot(self._is_voter(ballot.voter), ballots.c.number == ballot.number)
        return ballot

    def load(self, lines: Sequence[tuple[Ballot, Cast]], corrections: Sequence[Cast] = ()) -> int:
        """Add votes cast elsewhere and revisions of such, all or none; returns how many were not there."""
        with self._database.write() as connection:
            known: set[str] = set()
            for some in _chunks([ballot.id for ballot, _ in lines]):
                known.update(connection.execute(select(ballots.c.id).where(ballots.c.id.in_(some))).scalars())
            for cast in corrections:
                last = select(func.max(casts.c.revision)).where(casts.c.ballot == cast.ballot)
                revision = int(connection.execute(last).scalar() or 0) + 1
                connection.execute(casts.insert().values(_row_of_cast(cast) | {"revision": revision}))
            new = [(ballot, cast) for ballot, cast in lines if ballot.id not in known]
            if not new:
                return 0
            who = list(dict.fromkeys(ballot.voter for ballot, _ in new))
            people = [{"id": voter, "kind": new[0][0].kind, "created_at": 0.0} for voter in who]
            self._insert_new(voters, *people, connection=connection)
            self._insert_new(texts, *_bodies([ballot for ballot, _ in new]), connection=connection)
            numbers: Counter[str] = Counter()
            for some in _chunks(who):
                last = select(ballots.c.voter, func.max(ballots.c.number)).group_by(ballots.c.voter)
                found = connection.execute(last.where(ballots.c.voter.in_(some)))
                numbers.update({row[0]: row[1] for row in found})
            rows = []
            for ballot, _ in new:
                numbers[ballot.voter] += 1
                rows.append(_row_of(ballot) | {"number": numbers[ballot.voter]})
            connection.execute(ballots.insert(), rows)
            connection.execute(casts.insert(), [_row_of_cast(cast) for _, cast in new])
        return len(new)

    def ballot(self, ballot_id: str) -> Ballot | None:
        return self._ballot(ballots.c.id == ballot_id)

    def newest_ballot(self, voter: str, run: str) -> tuple[Ballot | None, Cast | None, int]:
        """A voter's last ballot of a run, what was cast on it, and the number (over all runs) of the next."""
        mine = self._is_voter(voter)
        query = select(func.max(ballots.c.number)).where(mine)
        number = self._scalar(query)
        last = self._scalar(query.where(ballots.c.run == run, ballots.c.kind != "live"))
        ballot = None if last is None else self._ballot(mine, ballots.c.number == last)
        return ballot, self.cast(ballot.id) if ballot else None, 0 if number is None else number + 1

    def seen_battles(self, voter: str) -> set[str]:
        """Keys of the battles a voter was shown."""
        return {row.battle for row in self._rows(select(ballots.c.battle).where(self._is_voter(voter)))}

    def revealed_answers(self, voter: str, before: float) -> tuple[set[tuple[str, str]], set[str]]:
        """Answers whose author a voter knows, of votes cast before a time.

        Keys of prompt and answer (as in `BattlePool.places`), and examples looked at on the page Compare.
        """
        query = select(ballots.c.messages, ballots.c.answer_a, ballots.c.answer_b)
        query = query.join(casts, casts.c.ballot == ballots.c.id).where(self._is_voter(voter))
        query = query.where(casts.c.revision == 0, casts.c.action == "vote", casts.c.cast_at <= before)
        viewed = self._rows(select(views.c.example_id).where(views.c.voter == voter))
        answers = {(row[0], answer) for row in self._rows(query) for answer in row[1:]}
        return answers, {row.example_id for row in viewed}

    def add_view(self, voter: str, example: str) -> None:
        """Record that a voter saw who wrote the answers to an example."""
        self._insert_new(views, {"voter": voter, "example_id": example})

    # Votes

    def add_cast(self, cast: Cast) -> Cast:
        """Commit one line of the vote log; if that revision is there already, return the one that is."""
        try:
            self._run(casts.insert().values(_row_of_cast(cast)))
        except IntegrityError:
            query = select(casts).where(casts.c.ballot == cast.ballot, casts.c.revision == cast.revision)
            return _cast_of(self._rows(query)[0])
        return cast

    def cast(self, ballot_id: str) -> Cast | None:
        """The line of the vote log that counts for this ballot."""
        return next(reversed(self.log(ballot_id)), None)

    def log(self, ballot_id: str) -> list[Cast]:
        """Every line about one ballot, corrections included."""
        query = select(casts).where(casts.c.ballot == ballot_id).order_by(casts.c.revision)
        return [_cast_of(row) for row in self._rows(query)]

    def votes_since(self, voter: str, since: float, address: str | None = None) -> int:
        """How many ballots this voter, or this address, voted on or skipped after a time; no corrections."""
        recent = select(casts.c.ballot).where(casts.c.revision == 0, casts.c.cast_at > since)
        counted = select(func.count()).select_from(_BY_VOTER).where(_is_person(voter, address))
        new = [row.ballot for row in self._rows(recent)]  # planners would begin with all of an address
        return sum(int(self._scalar(counted.where(ballots.c.id.in_(some)))) for some in _chunks(new))

    def history(self, voter: str, limit: int = 50) -> list[Reveal]:
        """A voter's own votes, newest first."""
        query = _votes_query(ballots.c.id, *_CAST_COLUMNS).where(self._is_voter(voter))
        return self._reveals(query.order_by(ballots.c.number.desc()).limit(limit))

    # What was voted on, together

    def log_state(self) -> LogState:
        """A value that changes when the votes may have changed."""
        parts = (func.max(casts.c.id), func.max(events.c.id), func.count(voters.c.account))
        row = self._rows(select(*(select(part).scalar_subquery() for part in parts)))[0]
        return LogState(*(int(value or 0) for value in row))

    def log_lines(self, after: int) -> dict[int, str]:
        """The lines of the vote log after this one, each with its ballot."""
        query = select(casts.c.id, casts.c.ballot).where(casts.c.id > after)
        return {row.id: row.ballot for row in self._rows(query)}

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
            repeats: with votes on answers whose author had been revealed to the voter before.
            only: of these ballots, at most `CHUNK`.
            answers: as they are now; votes on stored answers that have been replaced are left out, and votes
                on other versions of the run (`mine` of `mine-2`) count where both answers are the same.
            everyone: with blocked voters.
        """
        shown = ("battle", "example_id", "contestant_a", "contestant_b")
        columns = [casts.c.id, *(ballots.c[name] for name in shown), casts.c.outcome, WHO.label("voter")]
        columns += [ballots.c.category, casts.c.cast_at, casts.c.seconds, ballots.c.kind, ballots.c.repeat]
        columns += [ballots.c.id.label("ballot"), func.coalesce(ballots.c.weight, 1.0).label("weight")]
        columns += [ballots.c.answer_a, ballots.c.answer_b, ballots.c.run]
        query = _votes_query(*columns).order_by(casts.c.id).where(ballots.c.kind.in_(kinds))
        if only is not None:
            query = query.where(ballots.c.id.in_(only))
        if run is not None:
            family = VERSION.sub("", run)
            versions = or_(ballots.c.run == family, ballots.c.run.like(f"{family}-%"))
            query = query.where(versions if answers else ballots.c.run == run)
        left_out = set() if everyone else self.blocked()
        current = {
            (example, name): text_key(text)
            for example, by_name in (answers or {}).items()
            for name, text in by_name.items()
        }
        found = [(VoteRow._make(row[:-3]), row[-3:]) for row in self._rows(query)]
        return [
            row
            for row, keys in found
            if row.voter not in left_out
            and (repeats or not row.repeat)
            and not _is_replaced(row, keys, current, run)
        ]

    def votes_on(self, ids: Sequence[str]) -> dict[str, VoteRow]:
        """Ballot id -> the vote of a person that counts for it, of any run and blocked voters too."""
        found = (row for some in _chunks(ids) for row in self.vote_rows(only=some, everyone=True))
        return {row.ballot: row for row in found}

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
        for side in "ab":
            query = select(ballots.c.example_id, ballots.c[f"contestant_{side}"], texts.c.body).distinct()
            query = query.join(texts, texts.c.id == ballots.c[f"answer_{side}"])
            query = query.where(ballots.c.run == run, ballots.c.kind.in_(("live", *FROM_FILES)))
            for example, contestant, body in self._rows(query.where(texts.c.body != "")):
                found[example, contestant] = body
        return found

    def forget(self, voter: str, *, remove: bool) -> int:
        """Delete a voter's data; their ballots are deleted or anonymised. Returns the number of ballots."""
        substitute = self.keyed_hash("forgotten", new_id())
        with self._database.write() as connection:
            ids = list(connection.execute(select(voters.c.id).where(_is_person(voter))).scalars())
            mine = select(ballots.c.id).where(ballots.c.voter.in_(ids))
            had = connection.execute(mine.order_by(ballots.c.number, ballots.c.id)).scalars().all()
            connection.execute(views.delete().where(views.c.voter.in_(ids)))
            subjects = [f"{prefix}{name}" for prefix in (BLOCKED, "password:") for name in ids]
            connection.execute(events.delete().where(events.c.subject.in_(subjects)))
            if remove:
                connection.execute(casts.delete().where(casts.c.ballot.in_(mine)))
                connection.execute(ballots.delete().where(ballots.c.voter.in_(ids)))
            elif ids:
                nobody = {"id": substitute, "kind": "forgotten", "created_at": 0.0}
                self._insert_new(voters, nobody, connection=connection)
                connection.execute(casts.update().where(casts.c.ballot.in_(mine)).values(comment=""))
                for number, ballot in enumerate(had):
                    values = {"voter": substitute, "number": number}
                    connection.execute(ballots.update().where(ballots.c.id == ballot).values(**values))
            connection.execute(voters.delete().where(voters.c.id.in_(ids)))
            columns = (ballots.c.messages, ballots.c.reference, ballots.c.answer_a, ballots.c.answer_b)
            used = union(*(select(column).where(column.is_not(None)) for column in columns)).subquery()
            connection.execute(texts.delete().where(texts.c.id.not_in(select(used.c[0]))))
            note = {"subject": FORGOTTEN, "value": substitute, "reason": "on request", "at": time.time()}
            connection.execute(events.insert().values(**note, actor="command line"))
        return len(had)

    # Statements and records

    def _rows(self, query: Select[Any]) -> Sequence[Any]:
        with self._database.read() as connection:
            return connection.execute(query).all()

    def _scalar(self, query: Select[Any]) -> Any:
        with self._database.read() as connection:
            return connection.execute(query).scalar()

    def _run(self, statement: Executable) -> None:
        with self._database.write() as connection:
            connection.execute(statement)

    def _insert_new(self, table: Any, *rows: dict[str, Any], connection: Connection | None = None) -> None:
        insert = postgresql.insert if self._database.dialect == "postgresql" else sqlite.insert
        with nullcontext(connection) if connection else self._database.write() as writes:
            writes.execute(insert(table).on_conflict_do_nothing(), list(rows))

    def _is_voter(self, voter: str) -> Any:
        """A person's ballots; with the ids filled in, since planners do badly with a subquery here."""
        rows = self._rows(select(voters.c.id).where(_is_person(voter)))
        return ballots.c.voter.in_([row.id for row in rows])

    def _reveals(self, query: Select[Any]) -> list[Reveal]:
        rows = self._rows(query)
        found = self._ballots([row.id for row in rows])
        return [Reveal(ballot=found[row.id], cast=_cast_of(row)) for row in rows if row.id in found]

    def _ballot(self, *where: Any) -> Ballot | None:
        rows = self._rows(select(ballots.c.id).select_from(_BY_VOTER).where(and_(*where)))
        return self._ballots([rows[0].id])[rows[0].id] if rows else None

    def _ballots(self, ids: Sequence[str]) -> dict[str, Ballot]:
        columns = [WHO.label("voter") if column.name == "voter" else column for column in ballots.c]
        query = select(*columns).select_from(_BY_VOTER)
        found: dict[str, Ballot] = {}
        for chunk in _chunks(ids):
            rows = self._rows(query.where(ballots.c.id.in_(chunk)))
            keys = {row._mapping[name] for row in rows for name in _TEXTS} - {None}
            bodies = {row.id: row.body for row in self._rows(select(texts).where(texts.c.id.in_(keys)))}
            found |= {row.id: _ballot_of(row, bodies) for row in rows}
        return found


_TEXTS = ("messages", "reference", "answer_a", "answer_b")
"""Columns of a ballot that hold keys of texts."""


def _chunks(values: Sequence[str]) -> Iterator[Sequence[str]]:
    return (values[start : start + CHUNK] for start in range(0, len(values), CHUNK))


_BY_VOTER = ballots.join(voters, voters.c.id == ballots.c.voter)

_CAST_COLUMNS = [casts.c[name] for name in Cast.model_fields]


def _is_person(voter: str, address: str | None = None) -> Any:
    """A person's rows of the voters' table; with an address, all voters' without an account there too."""
    own = or_(voters.c.id == voter, voters.c.account == voter)
    there = and_(voters.c.address == address, voters.c.account.is_(None), voters.c.kind != "signed-in")
    return own if address is None else or_(own, there)


def _votes_query(*columns: Any) -> Select[Any]:
    latest = _BY_VOTER.join(casts, and_(casts.c.ballot == ballots.c.id, IS_NEWEST))
    return select(*columns).select_from(latest).where(casts.c.action == "vote")


def _bodies(shown: Sequence[Ballot]) -> list[dict[str, Any]]:
    bodies = [
        storable(body)
        for ballot in shown
        for body in (prompt_text(ballot.messages), ballot.answer_a, ballot.answer_b, ballot.reference)
        if body is not None
    ]
    return [{"id": key, "body": body} for key, body in {text_key(body): body for body in bodies}.items()]


def _row_of(ballot: Ballot) -> dict[str, Any]:
    sides = (ballot.contestant_a, ballot.answer_a), (ballot.contestant_b, ballot.answer_b)
    return ballot.model_dump() | {
        "battle": ballot.id if ballot.kind in FROM_FILES else battle_key(ballot.example_id, *sides),
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

    `keys` are of both answers that it is on, then its run; `current` has the (example, contestant)'s now.
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
