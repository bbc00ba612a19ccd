"""The promises of the desk: blind before the vote, one vote a ballot, nothing deleted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.arena.conftest import Clock
from tests.arena.example_run import CONTESTANTS
from toolkit.arena import accepted_votes
from toolkit.arena.battles import Ballot, BattlePool
from toolkit.arena.service import MAX_REVISIONS, ArenaService, NotAllowed, Rules
from toolkit.arena.settings import ArenaSettings
from toolkit.arena.store import Store
from toolkit.ratings import bradley_terry
from toolkit.types import Message


def test_a_ballot_has_no_names_before_the_vote(service: ArenaService) -> None:
    ballot = service.ballot("ann")
    assert ballot is not None
    assert not any(name in ballot.model_dump_json() for name in CONTESTANTS)


def test_a_vote_opens_the_ballot(service: ArenaService) -> None:
    ballot = service.ballot("ann")
    reveal = service.vote("ann", ballot.id, "a")
    answer = service.pool.answers[reveal.ballot.example_id][reveal.ballot.contestant_a]
    assert answer.completion == ballot.answer_a
    assert reveal.cast.outcome == "a"


def test_a_vote_knows_its_category(service: ArenaService) -> None:
    reveal = service.vote("ann", service.ballot("ann").id, "a")
    answers = service.pool.answers[reveal.ballot.example_id]
    assert reveal.ballot.category == answers["otter-b2"].category in ("home", "numbers", "code")
    assert [vote.category for vote in service.store.vote_rows(repeats=False)] == [reveal.ballot.category]


def test_reloading_or_a_second_tab_shows_the_same_ballot(service: ArenaService) -> None:
    assert service.ballot("ann") == service.ballot("ann")


def test_the_first_vote_on_a_ballot_stands(service: ArenaService) -> None:
    ballot = service.ballot("ann")
    first = service.vote("ann", ballot.id, "a")
    assert service.vote("ann", ballot.id, "b") == first
    assert [vote.outcome for vote in service.store.vote_rows(repeats=False)] == ["a"]


def test_no_answer_returns_whose_author_the_voter_has_seen(service: ArenaService) -> None:
    expected: set[tuple[str, str]] = set()
    votes = 0
    while ballot := service.ballot("ann"):
        if votes % 4 == 3:
            service.skip("ann", ballot.id)
        else:
            reveal = service.vote("ann", ballot.id, "tie").ballot
            sides = {(reveal.example_id, reveal.answer_a), (reveal.example_id, reveal.answer_b)}
            assert not expected & sides
            expected |= sides
        votes += 1
        service._clock.now += 2
    assert 2 * 14 <= len(expected) <= 2 * 20, "of three answers to an example, two can meet once"


def test_an_administrator_may_allow_more_and_such_votes_are_kept_apart(service: ArenaService) -> None:
    votes = vote_until_done(service, "ann")
    service.settings_store.change(service.settings_store.control.model_copy(update={"repeats": True}), "more")
    more = vote_until_done(service, "ann")
    assert (len(votes), len(more)) == (20, 40)
    assert [ballot.repeat for ballot in votes + more] == [False] * 20 + [True] * 40
    assert len(service.store.vote_rows(repeats=False)) == 20
    assert (len(service.votes().rows), len(service.votes().repeats)) == (20, 40)
    assert sum(service.tally().votes.values()) == 20


@pytest.mark.slow
def test_names_can_stay_hidden_until_the_voter_finishes(service: ArenaService) -> None:
    late = ArenaService(
        service.pool, service.store, Rules(per_minute=1000, reveal="after-session"), service._clock
    )
    shown = vote_until_done(late, "ann")
    assert len(shown) == 60, "nobody was told a name, so that answers may return"
    assert {(ballot.contestant_a, ballot.contestant_b) for ballot in shown} == {("", "")}
    assert not any(reveal.ballot.contestant_a for reveal in late.history("ann"))
    late.finish("ann")
    assert all(reveal.ballot.contestant_a in CONTESTANTS for reveal in late.history("ann"))
    open_ballot = late.ballot("bob")
    late.finish("bob")
    service._clock.now += 1
    with pytest.raises(NotAllowed, match="void"):
        late.vote("bob", open_ballot.id, "a")
    first = late.vote("bob", late.ballot("bob").id, "a").ballot
    service._clock.now += 12 * 3600 + 1
    assert first.contestant_a == ""
    assert late.history("bob")[0].ballot.contestant_a in CONTESTANTS
    expected = {(first.example_id, first.answer_a), (first.example_id, first.answer_b)}
    for ballot in vote_until_done(late, "bob"):
        assert not expected & {(ballot.example_id, ballot.answer_a), (ballot.example_id, ballot.answer_b)}


def test_an_example_seen_with_its_names_is_not_put_to_the_vote(service: ArenaService) -> None:
    service.store.add_view("ann", "house-00")
    assert "house-00" not in {ballot.example_id for ballot in vote_until_done(service, "ann")}


def vote_until_done(service: ArenaService, voter: str) -> list[Ballot]:
    cast = []
    while ballot := service.ballot(voter):
        cast.append(service.vote(voter, ballot.id, "tie").ballot)
        service._clock.now += 2
    return cast


@pytest.mark.slow
def test_fifty_fresh_voters_of_one_address_change_no_first_place(service: ArenaService) -> None:
    order = ("badger-c3", "heron-a1", "otter-b2")

    def vote(voter: str, address: str, reverse: bool) -> None:
        service.register_voter(voter, address=address)
        for _ in range(6):
            ballot = service.store.ballot(service.ballot(voter).id)
            better = order.index(ballot.contestant_a) > order.index(ballot.contestant_b)
            service.vote(voter, ballot.id, "ab"[better == reverse])
            service._clock.now += 1

    for number in range(20):
        vote(f"honest-{number}", f"192.0.2.{number}", reverse=False)
    for number in range(50):
        vote(f"rigger-{number}", "203.0.113.9", reverse=True)
    counted = service.votes()
    assert {row.voter for row in counted.crowded} == {f"rigger-{number}" for number in range(5, 50)}
    assert len(counted.rows) == (20 + 5) * 6
    rated = bradley_terry(accepted_votes(str(service.store._database.shown_url), service.pool.run))
    assert rated.ratings[0].contestant == "otter-b2"
    service.settings_store.change(ArenaSettings(voters_per_address=0), "they are our office")
    assert len(service.votes().rows) == 70 * 6


def test_votes_of_one_address_share_one_limit(service: ArenaService) -> None:
    hurried = ArenaService(service.pool, service.store, Rules(per_minute=3), service._clock)
    for voter in ("x", "y", "z"):
        hurried.register_voter(voter, address="192.0.2.1")
        hurried.vote(voter, hurried.ballot(voter).id, "a")
    hurried.register_voter("w", address="192.0.2.1")
    with pytest.raises(NotAllowed, match="in a minute"):
        hurried.vote("w", hurried.ballot("w").id, "a")
    hurried.register_voter("v", address="192.0.2.2")
    for place in ("192.0.2.2", "192.0.2.3", "192.0.2.4"):
        hurried.register_voter("v", address=place)
        hurried.vote("v", hurried.ballot("v").id, "a")
    hurried.register_voter("v", address="192.0.2.5")
    with pytest.raises(NotAllowed, match="in a minute"):
        hurried.vote("v", hurried.ballot("v").id, "a")


def test_a_cookies_votes_join_the_account_that_signs_in(service: ArenaService) -> None:
    first = service.vote("ann", service.ballot("ann").id, "a").ballot
    still_open = service.ballot("ann")
    service.register_voter("account", "signed-in")
    service.store.join_account("ann", "account")
    assert service.ballot("account") == still_open
    service.vote("account", still_open.id, "b")
    assert [reveal.ballot.voter for reveal in service.history("account")] == ["account", "account"]
    assert {vote.voter for vote in service.store.vote_rows(repeats=False)} == {"account"}
    expected = {(first.example_id, first.contestant_a), (first.example_id, first.contestant_b)}
    assert expected <= service._revealed("account")


@pytest.mark.parametrize("remove", [False, True])
def test_a_voter_can_be_forgotten(service: ArenaService, remove: bool) -> None:
    for voter in ("ann", "bob"):
        service.vote(voter, service.ballot(voter).id, "a")
    service.annotate("ann", service.history("ann")[0].ballot.id, (), "I am Ann of 5 High Street")
    assert service.store.forget("ann", remove=remove) == 1
    assert service.store.history("ann") == []
    assert not any("Ann" in reveal.cast.comment for reveal in service.store.cast_votes())
    assert len(service.store.vote_rows(repeats=False)) == 2 - remove
    assert "ann" not in {vote.voter for vote in service.store.vote_rows(repeats=False)}


def test_somebody_elses_ballot_is_refused(service: ArenaService) -> None:
    ballot = service.ballot("ann")
    with pytest.raises(NotAllowed, match="not yours"):
        service.vote("bob", ballot.id, "a")


def test_a_skipped_battle_is_closed_and_does_not_count(service: ArenaService) -> None:
    ballot = service.ballot("ann")
    service.skip("ann", ballot.id)
    assert service.ballot("ann") != ballot
    with pytest.raises(NotAllowed, match="closed"):
        service.vote("ann", ballot.id, "a")
    assert service.store.vote_rows(repeats=False) == []


def test_undo_is_a_correction_in_the_log(service: ArenaService) -> None:
    ballot = service.ballot("ann")
    service.vote("ann", ballot.id, "a")
    service.undo("ann", ballot.id)
    assert service.store.vote_rows(repeats=False) == []
    assert [(line.revision, line.action) for line in service.store.log(ballot.id)] == [
        (0, "vote"),
        (1, "undo"),
    ]
    with pytest.raises(NotAllowed, match="closed"):
        service.vote("ann", ballot.id, "b")


def test_undo_ends_with_its_grace_time(service: ArenaService) -> None:
    ballot = service.ballot("ann")
    service.vote("ann", ballot.id, "a")
    service._clock.now += service.rules.grace + 1
    with pytest.raises(NotAllowed, match="60 seconds"):
        service.undo("ann", ballot.id)


def test_reasons_are_added_without_touching_the_vote(service: ArenaService) -> None:
    ballot = service.ballot("ann")
    service.vote("ann", ballot.id, "b")
    noted = service.annotate("ann", ballot.id, ("clearer",), " short and right ")
    assert (noted.cast.outcome, noted.cast.tags, noted.cast.comment) == ("b", ("clearer",), "short and right")
    assert len(service.store.vote_rows(repeats=False)) == 1
    assert len(service.store.log(ballot.id)) == 2


@pytest.mark.parametrize(
    ("tags", "comment", "message"),
    [
        ((), "y" * 1001, "may have 1,000 characters, and this has 1,001"),
        (("y" * 61,), "", "20 reasons of 60 characters"),
        (tuple(map(str, range(21))), "", "20 reasons of 60 characters"),
    ],
)
def test_reasons_have_a_limit(
    service: ArenaService, tags: tuple[str, ...], comment: str, message: str
) -> None:
    ballot = service.ballot("ann")
    service.vote("ann", ballot.id, "b")
    with pytest.raises(NotAllowed, match=message):
        service.annotate("ann", ballot.id, tags, comment)
    assert service.annotate("ann", ballot.id, (), f" {'y' * 1000} ").cast.comment == "y" * 1000


def test_the_log_of_one_vote_does_not_grow_without_end(service: ArenaService) -> None:
    ballot = service.ballot("ann")
    service.vote("ann", ballot.id, "b")
    for _ in range(2):
        service.annotate("ann", ballot.id, ("clear",), "so")
    assert len(service.store.log(ballot.id)) == 2, "what is there already is no change"
    for number in range(MAX_REVISIONS - 2):
        service.annotate("ann", ballot.id, (), str(number))
    with pytest.raises(NotAllowed, match="changed too often"):
        service.annotate("ann", ballot.id, (), "once more")
    assert len(service.store.log(ballot.id)) == MAX_REVISIONS


def test_a_comment_is_kept_as_every_database_can_keep_it(service: ArenaService) -> None:
    ballot = service.ballot("ann")
    service.vote("ann", ballot.id, "b")
    service.annotate("ann", ballot.id, ("a\0b",), "one\0two")
    line = service.store.cast(ballot.id)
    assert (line.tags, line.comment) == (("a\ufffdb",), "one\ufffdtwo")


def test_two_runs_in_one_store_do_not_mix_up_their_battles(service: ArenaService) -> None:
    elsewhere = ArenaService(replace(service.pool, run="another"), service.store, clock=service._clock)
    here = service.ballot("ann")
    there = elsewhere.ballot("ann")
    assert here.id != there.id
    assert (service.ballot("ann"), elsewhere.ballot("ann")) == (here, there)
    elsewhere.vote("ann", there.id, "a")
    service.vote("ann", here.id, "b")
    assert [vote.outcome for vote in service.store.vote_rows("another", repeats=False)] == ["a"]
    assert [vote.outcome for vote in service.store.vote_rows(service.pool.run, repeats=False)] == ["b"]


def test_a_voter_who_is_too_fast_is_slowed_down(service: ArenaService) -> None:
    hurried = ArenaService(service.pool, service.store, Rules(per_minute=2), service._clock)
    for _ in range(2):
        hurried.vote("ann", hurried.ballot("ann").id, "a")
    with pytest.raises(NotAllowed, match="in a minute"):
        hurried.vote("ann", hurried.ballot("ann").id, "a")
    service._clock.now += 61
    hurried.vote("ann", hurried.ballot("ann").id, "a")


def test_one_voters_questions_do_not_hide_the_battle_they_had_open(service: ArenaService) -> None:
    ballot = service.ballot("ann")
    requested(service)
    assert service.ballot("ann") == ballot
    service.vote("ann", ballot.id, "a")
    assert service.ballot("ann") != ballot


def test_a_conversation_in_another_tab_takes_a_number_and_nothing_else(
    service: ArenaService, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_battle = service._draw

    def overtaken(voter: str, number: int) -> object:
        ballot = draw_battle(voter, number)
        monkeypatch.setattr(service, "_draw", draw_battle)
        requested(service)  # between the drawing of a battle and its storing
        return ballot

    monkeypatch.setattr(service, "_draw", overtaken)
    assert service.ballot("ann").messages != (Message(role="user", content="Why?"),)


def test_questions_are_limited_by_the_minute_and_refused_while_closed(service: ArenaService) -> None:
    for _ in range(service.rules.questions_per_minute):
        service.count_question("ann")  # answered or not
    with pytest.raises(NotAllowed, match="more than 10 questions in a minute"):
        service.count_question("ann")
    service.count_question("bob")
    service._clock.now += 61
    service.count_question("ann")
    service.settings_store.change(service.settings_store.control.model_copy(update={"open": False}), "enough")
    with pytest.raises(NotAllowed, match="closed"):
        service.count_question("ann")


def test_reasons_and_undoing_are_not_counted_as_votes(pool: BattlePool, url: str, clock: Clock) -> None:
    service = ArenaService(pool, Store(url), Rules(per_minute=2), clock=clock)
    service.register_voter("ann")
    first = service.ballot("ann")
    service.vote("ann", first.id, "a")
    for comment in ("so", "or so", "or so it seems"):
        service.annotate("ann", first.id, (), comment)
    service.undo("ann", first.id)
    service.vote("ann", service.ballot("ann").id, "b")
    with pytest.raises(NotAllowed, match="more than 2 votes"):
        service.vote("ann", service.ballot("ann").id, "b")


def requested(service: ArenaService) -> str:
    """Ann asks two contestants something of her own."""
    return service.add_live_ballot("ann", ("heron-a1", "otter-b2"), ["Why?"], ("Because.", "It depends."))


def test_votes_in_a_shared_database_follow_the_answers_to_a_later_version(
    pool: BattlePool, url: str, clock: Clock
) -> None:
    service = ArenaService(pool, Store(url), clock=clock)
    service.register_voter("ann")
    cast = [service.vote("ann", service.ballot("ann").id, "a").ballot for _ in range(8)]
    first = cast[0]
    changed = {example: dict(answers) for example, answers in pool.answers.items()}
    answer = changed[first.example_id][first.contestant_a]
    changed[first.example_id][first.contestant_a] = answer.model_copy(update={"completion": "another"})
    gone = sum(
        first.example_id == each.example_id and first.contestant_a in (each.contestant_a, each.contestant_b)
        for each in cast
    )
    later = ArenaService(replace(pool, run=f"{pool.run}-2", answers=changed), Store(url), clock=clock)
    other = ArenaService(replace(pool, run=f"{pool.run}-example"), Store(url), clock=clock)
    assert len(later.votes().rows) == 8 - gone < 8
    assert other.votes().rows == []
    assert len(service.votes().rows) == 8
