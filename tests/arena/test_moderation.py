"""Voters whose votes do not fit are found, and honest ones are mostly left alone."""

from __future__ import annotations

import numpy as np
import pytest

from toolkit.arena.battles import Ballot, Cast, Reveal
from toolkit.arena.moderation import LEVEL, VoterReport, suspicion_key, voter_reports
from toolkit.types import Message, Vote

STRENGTH = {"strong": 1.5, "middling": 0.0, "weak": -1.5}


def cast_by(voter: str, votes: int, rng: np.random.Generator, manner: str = "honest") -> list[Vote]:
    cast = []
    for _ in range(votes):
        a, b = rng.permutation(list(STRENGTH))[:2]
        wins = rng.random() < 1 / (1 + np.exp(STRENGTH[b] - STRENGTH[a]))
        if manner == "contrary":
            wins = not wins
        cast.append(
            Vote(model_a=a, model_b=b, outcome="a" if wins or manner == "always a" else "b", voter=voter)
        )
    return cast


@pytest.fixture(scope="module")
def crowd() -> list[Vote]:
    rng = np.random.default_rng(1)
    return [vote for number in range(200) for vote in cast_by(f"honest-{number}", 40, rng)]


def test_what_is_as_good_as_impossible_is_more_suspicious_than_what_is_unlikely() -> None:
    reports = [
        VoterReport(voter=str(p_value), votes=9, checks=0, failed=0, p_value=p_value, flagged=True)
        for p_value in (0.05, 0.0, None)
    ]
    assert [report.voter for report in sorted(reports, key=suspicion_key)] == ["0.0", "0.05", "None"]


def test_few_honest_voters_are_flagged(crowd: list[Vote]) -> None:
    flagged = [report for report in voter_reports(crowd, []) if report.flagged]
    assert len(flagged) <= LEVEL * 200


@pytest.mark.parametrize("manner", ["contrary", "always a"])
def test_voters_who_do_not_fit_come_first(crowd: list[Vote], manner: str) -> None:
    odd = cast_by("odd", 60, np.random.default_rng(2), manner)
    first = voter_reports(crowd + odd, [])[0]
    assert (first.voter, first.flagged) == ("odd", True)


def test_too_few_votes_are_not_judged(crowd: list[Vote]) -> None:
    reports = {
        report.voter: report
        for report in voter_reports(crowd + cast_by("new", 3, np.random.default_rng(3)), [])
    }
    assert reports["new"].p_value is None
    assert not reports["new"].flagged


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
