"""Both orders become votes; what is judged is never judged again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.judge.battlefield import RuleJudge, battle, kept
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
    fought = field()
    verdicts = judge_battles(RuleJudge(longer), fought, store=tmp_path / "kept")
    assert [(v.battle_id, v.order) for v in verdicts[:2]] == [(fought[0].id, "ab"), (fought[0].id, "ba")]
    cast = aggregate_votes(fought, verdicts)
    assert [vote.outcome for vote in cast] == ["b", "a", "b", "a"]
    assert {(vote.voter, vote.kind) for vote in cast} == {("rule", "judge")}
    found = judge_statistics(fought, verdicts)["rule"]
    assert found["consistency"]["value"] == 1
    assert found["first_position"]["value"] == 0.5
    assert found["longer"] | {"low": 0, "high": 0} == {"value": 1, "low": 0, "high": 0, "n": 4}


def test_a_judge_that_always_takes_the_first_casts_ties(tmp_path: Path):
    fought = field()
    verdicts = judge_battles(RuleJudge(lambda _one, _other: "a"), fought, store=tmp_path / "kept")
    assert [vote.outcome for vote in aggregate_votes(fought, verdicts)] == ["tie"] * 4
    found = judge_statistics(fought, verdicts)["rule"]
    assert found["consistency"]["value"] == 0
    assert found["first_position"]["value"] == 1
    assert found["always_first"]["value"] == 1
    assert found["first_position"]["low"] < 0.6, "four battles do not prove a bias of 100%"


def test_an_unreadable_verdict_is_no_vote(tmp_path: Path):
    fought = field()
    judge = RuleJudge(lambda one, other: None if one == SHORT else longer(one, other))
    verdicts = judge_battles(judge, fought, store=tmp_path / "kept")
    assert aggregate_votes(fought, verdicts) == []
    assert judge_statistics(fought, verdicts)["rule"]["unreadable"]["value"] == 0.5


def test_identical_answers_tie_without_being_asked_about(tmp_path: Path):
    judge = RuleJudge(longer)
    same = battle(0, "the same", "the same")
    verdicts = judge_battles(judge, [same], store=tmp_path / "kept")
    assert judge.asked == []
    assert {verdict.reason for verdict in verdicts} == {IDENTICAL}
    assert [vote.outcome for vote in aggregate_votes([same], verdicts)] == ["tie"]
    assert judge_statistics([same], verdicts)["rule"]["identical"] == 1


def test_verdicts_are_kept_and_not_asked_for_again(tmp_path: Path):
    store, fought = tmp_path / "kept", field(6)
    first = judge_battles(RuleJudge(longer), fought[:3], store=store)
    again = RuleJudge(longer)
    whole = judge_battles(again, fought, store=store)
    assert len(again.asked) == 6
    assert whole[:6] == first
    done = RuleJudge(longer)
    assert judge_battles(done, fought, store=store) == whole
    assert done.asked == []


def test_a_battle_is_the_same_whatever_the_order_of_its_sides(tmp_path: Path):
    store, fought = tmp_path / "kept", field(6)

    def leans(one: str, other: str) -> Outcome:
        return "a" if one == LONG or len(one) == len(other) else "tie"

    first = judge_battles(RuleJudge(leans), fought, store=store)
    turned, again = [each.mirrored for each in fought], RuleJudge(leans)
    assert all(each.mirrored.mirrored == each for each in fought)
    second = judge_battles(again, turned, store=store)
    assert again.asked == []
    afresh = judge_battles(RuleJudge(leans), turned, store=tmp_path / "afresh")
    assert second == afresh
    assert [vote.outcome for vote in aggregate_votes(turned, second)] == [
        {"a": "b", "b": "a", "tie": "tie"}[vote.outcome] for vote in aggregate_votes(fought, first)
    ]


def renamed(battles: list[Battle]) -> list[Battle]:
    return [
        each.model_copy(update={"example_id": f"new {each.example_id}", "model_a": "z"}) for each in battles
    ]


def test_verdicts_go_by_what_the_judge_read_and_never_by_names(tmp_path: Path):
    fought = [battle(i, f"one {i}", f"another {i}", reference="x", reference_shown=False) for i in range(4)]
    first = judge_battles(RuleJudge(longer), fought, store=tmp_path)
    unseen = [each.model_copy(update={"reference": "corrected"}) for each in fought]
    for same in (renamed(fought), unseen, fought[::-1], [each.mirrored for each in renamed(fought)]):
        again = RuleJudge(longer)
        assert len(judge_battles(again, same, store=tmp_path)) == len(first)
        assert again.asked == []
    added = RuleJudge(longer)
    judge_battles(added, [battle(9, "new", "inserted"), *fought], store=tmp_path)
    assert len(added.asked) == 2
    shown, moved = RuleJudge(longer), [each.model_copy(update={"reference_shown": True}) for each in unseen]
    judge_battles(shown, moved, store=tmp_path)
    assert len(shown.asked) == 8, "a reference that is shown counts"


def test_the_same_answers_of_others_are_judged_once_and_voted_on_each(tmp_path: Path):
    fought = [battle(0, "one", "other"), battle(0, "one", "other").model_copy(update={"model_b": "third"})]
    judge = RuleJudge(longer)
    cast = aggregate_votes(fought, judge_battles(judge, fought, store=tmp_path))
    assert len(judge.asked) == 2
    assert [(vote.model_b, vote.outcome) for vote in majority_votes(cast)] == [("right", "b"), ("third", "b")]


def test_verdicts_of_a_log_that_went_by_names_are_taken_over(tmp_path: Path):
    fought = field(3)
    whole = judge_battles(RuleJudge(longer), fought, store=tmp_path / "whole")
    former = {each.id: each.former_id for each in fought[:2]}
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
    turned = [fought[0].mirrored, *fought[1:]]
    assert judge_battles(again, fought, store=tmp_path / "kept") == whole
    assert judge_battles(again, turned, store=tmp_path / "kept")[2:] == whole[2:]
    assert len(again.asked) == 2


def test_an_edited_verdict_is_reported_and_asked_again(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    fought = field(3)
    whole = judge_battles(RuleJudge(longer), fought, store=tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_text(file.read_text().replace('"outcome":"b"', '"outcome":"a"', 1))
    again = RuleJudge(longer)
    assert judge_battles(again, fought, store=tmp_path) == whole
    assert len(again.asked) == 1
    assert "1 damaged or edited lines; they are requested again" in caplog.text


def test_a_local_judge_goes_by_its_weights(tmp_path: Path):
    judge_battles(RuleJudge(longer, name="mine@012abc"), field(2), store=tmp_path)
    moved, other = RuleJudge(longer, name="moved@012abc"), RuleJudge(longer, name="mine@012abd")
    assert {reply.judge for reply in judge_battles(moved, field(2), store=tmp_path)} == {"moved@012abc"}
    judge_battles(other, field(2), store=tmp_path)
    assert (len(moved.asked), len(other.asked)) == (0, 4)


def test_another_judge_or_prompt_is_asked_anew(tmp_path: Path):
    store, fought = tmp_path / "kept", field(1)
    judge_battles(RuleJudge(longer), fought, store=store)
    other = RuleJudge(longer, name="other")
    judge_battles(other, fought, store=store)
    reworded = RuleJudge(longer)
    reworded.prompt_key = "reworded"
    judge_battles(reworded, fought, store=store)
    assert len(other.asked) == len(reworded.asked) == 2
    assert len(kept(store)) == 6


def test_what_was_said_before_a_crash_is_kept(tmp_path: Path):
    store, fought = tmp_path / "kept", field(6)
    message = 0

    def fails(one: str, other: str) -> Outcome:
        nonlocal message
        message += 1
        if message > 5:
            raise KeyboardInterrupt
        return longer(one, other)

    with pytest.raises(KeyboardInterrupt):
        judge_battles(RuleJudge(fails), fought, store=store)
    with next(store.iterdir()).open("a") as log:
        log.write('{"key": "torn')
    resumed = RuleJudge(longer)
    whole = judge_battles(resumed, fought, store=store)
    assert len(resumed.asked) == 12 - 5
    assert whole == judge_battles(RuleJudge(longer), fought, store=tmp_path / "unbroken")
    assert len(kept(store)) == 12


def test_averaging_hears_a_judge_that_leans_to_one_side(tmp_path: Path):
    fought = field(2)
    verdicts = judge_battles(RuleJudge(lambda _one, _other: "a"), fought, store=tmp_path / "kept")
    leaning = [
        verdict.model_copy(update={"probability_a": {"ab": 0.9, "ba": 0.2 if i < 2 else 0.05}[verdict.order]})
        for i, verdict in enumerate(verdicts)
    ]
    assert [vote.outcome for vote in aggregate_votes(fought, leaning, rule="average")] == ["a", "b"]
    assert aggregate_votes(fought, verdicts, rule="average") == [], "no probabilities, no average"


def test_parts_judged_apart_are_the_whole(tmp_path: Path):
    """Each part is asked about its own battles alone, in one log, and hears of all that are to be judged."""
    fought = [*field(7), battle(7, "the same", "the same")]
    whole = judge_battles(RuleJudge(longer), fought, store=tmp_path / "whole")
    judges = [RuleJudge(longer) for _ in range(3)]
    for part in (2, 0, 1):
        judge_battles(judges[part], fought, store=tmp_path / "parts", share=(part, 3))
    requested = [{comparison.battle.id for comparison in judge.asked} for judge in judges]
    assert sum(map(len, requested)) == len(set.union(*requested)) == 7
    assert all(requested)
    assert load_verdicts(fought, "rule", "by-rule", store=tmp_path / "parts") == whole
    assert load_verdicts(fought, "another", "by-rule", store=tmp_path / "parts") == []
    assert len(kept(tmp_path / "parts")) == len(whole)
