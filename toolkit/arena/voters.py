"""Which voters' votes do not fit: attention checks they failed, and votes that are too unlike the others'.

The test for unlikely voters follows Chatbot Arena (Chiang et al. 2024, "Detecting anomalous users"): each
vote is compared with the votes of everybody else on the same pair, which gives a p-value that is uniform when
the voter is like the others; Fisher's method joins them, and the voter is tested at five random points of
their history, each at a fifth of the level. Unlike there, what counts as extreme is an outcome that is rare
on its pair, to either side, and equal ranks are broken at random: with three possible outcomes the test would
hardly ever find anything otherwise.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.random import Generator

from toolkit.arena.ballot import Reveal
from toolkit.arena.contest import Pair, pair
from toolkit.types import POINTS, Record, Vote, digest

LEVEL = 0.1
"""Share of honest voters that may be flagged."""
LOOKS = 5
"""How often a voter's history is tested; with fewer votes than this it is not."""
HISTORY = 20
"""Others' votes that a pair needs before a vote on it is judged."""


class VoterReport(Record):
    """How one voter's votes compare with the others'."""

    voter: str
    votes: int
    checks: int
    """Attention checks answered."""
    failed: int
    """Of these, answered wrongly."""
    p_value: float | None
    """The lowest of the looks at their history, times the number of looks; `None`: too few votes."""
    flagged: bool
    """Unlikely at the level, or more than half of at least two attention checks failed."""


def voter_reports(votes: Sequence[Vote], checks: Iterable[Reveal], *, seed: int = 0) -> list[VoterReport]:
    """One report for each voter, the most suspicious first."""
    answered: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for reveal in checks:
        answered[reveal.ballot.voter] += 1
        failed[reveal.ballot.voter] += reveal.cast.outcome != reveal.ballot.expected
    history = _by_pair(votes)
    by_voter: dict[str, list[Vote]] = defaultdict(list)
    for vote in votes:
        by_voter[vote.voter].append(vote)
    reports = []
    for voter in dict.fromkeys([*by_voter, *answered]):
        cast = by_voter[voter]
        rng = np.random.default_rng(int(digest(str(seed), voter), 16))
        p_value = unlikely(cast, history, rng)
        inattentive = answered[voter] > 1 and failed[voter] * 2 > answered[voter]
        reports.append(
            VoterReport(
                voter=voter,
                votes=len(cast),
                checks=answered[voter],
                failed=failed[voter],
                p_value=p_value,
                flagged=inattentive or (p_value is not None and p_value <= LEVEL),
            )
        )
    return sorted(reports, key=suspicion)


def suspicion(report: VoterReport) -> tuple[bool, float, int]:
    """Sorts the most suspicious first."""
    return not report.flagged, 1.0 if report.p_value is None else report.p_value, -report.failed


def unlikely(
    cast: Sequence[Vote], history: dict[Pair, Counter[tuple[str, float]]], rng: Generator
) -> float | None:
    """The joint p-value of a voter's votes against everybody else's; `None` when none can be judged."""
    p_values = [p for vote in cast if (p := _p_value(vote, history, rng)) is not None]
    if len(p_values) < LOOKS:
        return None
    surprise = -2 * np.cumsum(np.log(p_values))
    looks = rng.choice(len(p_values), size=LOOKS, replace=False)
    return min(1.0, LOOKS * min(chi_square_tail(float(surprise[look]), int(look) + 1) for look in looks))


def chi_square_tail(x: float, half: int) -> float:
    """P(X > x) of a chi-square variable with `2 * half` degrees of freedom, which makes it a finite sum."""
    if x <= 0:
        return 1.0
    logs = [-x / 2 + k * math.log(x / 2) - math.lgamma(k + 1) for k in range(half)]
    return min(1.0, math.fsum(math.exp(term) for term in logs))


def _by_pair(votes: Iterable[Vote]) -> dict[Pair, Counter[tuple[str, float]]]:
    """Pair -> (voter, points of the pair's first contestant) -> how often."""
    history: dict[Pair, Counter[tuple[str, float]]] = defaultdict(Counter)
    for vote in votes:
        history[pair(vote.model_a, vote.model_b)][vote.voter, _points(vote)] += 1
    return history


def _p_value(vote: Vote, history: dict[Pair, Counter[tuple[str, float]]], rng: Generator) -> float | None:
    """Share of the others' votes on this pair that are at least as rare; of equals, a random part."""
    others = Counter[float]()
    for (voter, points), times in history[pair(vote.model_a, vote.model_b)].items():
        if voter != vote.voter:
            others[points] += times
    if others.total() < HISTORY:
        return None
    mine = others[_points(vote)]
    rarer = sum(times for times in others.values() if times < mine)
    equal = sum(times for times in others.values() if times == mine)
    return (rarer + (1 - float(rng.random())) * (equal + 1)) / (others.total() + 1)


def _points(vote: Vote) -> float:
    """Points of the contestant that comes first in the alphabet."""
    points = POINTS[vote.outcome]
    return points if vote.model_a < vote.model_b else 1 - points
