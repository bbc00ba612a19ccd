"""A large arena: the votes in memory follow the log as if all were read afresh, without being read again."""

from __future__ import annotations

import random

import pytest

from tests.arena.conftest import Clock
from toolkit.arena.battles import BattlePool
from toolkit.arena.service import ArenaService, Rules
from toolkit.arena.store import Store
from toolkit.arena.tally import CountedVotes, VoteLog


@pytest.fixture
def service(pool: BattlePool, url: str, clock: Clock) -> ArenaService:
    service = ArenaService(pool, Store(url), Rules(per_minute=1000), clock)
    for voter in ("ann", "bob", "cy"):
        service.register_voter(voter)
    return service


def content(votes: CountedVotes) -> tuple[object, ...]:
    """All that pages read of the votes."""
    tally = {pair: count for pair, count in votes.tally.votes.items() if count}
    points = {pair: points for pair, points in votes.tally.points.items() if points}
    return sorted(votes.rows), sorted(votes.repeats), sorted(votes.crowded), tally, points


def fresh(service: ArenaService) -> CountedVotes:
    again = ArenaService(service.pool, service.store, service.rules, service._clock)
    return again.votes()


def test_votes_corrections_and_decisions_arrive_as_if_all_were_read_again(
    service: ArenaService, clock: Clock
) -> None:
    other = ArenaService(
        service.pool, Store(str(service.store._database.shown_url)), service.rules, service._clock
    )
    luck = random.Random(0)
    for step in range(60):
        clock.now += 3
        there = ["ann"] + ["cy"] * (step <= 30) + ["bob"] * (step <= 20 or 40 < step <= 50)
        voter = luck.choice(there)
        where = luck.choice([service, other])
        if ballot := where.ballot(voter):
            where.vote(voter, ballot.id, luck.choice(["a", "b", "tie", "both_bad"]))
            if step % 5 == 0:
                where.annotate(voter, ballot.id, ("clear",), "so")
            if step % 7 == 0:
                where.undo(voter, ballot.id)
        if step in (20, 40):
            service.settings_store.block("bob", "why", blocked=step == 20)
        if step == 30:
            where.store.join_account("cy", "ann")
        if step == 50:
            where.store.forget("bob", remove=True)
        assert content(service.votes()) == content(fresh(service)), f"after step {step}"
    assert len(service.votes().rows) > 20


def test_only_new_votes_are_read(service: ArenaService, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    rows_of = service.store.vote_rows

    def counted(*arguments: object, **options: object) -> object:
        rows = rows_of(*arguments, **options)
        read.append(len(rows))
        return rows

    for _ in range(10):
        service.vote("ann", service.ballot("ann").id, "a")
    service.votes()
    monkeypatch.setattr(service.store, "vote_rows", counted)
    for _ in range(3):
        service.votes()
    assert read == [], "nothing changed"
    service.store.record_event("password", "wrong password", "", 0.0)
    ballot = service.ballot("bob")
    service.vote("bob", ballot.id, "b")
    service.annotate("bob", ballot.id, (), "why")
    assert len(service.votes().rows) == 11
    assert sum(read) == 1, "a guess of the password is no reason to read all votes"


def test_a_line_that_another_process_commits_late_is_found(service: ArenaService) -> None:
    first, late = service.ballot("ann"), service.ballot("bob")
    service.vote("ann", first.id, "a")
    with service.store._database.write() as connection:
        connection.exec_driver_sql("UPDATE arena_votes SET id = 8")
    service.votes()
    service.vote("bob", late.id, "b")
    with (
        service.store._database.write() as connection
    ):  # numbered before the one that is known, seen after it
        connection.exec_driver_sql(f"UPDATE arena_votes SET id = 7 WHERE ballot = '{late.id}'")
    service.vote("cy", service.ballot("cy").id, "a")
    assert len(service.votes().rows) == 3


def test_a_log_in_memory_is_made_again_when_the_limit_of_an_address_changes(service: ArenaService) -> None:
    for number in range(4):
        service.register_voter(f"v{number}", address="192.0.2.1")
        service.vote(f"v{number}", service.ballot(f"v{number}").id, "a")
    log = VoteLog(service.store, service.pool.run, {})
    assert [len(log.read(limit).rows) for limit in (0, 2, 3)] == [4, 2, 3]
