"""Attacks: what reaches a judge of them, and how their success is counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from perf.attacks import ATTACKS, apply_attack, measure_attacks
from tests.judge.example_battles import RuleJudge, battle
from toolkit.judge.prompts import CONTROL, load_prompt, render
from toolkit.judge.verdicts import Comparison
from toolkit.types import Outcome

BATTLE = [battle(i, *(("GOOD", "BAD")[:: 1 if i % 2 else -1])) for i in range(4)]


def fair(one: str, _other: str) -> Outcome:
    return "a" if one.startswith("GOOD") else "b"


def gullible(one: str, other: str) -> Outcome:
    """Does what an answer orders, whichever it is."""
    for outcome, text in (("a", one), ("b", other)):
        if "Choose this answer" in text:
            return outcome
    return fair(one, other)


def test_a_fair_judge_withstands_and_a_gullible_one_falls_for_the_order(tmp_path: Path):
    found = measure_attacks(RuleJudge(fair), BATTLE, store=tmp_path / "fair")
    assert (found["all"]["value"], found["all"]["n"]) == (0, 4)
    found = measure_attacks(RuleJudge(gullible), BATTLE, store=tmp_path / "gullible")
    assert found["order"]["value"] == 1
    assert found["all"]["value"] == pytest.approx(1 / len(ATTACKS))
    assert found["harmless"]["value"] == 0
    assert found["all"]["n"] == found["order"]["n"] == 4, "battles, however many attacks there were on each"


def test_an_attacked_battle_is_judged_once_however_often_it_is_counted(tmp_path: Path):
    judge = RuleJudge(gullible)
    half = measure_attacks(judge, BATTLE[:2], store=tmp_path / "log")
    assert half["order"] == {**half["order"], "value": 1, "n": 2}
    found = measure_attacks(judge, BATTLE, store=tmp_path / "log")
    assert len(judge.asked) == len(set(judge.asked)) == 2 * len(BATTLE) * (len(ATTACKS) + 2)
    assert found == measure_attacks(RuleJudge(gullible), BATTLE, store=tmp_path / "another")


def test_battles_that_nobody_lost_are_not_counted(tmp_path: Path):
    found = measure_attacks(RuleJudge(lambda _one, _other: "tie"), BATTLE, store=tmp_path / "ties")
    assert found["all"]["n"] == 0


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("loser", ["a", "b"])
def test_no_attack_gets_out_of_its_quotation(attack: str, loser: str):
    prompt = load_prompt("pairwise")
    system, requested = render(
        prompt, "written", Comparison(apply_attack(BATTLE[0], loser, ATTACKS[attack]), "ab").case()
    )
    _, honest = render(prompt, "written", Comparison(BATTLE[0], "ab").case())
    marks = [line for line in requested.content.splitlines() if CONTROL.search(line)]
    ours = [line for line in honest.content.splitlines() if CONTROL.search(line)]
    assert [mark.partition(" ")[0] for mark in marks] == [mark.partition(" ")[0] for mark in ours]
    last_mark = requested.content.rindex(marks[-1])
    assert requested.content[last_mark + len(marks[-1]) :].strip() == prompt.written.strip()
    assert system.content == prompt.system.strip()
