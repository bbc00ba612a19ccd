"""Both orders become votes; what is judged is never judged again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.judge.example_battles import RuleJudge, battle, kept
from toolkit import io
from toolkit.judge import judge_battles
from toolkit.judge.aggregation import aggregate_votes, judge_statistics, majority_votes
from toolkit.judge.verdicts import IDENTICAL, import_old_log, load_verdicts
from toolkit.types import Battle, Outcome, Verdict

LONG, SHORT = "a long answer with many words", "short"


def longer(one: str, other: str) -> Outcome:
    return "a" if len(one) > len(other) else "b"


def field(count: int = 4) -> list:
    return [battle(i, *((LONG, SHORT) if i % 2 else (SHORT, LONG))) for i in range(count)]


def test_a_judge_that_sees_quality_votes_for_it_in_either_order(tmp_path: Path):
    battles = field()
    verdicts = judge_battles(RuleJudge(longer), battles, store=tmp_path / "kept")
    assert [(v.battle_id, v.order) for v in verdicts[:2]] == [(battles[0].id, "ab"), (battles[0].id, "ba")]
    cast = aggregate_votes(battles, verdicts)
    assert [vote.outcome for vote in cast] == ["b", "a", "b", "a"]
    assert {(vote.voter, vote.kind) for vote in cast} == {("rule", "judge")}
    found = judge_statistics(battles, verdicts)["rule"]
    assert found["consistency"]["value"] == 1
    assert found["first_position"]["value"] == 0.5
    assert found["longer"] | {"low": 0, "high": 0} == {"value": 1, "low": 0, "high": 0, "n": 4}


def test_a_judge_that_always_takes_the_first_casts_ties(tmp_path: Path):
    battles = field()
    verdicts = judge_battles(RuleJudge(lambda _one, _other: "a"), battles, store=tmp_path / "kept")
    assert [vote.outcome for vote in aggregate_votes(battles, verdicts)] == ["tie"] * 4
    found = judge_statistics(battles, verdicts)["rule"]
    assert found["consistency"]["value"] == 0
    assert found["first_position"]["value"] == 1
    assert found["always_first"]["value"] == 1
    assert found["first_position"]["low"] < 0.6, "four battles do not prove a bias of 100%"


def test_an_unreadable_verdict_is_no_vote(tmp_path: Path):
    battles = field()
    judge = RuleJudge(lambda one, other: None if one == SHORT else longer(one, other))
    verdicts = judge_battles(judge, battles, store=tmp_path / "kept")
    assert aggregate_votes(battles, verdicts) == []
    assert judge_statistics(battles, verdicts)["rule"]["unreadable"]["value"] == 0.5


def test_identical_answers_tie_without_being_sent_to_a_judge(tmp_path: Path):
    judge = RuleJudge(longer)
    same = battle(0, "the same", "the same")
    verdicts = judge_battles(judge, [same], store=tmp_path / "kept")
    assert judge.asked == []
    assert {verdict.reason for verdict in verdicts} == {IDENTICAL}
    assert [vote.outcome for vote in aggregate_votes([same], verdicts)] == ["tie"]
    assert judge_statistics([same], verdicts)["rule"]["identical"] == 1


def test_verdicts_are_kept_and_not_requested_again(tmp_path: Path):
    store, battles = tmp_path / "kept", field(6)
    first = judge_battles(RuleJudge(longer), battles[:3], store=store)
    again = RuleJudge(longer)
    whole = judge_battles(again, battles, store=store)
    assert len(again.asked) == 6
    assert whole[:6] == first
    done = RuleJudge(longer)
    assert judge_battles(done, battles, store=store) == whole
    assert done.asked == []


def test_a_battle_is_the_same_whatever_the_order_of_its_sides(tmp_path: Path):
    store, battles = tmp_path / "kept", field(6)

    def leans(one: str, other: str) -> Outcome:
        return "a" if one == LONG or len(one) == len(other) else "tie"

    first = judge_battles(RuleJudge(leans), battles, store=store)
    turned, again = [each.mirrored for each in battles], RuleJudge(leans)
    assert all(each.mirrored.mirrored == each for each in battles)
    second = judge_battles(again, turned, store=store)
    assert again.asked == []
    afresh = judge_battles(RuleJudge(leans), turned, store=tmp_path / "afresh")
    assert second == afresh
    assert [vote.outcome for vote in aggregate_votes(turned, second)] == [
        {"a": "b", "b": "a", "tie": "tie"}[vote.outcome] for vote in aggregate_votes(battles, first)
    ]


def renamed(battles: list[Battle]) -> list[Battle]:
    return [
        each.model_copy(update={"example_id": f"new {each.example_id}", "model_a": "z"}) for each in battles
    ]


def test_verdicts_go_by_what_the_judge_read_and_never_by_names(tmp_path: Path):
    battles = [battle(i, f"one {i}", f"another {i}", reference="x", reference_shown=False) for i in range(4)]
    first = judge_battles(RuleJudge(longer), battles, store=tmp_path)
    unseen = [each.model_copy(update={"reference": "corrected"}) for each in battles]
    for same in (renamed(battles), unseen, battles[::-1], [each.mirrored for each in renamed(battles)]):
        again = RuleJudge(longer)
        assert len(judge_battles(again, same, store=tmp_path)) == len(first)
        assert again.asked == []
    added = RuleJudge(longer)
    judge_battles(added, [battle(9, "new", "inserted"), *battles], store=tmp_path)
    assert len(added.asked) == 2
    shown, moved = RuleJudge(longer), [each.model_copy(update={"reference_shown": True}) for each in unseen]
    judge_battles(shown, moved, store=tmp_path)
    assert len(shown.asked) == 8, "a reference that is shown counts"


def test_the_same_answers_of_others_are_judged_once_and_voted_on_each(tmp_path: Path):
    battles = [battle(0, "one", "other"), battle(0, "one", "other").model_copy(update={"model_b": "third"})]
    judge = RuleJudge(longer)
    cast = aggregate_votes(battles, judge_battles(judge, battles, store=tmp_path))
    assert len(judge.asked) == 2
    assert [(vote.model_b, vote.outcome) for vote in majority_votes(cast)] == [("right", "b"), ("third", "b")]


def test_verdicts_of_a_log_that_went_by_names_are_taken_over(tmp_path: Path):
    battles = field(3)
    whole = judge_battles(RuleJudge(longer), battles, store=tmp_path / "whole")
    former = {each.id: each.former_id for each in battles[:2]}
    log = tmp_path / "verdicts.jsonl"
    io.write(
        log,
        [
            reply.model_copy(update={"battle_id": former.get(reply.battle_id, reply.battle_id)})
            for reply in whole
        ],
    )
    with log.open("a") as torn:
        torn.write('{"battle_id": "torn')
    again = RuleJudge(longer)
    for _ in range(2):
        import_old_log(log, tmp_path / "kept", Verdict)
    assert len(kept(tmp_path / "kept")) == 4, "once, and no line of today"
    turned = [battles[0].mirrored, *battles[1:]]
    assert judge_battles(again, battles, store=tmp_path / "kept") == whole
    assert judge_battles(again, turned, store=tmp_path / "kept")[2:] == whole[2:]
    assert len(again.asked) == 2


def test_an_edited_verdict_is_reported_and_requested_again(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    battles = field(3)
    whole = judge_battles(RuleJudge(longer), battles, store=tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_text(file.read_text().replace('"outcome":"b"', '"outcome":"a"', 1))
    again = RuleJudge(longer)
    assert judge_battles(again, battles, store=tmp_path) == whole
    assert len(again.asked) == 1
    assert "1 damaged or edited lines; they are requested again" in caplog.text


def test_a_local_judge_goes_by_its_weights(tmp_path: Path):
    judge_battles(RuleJudge(longer, name="mine@012abc"), field(2), store=tmp_path)
    moved, other = RuleJudge(longer, name="moved@012abc"), RuleJudge(longer, name="mine@012abd")
    assert {reply.judge for reply in judge_battles(moved, field(2), store=tmp_path)} == {"moved@012abc"}
    judge_battles(other, field(2), store=tmp_path)
    assert (len(moved.asked), len(other.asked)) == (0, 4)


def test_another_judge_or_prompt_judges_anew(tmp_path: Path):
    store, battles = tmp_path / "kept", field(1)
    judge_battles(RuleJudge(longer), battles, store=store)
    other = RuleJudge(longer, name="other")
    judge_battles(other, battles, store=store)
    reworded = RuleJudge(longer)
    reworded.prompt_key = "reworded"
    judge_battles(reworded, battles, store=store)
    assert len(other.asked) == len(reworded.asked) == 2
    assert len(kept(store)) == 6


def test_verdicts_before_a_crash_are_kept(tmp_path: Path):
    store, battles = tmp_path / "kept", field(6)
    message = 0

    def fails(one: str, other: str) -> Outcome:
        nonlocal message
        message += 1
        if message > 5:
            raise KeyboardInterrupt
        return longer(one, other)

    with pytest.raises(KeyboardInterrupt):
        judge_battles(RuleJudge(fails), battles, store=store)
    with next(store.iterdir()).open("a") as log:
        log.write('{"key": "torn')
    resumed = RuleJudge(longer)
    whole = judge_battles(resumed, battles, store=store)
    assert len(resumed.asked) == 12 - 5
    assert whole == judge_battles(RuleJudge(longer), battles, store=tmp_path / "unbroken")
    assert len(kept(store)) == 12


def test_averaging_corrects_a_judge_that_leans_to_one_side(tmp_path: Path):
    battles = field(2)
    verdicts = judge_battles(RuleJudge(lambda _one, _other: "a"), battles, store=tmp_path / "kept")
    leaning = [
        verdict.model_copy(update={"probability_a": {"ab": 0.9, "ba": 0.2 if i < 2 else 0.05}[verdict.order]})
        for i, verdict in enumerate(verdicts)
    ]
    assert [vote.outcome for vote in aggregate_votes(battles, leaning, rule="average")] == ["a", "b"]
    assert aggregate_votes(battles, verdicts, rule="average") == [], "no probabilities, no average"


def test_parts_judged_apart_are_the_whole(tmp_path: Path):
    """Each part is asked about its own battles alone, in one log, and hears of all that are to be judged."""
    battles = [*field(7), battle(7, "the same", "the same")]
    whole = judge_battles(RuleJudge(longer), battles, store=tmp_path / "whole")
    judges = [RuleJudge(longer) for _ in range(3)]
    for part in (2, 0, 1):
        judge_battles(judges[part], battles, store=tmp_path / "parts", share=(part, 3))
    requested = [{comparison.battle.id for comparison in judge.asked} for judge in judges]
    assert sum(map(len, requested)) == len(set.union(*requested)) == 7
    assert all(requested)
    assert load_verdicts(battles, "rule", "by-rule", store=tmp_path / "parts") == whole
    assert load_verdicts(battles, "another", "by-rule", store=tmp_path / "parts") == []
    assert len(kept(tmp_path / "parts")) == len(whole)
