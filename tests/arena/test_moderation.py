"""Riggers are found with the evidence, honest voters left alone, and answers that name their author known."""

from __future__ import annotations

import pytest

from perf.riggers import crowd
from tests.arena.self_revealing import HARMLESS, REVEALING
from toolkit.arena.battles import Ballot, Cast, Reveal
from toolkit.arena.moderation import identity_match, reveals_identity, voter_reports
from toolkit.types import Message


@pytest.mark.parametrize(
    ("rigging", "kind"),
    [
        ("always A", "one side"),
        ("one contestant", "for one contestant"),
        ("copied clicks", "copied"),
        ("speed", "speed"),
    ],
)
def test_riggers_come_first_with_the_evidence(rigging: str, kind: str) -> None:
    first = voter_reports(crowd(3, rigging))[0]
    assert first.voter.startswith("rig")
    assert kind in {each.kind for each in first.evidence}
    assert first.flagged


@pytest.mark.parametrize("shared", [False, True])
def test_no_honest_voter_is_accused_for_a_taste(shared: bool) -> None:
    accused = [
        [report.voter for report in voter_reports(crowd(seed, None, shared_taste=shared)) if report.flagged]
        for seed in (1, 2, 3)
    ]
    assert accused == [[], [], []]


def test_too_few_votes_are_not_judged() -> None:
    reports = {report.voter: report for report in voter_reports(crowd(1, "always A", votes=10))}
    assert reports["rig-0"].p_value is None
    assert not reports["rig-0"].flagged
    assert reports["honest-0"].p_value is not None


def test_answers_that_name_their_author_are_found_and_harmless_ones_left() -> None:
    names = ("base", "student", "teacher", "tinyllama-dpo")
    revealing, harmless = REVEALING.splitlines(), HARMLESS.splitlines()
    assert [line for line in revealing if not reveals_identity(line, names)] == []
    assert [identity_match(line, names) for line in harmless if reveals_identity(line, names)] == []


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
