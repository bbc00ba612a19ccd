"""What an administrator changes holds at once, for everybody, and can be read afterwards."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.arena.conftest import Clock
from tests.arena.example_run import write_run
from toolkit.arena.battles import BattlePool, load_battle_pool, merge_pools
from toolkit.arena.pairing import RIGHT, WRONG, build_attention_check
from toolkit.arena.service import RETRY_SECONDS, ArenaService, NotAllowed, Rules
from toolkit.arena.settings import ArenaSettings
from toolkit.arena.store import Store
from toolkit.errors import DataError


def test_a_closed_arena_takes_no_votes(service: ArenaService) -> None:
    ballot = service.ballot("ann")
    service.settings_store.change(ArenaSettings(open=False), "enough votes")
    with pytest.raises(NotAllowed, match="closed"):
        service.vote("ann", ballot.id, "a")
    service._clock.now += 1
    service.settings_store.change(
        service.settings_store.control.model_copy(update={"open": True}), "once more"
    )
    with pytest.raises(NotAllowed, match="void"):
        service.vote("ann", ballot.id, "a")
    again = service.ballot("ann")
    assert again.id != ballot.id, "names were shown meanwhile"
    service.vote("ann", again.id, "a")
    assert len(service.store.vote_rows(repeats=False)) == 1


def test_a_blocked_voter_is_stopped_and_not_counted_but_stays_in_the_log(service: ArenaService) -> None:
    ballot = service.ballot("ann")
    service.vote("ann", ballot.id, "a")
    service.settings_store.block("ann", "votes for A whatever it says")
    assert service.store.vote_rows(repeats=False) == []
    assert sum(service.tally().votes.values()) == 0
    assert len(service.store.log(ballot.id)) == 1
    with pytest.raises(NotAllowed, match="may not vote"):
        service.ballot("ann")
    service.settings_store.block("ann", "it was a mistake", blocked=False)
    assert len(service.store.vote_rows(repeats=False)) == 1


def test_only_chosen_contestants_meet(service: ArenaService) -> None:
    service.settings_store.change(ArenaSettings(contestants=("heron-a1", "otter-b2")), "final")
    for _ in range(10):
        reveal = service.vote("ann", service.ballot("ann").id, "tie")
        assert {reveal.ballot.contestant_a, reveal.ballot.contestant_b} == {"heron-a1", "otter-b2"}


def test_another_process_follows(service: ArenaService, url: str) -> None:
    other = ArenaService(service.pool, Store(url), clock=service._clock)
    assert other.settings_store.control.open
    service.settings_store.change(ArenaSettings(open=False), "enough votes")
    service._clock.now += 3
    assert not other.settings_store.control.open


def test_one_contestant_alone_is_refused(service: ArenaService) -> None:
    with pytest.raises(DataError, match="two contestants, not only `otter-b2`"):
        service.settings_store.change(ArenaSettings(contestants=("otter-b2",)), "the best")
    assert service.settings_store.control == ArenaSettings()


def test_a_clock_that_is_put_back_delays_nothing(service: ArenaService, url: str) -> None:
    other = ArenaService(service.pool, Store(url), clock=Clock())
    assert other.settings_store.control.open
    assert not other.tally().votes
    service.vote("ann", service.ballot("ann").id, "a")
    service.settings_store.change(ArenaSettings(open=False), "enough votes")
    other._clock.now -= 3600
    assert not other.settings_store.control.open
    assert sum(other.tally().votes.values()) == 1


def test_another_runs_contestants_join_on_the_same_prompts(service: ArenaService, tmp_path: Path) -> None:
    guest = write_run(tmp_path / "guest")
    both = merge_pools(service.pool, load_battle_pool(guest))
    assert len(both.contestants) == 6
    assert len(both.answers) == len(service.pool.answers)
    assert both.battles["badger-c3", "guest/otter-b2"]
    assert not both.battles["guest/otter-b2", "otter-b2"], "the same text twice is no battle"
    service.settings_store.change(ArenaSettings(runs=(str(guest),)), "the old ones too")
    assert len(service.pool.contestants) == 6
    assert service.effective_settings.problems == ()


def test_a_further_run_that_is_gone_stops_nothing_and_the_administrator_is_notified(
    pool: BattlePool, url: str, clock: Clock, tmp_path: Path
) -> None:
    guest, other = write_run(tmp_path / "guest"), write_run(tmp_path / "other")
    service = ArenaService(pool, Store(url), clock=clock)
    service.register_voter("ann")
    service.settings_store.change(ArenaSettings(runs=(str(guest), str(other))), "all of them")
    assert len(service.pool.contestants) == 9

    guest.rename(tmp_path / "away")
    restarted = ArenaService(pool, Store(url), clock=clock)
    assert len(restarted.pool.contestants) == 6
    assert not any(name.startswith("guest/") for name in restarted.pool.contestants)
    restarted.vote("ann", restarted.ballot("ann").id, "a")
    (message,) = restarted.effective_settings.problems
    assert message.startswith(f"A further run takes no part. {guest}: no completions/*.jsonl here")
    assert "\n" not in message

    (tmp_path / "away").rename(guest)
    clock.now += RETRY_SECONDS + 1
    assert len(restarted.pool.contestants) == 9
    assert restarted.effective_settings.problems == ()


def test_chosen_contestants_of_a_run_that_is_gone_are_missed_not_replaced(
    service: ArenaService, tmp_path: Path
) -> None:
    gone = ArenaSettings(runs=(str(tmp_path / "guest"),), contestants=("guest/otter-b2", "otter-b2"))
    service.settings_store.change(gone, "old against new")
    assert service.pool.contestants == ("otter-b2",)
    assert service.ballot("ann") is None
    assert service.progress(service.tally()) == (0, 0)
    assert service.effective_settings.problems[1] == (
        "Of the chosen contestants only otter-b2 is there, so nobody can vote: choose others."
    )


def test_attention_checks_look_like_battles_and_do_not_count(service: ArenaService) -> None:
    watchful = ArenaService(
        service.pool, service.store, Rules(check_every=3, per_minute=1000), service._clock
    )
    kinds = []
    for voter in ("ann", "bob") * 15:
        ballot = watchful.ballot(voter)
        assert set(ballot.model_dump()) == {"id", "messages", "answer_a", "answer_b", "cut"}
        reveal = watchful.vote(voter, ballot.id, "a")
        kinds.append(reveal.ballot.kind)
        if reveal.ballot.kind == "check":
            right = (
                reveal.ballot.contestant_a if reveal.ballot.expected == "a" else reveal.ballot.contestant_b
            )
            assert right == RIGHT
            assert {reveal.ballot.contestant_a, reveal.ballot.contestant_b} == {RIGHT, WRONG}
    assert 3 <= kinds.count("check") <= 18
    assert kinds[0] == "battle"
    assert len(service.store.vote_rows(repeats=False)) == kinds.count("battle")
    assert len(service.store.cast_votes(kinds=("check",))) == kinds.count("check")


def test_checks_that_were_met_are_followed_by_battles(pool: BattlePool, url: str, clock: Clock) -> None:
    """Two examples make few checks; a voter who has met them is not told that nothing is left."""
    few = {example: pool.answers[example] for example in ("house-00", "house-01")}
    service = ArenaService(
        replace(pool, answers=few), Store(url), Rules(check_every=1, per_minute=1000), clock
    )
    service.register_voter("ann")
    kinds = []
    while ballot := service.ballot("ann"):
        kinds.append(service.vote("ann", ballot.id, "tie").ballot.kind)
    assert kinds.count("battle") == 2, "one pair on each example"


def test_a_check_shows_no_self_revealing_answer(pool: BattlePool) -> None:
    informing = frozenset(answer.id for answer in pool.answers["house-00"].values())
    rng = np.random.default_rng(0)
    some = replace(pool, flagged=informing)
    planted = [build_attention_check(some, set(), rng) for _ in range(300)]
    own = {answer.completion for answer in pool.answers["house-00"].values()}
    assert all(fields["example_id"] != "house-00" for fields in planted if fields)
    assert not any(fields[side] in own for fields in planted if fields for side in ("answer_a", "answer_b"))
