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
def desk(pool: BattlePool, url: str, clock: Clock) -> ArenaService:
    desk = ArenaService(pool, Store(url), Rules(per_minute=1000), clock)
    for voter in ("ann", "bob", "cy"):
        desk.register_voter(voter)
    return desk


def content(votes: CountedVotes) -> tuple[object, ...]:
    """All that pages read of the votes."""
    tally = {pair: count for pair, count in votes.tally.votes.items() if count}
    points = {pair: points for pair, points in votes.tally.points.items() if points}
    return sorted(votes.rows), sorted(votes.repeats), sorted(votes.crowded), tally, points


def fresh(desk: ArenaService) -> CountedVotes:
    again = ArenaService(desk.pool, desk.store, desk.rules, desk._clock)
    return again.votes()


def test_votes_corrections_and_decisions_arrive_as_if_all_were_read_again(
    desk: ArenaService, clock: Clock
) -> None:
    other = ArenaService(desk.pool, Store(str(desk.store._database.shown_url)), desk.rules, desk._clock)
    luck = random.Random(0)
    for step in range(60):
        clock.now += 3
        there = ["ann"] + ["cy"] * (step <= 30) + ["bob"] * (step <= 20 or 40 < step <= 50)
        voter = luck.choice(there)
        where = luck.choice([desk, other])
        if ballot := where.ballot(voter):
            where.vote(voter, ballot.id, luck.choice(["a", "b", "tie", "both_bad"]))
            if step % 5 == 0:
                where.annotate(voter, ballot.id, ("clear",), "so")
            if step % 7 == 0:
                where.undo(voter, ballot.id)
        if step in (20, 40):
            desk.settings_store.block("bob", "why", blocked=step == 20)
        if step == 30:
            where.store.join_account("cy", "ann")
        if step == 50:
            where.store.forget("bob", remove=True)
        assert content(desk.votes()) == content(fresh(desk)), f"after step {step}"
    assert len(desk.votes().rows) > 20


def test_only_new_votes_are_read(desk: ArenaService, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    rows_of = desk.store.vote_rows

    def counted(*arguments: object, **options: object) -> object:
        rows = rows_of(*arguments, **options)
        read.append(len(rows))
        return rows

    for _ in range(10):
        desk.vote("ann", desk.ballot("ann").id, "a")
    desk.votes()
    monkeypatch.setattr(desk.store, "vote_rows", counted)
    for _ in range(3):
        desk.votes()
    assert read == [], "nothing changed"
    desk.store.record_event("password", "wrong password", "", 0.0)
    ballot = desk.ballot("bob")
    desk.vote("bob", ballot.id, "b")
    desk.annotate("bob", ballot.id, (), "why")
    assert len(desk.votes().rows) == 11
    assert sum(read) == 1, "a guess of the password is no reason to read all votes"


def test_a_line_that_another_process_commits_late_is_found(desk: ArenaService) -> None:
    first, late = desk.ballot("ann"), desk.ballot("bob")
    desk.vote("ann", first.id, "a")
    with desk.store._database.write() as connection:
        connection.exec_driver_sql("UPDATE arena_votes SET id = 8")
    desk.votes()
    desk.vote("bob", late.id, "b")
    with desk.store._database.write() as connection:  # numbered before the one that is known, seen after it
        connection.exec_driver_sql(f"UPDATE arena_votes SET id = 7 WHERE ballot = '{late.id}'")
    desk.vote("cy", desk.ballot("cy").id, "a")
    assert len(desk.votes().rows) == 3


def test_a_log_in_memory_is_made_again_when_the_limit_of_an_address_changes(desk: ArenaService) -> None:
    for number in range(4):
        desk.register_voter(f"v{number}", address="192.0.2.1")
        desk.vote(f"v{number}", desk.ballot(f"v{number}").id, "a")
    log = VoteLog(desk.store, desk.pool.run, {})
    assert [len(log.read(limit).rows) for limit in (0, 2, 3)] == [4, 2, 3]
