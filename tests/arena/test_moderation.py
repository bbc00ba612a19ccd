"""Riggers are found with the evidence, honest voters left alone, and answers that name their author known."""

from __future__ import annotations

from pathlib import Path

import pytest

from perf.riggers import crowd
from tests.arena import self_revealing_held_out as held_out
from tests.arena.self_revealing import HARMLESS, REVEALING
from toolkit.arena.battles import Ballot, Cast, Reveal
from toolkit.arena.moderation import voter_reports
from toolkit.arena.self_revealing import identity_match, reveals_identity
from toolkit.types import Message


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("rigging", "kind"),
    [
        ("always the left", "one side"),
        ("always one contestant", "for one contestant"),
        ("always against one", "against one contestant"),
        ("one contestant, else random", "unlike the rest"),
        ("copied clicks, 15% noise", "copied"),
        ("copied choices", "copied"),
        ("ring for one contestant", "ring"),
        ("hurried", "speed"),
    ],
)
def test_riggers_come_first_with_the_evidence(rigging: str, kind: str) -> None:
    first = voter_reports(crowd(3, rigging, votes=120 if "choices" in rigging else 60))[0]
    assert first.voter.startswith("rig")
    assert kind in {each.kind for each in first.evidence}
    assert first.flagged


@pytest.mark.slow
def test_honest_voters_are_rarely_accused_for_a_taste_or_a_habit() -> None:
    """At most one of eight crowds; `perf/riggers.py` measures some 3%."""
    crowds = [voter_reports(crowd(seed, None)) for seed in range(1, 9)]
    accused = [seed for seed, reports in enumerate(crowds, 1) if any(each.flagged for each in reports)]
    assert len(accused) <= 1


@pytest.mark.matrix
@pytest.mark.parametrize("rigging", ["always one contestant", "always against one"])
def test_votes_for_or_against_one_contestant_are_found_in_every_crowd(rigging: str) -> None:
    """In 92% of 120 other crowds; with bounds on sums of points in place of likelihood ratios in 83%."""
    reports = [voter_reports(crowd(seed, rigging))[0] for seed in range(6)]
    assert [(each.voter, each.flagged) for each in reports] == [("rig-0", True)] * 6


def test_too_few_votes_are_not_judged() -> None:
    reports = {report.voter: report for report in voter_reports(crowd(3, "always the left", votes=10))}
    assert reports["rig-0"].p_value is None
    assert not reports["rig-0"].flagged
    assert any(report.p_value is not None for report in reports.values())


def test_answers_that_name_their_author_are_found_and_harmless_ones_left() -> None:
    names = ("base", "student", "teacher", "tinyllama-dpo")
    revealing, harmless = REVEALING.splitlines(), HARMLESS.splitlines()
    assert [line for line in revealing if not reveals_identity(line, names)] == []
    assert [identity_match(line, names) for line in harmless if reveals_identity(line, names)] == []


def test_a_list_that_the_rule_was_not_written_on_is_distinguished_nearly_as_well() -> None:
    """Unseen, the rule found 47 of these 100 and struck 4 of the others; then odd lines were looked at."""
    names = ("base", "student", "teacher", "tinyllama-dpo")
    even = slice(1, None, 2)
    found = [line for line in held_out.REVEALING.splitlines()[even] if reveals_identity(line, names)]
    struck = [line for line in held_out.HARMLESS.splitlines()[even] if reveals_identity(line, names)]
    assert len(found) >= 45
    assert len(struck) <= 3


def test_texts_of_real_data_sets_are_left_alone(shared_data: Path) -> None:
    rows = (shared_data / "sft_gsm8k").rglob("*.jsonl")
    texts = [line for file in rows for line in file.read_text(encoding="utf-8").splitlines()[:1500]]
    assert len(texts) > 1000
    assert [
        identity_match(text, ("base", "sft")) for text in texts if reveals_identity(text, ("base",))
    ] == []


def check(voter: str, outcome: str) -> Reveal:
    ballot = Ballot(
        id=voter + outcome,
        voter=voter,
        number=1,
        kind="check",
        run="r",
        example_id="e",
        messages=(Message(role="user", content="?"),),
        contestant_a="right",
        contestant_b="wrong",
        answer_a="1",
        answer_b="2",
        expected="a",
        shown_at=0,
    )
    return Reveal(
        ballot=ballot, cast=Cast(ballot=ballot.id, revision=0, action="vote", outcome=outcome, cast_at=0)
    )


def test_failed_attention_checks_flag_a_voter() -> None:
    checks = [check("careless", "b"), check("careless", "tie"), check("careful", "a"), check("once", "b")]
    reports = {report.voter: report for report in voter_reports([], checks)}
    assert {voter: report.flagged for voter, report in reports.items()} == {
        "careless": True,
        "careful": False,
        "once": False,
    }
    assert (reports["careless"].checks, reports["careless"].failed) == (2, 2)
