"""What an administrator changes holds at once, for everybody, and can be read afterwards."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.arena.conftest import Clock
from tests.arena.household import write_run
from toolkit.arena.checks import RIGHT, WRONG, plant
from toolkit.arena.contest import Contest, joined, read_contest
from toolkit.arena.control import Control
from toolkit.arena.desk import LOOK_AGAIN, Desk, NotAllowed, Rules
from toolkit.arena.store import Store
from toolkit.errors import DataError


def test_a_closed_arena_takes_no_votes(desk: Desk) -> None:
    ballot = desk.ballot("ann")
    desk.office.change(Control(open=False), "enough votes")
    with pytest.raises(NotAllowed, match="closed"):
        desk.vote("ann", ballot.id, "a")
    desk.office.change(Control(), "once more")
    desk.vote("ann", ballot.id, "a")
    assert len(desk.store.votes()) == 1


def test_a_blocked_voter_is_stopped_and_not_counted_but_stays_in_the_log(desk: Desk) -> None:
    ballot = desk.ballot("ann")
    desk.vote("ann", ballot.id, "a")
    desk.office.block("ann", "votes for A whatever it says")
    assert desk.store.votes() == []
    assert desk.store.tally(desk.contest.run) == []
    assert len(desk.store.log(ballot.id)) == 1
    with pytest.raises(NotAllowed, match="may not vote"):
        desk.ballot("ann")
    desk.office.block("ann", "it was a mistake", blocked=False)
    assert len(desk.store.votes()) == 1


def test_only_chosen_contestants_meet(desk: Desk) -> None:
    desk.office.change(Control(contestants=("heron-a1", "otter-b2")), "final")
    for _ in range(10):
        reveal = desk.vote("ann", desk.ballot("ann").id, "tie")
        assert {reveal.ballot.contestant_a, reveal.ballot.contestant_b} == {"heron-a1", "otter-b2"}


def test_another_process_follows(desk: Desk, url: str) -> None:
    other = Desk(desk.contest, Store(url), clock=desk._clock)
    assert other.office.control.open
    desk.office.change(Control(open=False), "enough votes")
    desk._clock.now += 3
    assert not other.office.control.open


def test_one_contestant_alone_is_refused(desk: Desk) -> None:
    with pytest.raises(DataError, match="two contestants, not only `otter-b2`"):
        desk.office.change(Control(contestants=("otter-b2",)), "the best")
    assert desk.office.control == Control()


def test_a_clock_that_is_put_back_delays_nothing(desk: Desk, url: str) -> None:
    other = Desk(desk.contest, Store(url), clock=Clock())
    assert other.office.control.open
    assert not other.tally().votes
    desk.vote("ann", desk.ballot("ann").id, "a")
    desk.office.change(Control(open=False), "enough votes")
    other._clock.now -= 3600
    assert not other.office.control.open
    assert sum(other.tally().votes.values()) == 1


def test_another_runs_contestants_join_on_the_same_prompts(desk: Desk, tmp_path: Path) -> None:
    guest = write_run(tmp_path / "guest")
    both = joined(desk.contest, read_contest(guest))
    assert len(both.contestants) == 6
    assert len(both.answers) == len(desk.contest.answers)
    assert both.battles["badger-c3", "guest/otter-b2"]
    assert not both.battles["guest/otter-b2", "otter-b2"], "the same text twice is no battle"
    desk.office.change(Control(runs=(str(guest),)), "the old ones too")
    assert len(desk.contest.contestants) == 6
    assert desk.arrangement.problems == ()


def test_a_further_run_that_is_gone_stops_nothing_and_the_administrator_is_told(
    contest: Contest, url: str, clock: Clock, tmp_path: Path
) -> None:
    guest, other = write_run(tmp_path / "guest"), write_run(tmp_path / "other")
    desk = Desk(contest, Store(url), clock=clock)
    desk.welcome("ann")
    desk.office.change(Control(runs=(str(guest), str(other))), "all of them")
    assert len(desk.contest.contestants) == 9

    guest.rename(tmp_path / "away")
    restarted = Desk(contest, Store(url), clock=clock)
    assert len(restarted.contest.contestants) == 6
    assert not any(name.startswith("guest/") for name in restarted.contest.contestants)
    restarted.vote("ann", restarted.ballot("ann").id, "a")
    (told,) = restarted.arrangement.problems
    assert told.startswith(f"A further run takes no part. {guest}: no completions/*.jsonl here")
    assert "\n" not in told

    (tmp_path / "away").rename(guest)
    clock.now += LOOK_AGAIN + 1
    assert len(restarted.contest.contestants) == 9
    assert restarted.arrangement.problems == ()


def test_chosen_contestants_of_a_run_that_is_gone_are_missed_not_replaced(desk: Desk, tmp_path: Path) -> None:
    gone = Control(runs=(str(tmp_path / "guest"),), contestants=("guest/otter-b2", "otter-b2"))
    desk.office.change(gone, "old against new")
    assert desk.contest.contestants == ("otter-b2",)
    assert desk.ballot("ann") is None
    assert desk.progress(desk.tally()) == (0, 0)
    assert desk.arrangement.problems[1] == (
        "Of the chosen contestants only otter-b2 is there, so nobody can vote: choose others."
    )


def test_attention_checks_look_like_battles_and_do_not_count(desk: Desk) -> None:
    watchful = Desk(desk.contest, desk.store, Rules(check_every=3, per_minute=1000), desk._clock)
    kinds = []
    for _ in range(30):
        ballot = watchful.ballot("ann")
        assert set(ballot.model_dump()) == {"id", "messages", "answer_a", "answer_b"}
        reveal = watchful.vote("ann", ballot.id, "a")
        kinds.append(reveal.ballot.kind)
        if reveal.ballot.kind == "check":
            right = (
                reveal.ballot.contestant_a if reveal.ballot.expected == "a" else reveal.ballot.contestant_b
            )
            assert right == RIGHT
            assert {reveal.ballot.contestant_a, reveal.ballot.contestant_b} == {RIGHT, WRONG}
    assert 3 <= kinds.count("check") <= 18
    assert kinds[0] == "battle"
    assert len(desk.store.votes()) == kinds.count("battle")
    assert len(desk.store.voted(kinds=("check",))) == kinds.count("check")


def test_checks_that_were_met_are_followed_by_battles(contest: Contest, url: str, clock: Clock) -> None:
    """Two examples make few checks; a voter who has met them is not told that nothing is left."""
    few = {example: contest.answers[example] for example in ("house-00", "house-01")}
    desk = Desk(replace(contest, answers=few), Store(url), Rules(check_every=1, per_minute=1000), clock)
    desk.welcome("ann")
    kinds = []
    while ballot := desk.ballot("ann"):
        kinds.append(desk.vote("ann", ballot.id, "tie").ballot.kind)
    assert kinds.count("battle") == 6, "every pair on both examples"


def test_a_check_shows_no_answer_that_says_who_wrote_it(contest: Contest) -> None:
    telling = frozenset(answer.id for answer in contest.answers["house-00"].values())
    rng = np.random.default_rng(0)
    some = replace(contest, flagged=telling)
    planted = [plant(some, set(), rng) for _ in range(300)]
    own = {answer.completion for answer in contest.answers["house-00"].values()}
    assert all(fields["example_id"] != "house-00" for fields in planted if fields)
    assert not any(fields[side] in own for fields in planted if fields for side in ("answer_a", "answer_b"))
