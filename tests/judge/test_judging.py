"""Both orders become votes; what is judged is never judged again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.judge.battlefield import RuleJudge, battle
from toolkit import records
from toolkit.judge import heard, judge_battles, recorded, statistics, votes
from toolkit.judge.judging import IDENTICAL
from toolkit.types import Outcome

LONG, SHORT = "a long answer with many words", "short"


def longer(one: str, other: str) -> Outcome:
    return "a" if len(one) > len(other) else "b"


def field(count: int = 4) -> list:
    return [battle(i, *((LONG, SHORT) if i % 2 else (SHORT, LONG))) for i in range(count)]


def test_a_judge_that_sees_quality_votes_for_it_in_either_order(tmp_path: Path):
    fought = field()
    verdicts = judge_battles(RuleJudge(longer), fought, out=tmp_path / "verdicts.jsonl")
    assert [(v.battle_id, v.order) for v in verdicts[:2]] == [(fought[0].id, "ab"), (fought[0].id, "ba")]
    cast = votes(fought, verdicts)
    assert [vote.outcome for vote in cast] == ["b", "a", "b", "a"]
    assert {(vote.voter, vote.kind) for vote in cast} == {("rule", "judge")}
    found = statistics(fought, verdicts)["rule"]
    assert found["consistency"]["value"] == 1
    assert found["first_position"]["value"] == 0.5
    assert found["longer"] | {"low": 0, "high": 0} == {"value": 1, "low": 0, "high": 0, "n": 4}


def test_a_judge_that_always_takes_the_first_casts_ties(tmp_path: Path):
    fought = field()
    verdicts = judge_battles(RuleJudge(lambda _one, _other: "a"), fought, out=tmp_path / "verdicts.jsonl")
    assert [vote.outcome for vote in votes(fought, verdicts)] == ["tie"] * 4
    found = statistics(fought, verdicts)["rule"]
    assert found["consistency"]["value"] == 0
    assert found["first_position"]["value"] == 1
    assert found["always_first"]["value"] == 1
    assert found["first_position"]["low"] < 0.6, "four battles do not prove a bias of 100%"


def test_an_unreadable_verdict_is_no_vote(tmp_path: Path):
    fought = field()
    judge = RuleJudge(lambda one, other: None if one == SHORT else longer(one, other))
    verdicts = judge_battles(judge, fought, out=tmp_path / "verdicts.jsonl")
    assert votes(fought, verdicts) == []
    assert statistics(fought, verdicts)["rule"]["unreadable"]["value"] == 0.5


def test_identical_answers_tie_without_being_asked_about(tmp_path: Path):
    judge = RuleJudge(longer)
    same = battle(0, "the same", "the same")
    verdicts = judge_battles(judge, [same], out=tmp_path / "verdicts.jsonl")
    assert judge.asked == []
    assert {verdict.reason for verdict in verdicts} == {IDENTICAL}
    assert [vote.outcome for vote in votes([same], verdicts)] == ["tie"]
    assert statistics([same], verdicts)["rule"]["identical"] == 1


def test_verdicts_are_kept_and_not_asked_for_again(tmp_path: Path):
    out, fought = tmp_path / "verdicts.jsonl", field(6)
    first = judge_battles(RuleJudge(longer), fought[:3], out=out)
    again = RuleJudge(longer)
    whole = judge_battles(again, fought, out=out)
    assert len(again.asked) == 6
    assert whole[:6] == first
    done = RuleJudge(longer)
    assert judge_battles(done, fought, out=out) == whole
    assert done.asked == []


def test_a_battle_is_the_same_whatever_the_order_of_its_sides(tmp_path: Path):
    out, fought = tmp_path / "verdicts.jsonl", field(6)

    def leans(one: str, other: str) -> Outcome:
        return "a" if one == LONG or len(one) == len(other) else "tie"

    first = judge_battles(RuleJudge(leans), fought, out=out)
    turned, again = [each.mirrored for each in fought], RuleJudge(leans)
    assert all(each.mirrored.mirrored == each for each in fought)
    second = judge_battles(again, turned, out=out)
    assert again.asked == []
    afresh = judge_battles(RuleJudge(leans), turned, out=tmp_path / "afresh.jsonl")
    assert second == afresh
    assert [vote.outcome for vote in votes(turned, second)] == [
        {"a": "b", "b": "a", "tie": "tie"}[vote.outcome] for vote in votes(fought, first)
    ]


def test_another_judge_or_prompt_is_asked_anew(tmp_path: Path):
    out, fought = tmp_path / "verdicts.jsonl", field(1)
    judge_battles(RuleJudge(longer), fought, out=out)
    other = RuleJudge(longer, name="other")
    judge_battles(other, fought, out=out)
    reworded = RuleJudge(longer)
    reworded.prompt_key = "reworded"
    judge_battles(reworded, fought, out=out)
    assert len(other.asked) == len(reworded.asked) == 2
    assert len(recorded(out)) == 6


def test_what_was_said_before_a_crash_is_kept(tmp_path: Path):
    out, fought = tmp_path / "verdicts.jsonl", field(6)
    told = 0

    def fails(one: str, other: str) -> Outcome:
        nonlocal told
        told += 1
        if told > 5:
            raise KeyboardInterrupt
        return longer(one, other)

    with pytest.raises(KeyboardInterrupt):
        judge_battles(RuleJudge(fails), fought, out=out)
    with out.open("a") as log:
        log.write('{"battle_id": "torn')
    resumed = RuleJudge(longer)
    whole = judge_battles(resumed, fought, out=out)
    assert len(resumed.asked) == 12 - 5
    assert whole == judge_battles(RuleJudge(longer), fought, out=tmp_path / "unbroken.jsonl")
    assert len(list(records.read_lines(out))) == 12


def test_averaging_hears_a_judge_that_leans_to_one_side(tmp_path: Path):
    fought = field(2)
    verdicts = judge_battles(RuleJudge(lambda _one, _other: "a"), fought, out=tmp_path / "verdicts.jsonl")
    leaning = [
        verdict.model_copy(update={"probability_a": {"ab": 0.9, "ba": 0.2 if i < 2 else 0.05}[verdict.order]})
        for i, verdict in enumerate(verdicts)
    ]
    assert [vote.outcome for vote in votes(fought, leaning, rule="average")] == ["a", "b"]
    assert votes(fought, verdicts, rule="average") == [], "no probabilities, no average"


def test_parts_judged_apart_are_the_whole(tmp_path: Path):
    """Each part is asked about its own battles alone, in one log, and hears of all that are to be judged."""
    fought = [*field(7), battle(7, "the same", "the same")]
    whole = judge_battles(RuleJudge(longer), fought, out=tmp_path / "whole.jsonl")
    judges = [RuleJudge(longer) for _ in range(3)]
    for part in (2, 0, 1):
        judge_battles(judges[part], fought, out=tmp_path / "parts.jsonl", share=(part, 3))
    asked = [{ask.battle.id for ask in judge.asked} for judge in judges]
    assert sum(map(len, asked)) == len(set.union(*asked)) == 7
    assert all(asked)
    assert heard(fought, "rule", "by-rule", out=tmp_path / "parts.jsonl") == whole
    assert heard(fought, "another", "by-rule", out=tmp_path / "parts.jsonl") == []
    assert len(recorded(tmp_path / "parts.jsonl")) == len(whole)
