"""Moderation: anomalous voters (failed attention checks, unlikely votes) and answers that name their author.

The test for unlikely voters follows Chatbot Arena (Chiang et al. 2024, "Detecting anomalous users"): each
vote is compared with the votes of everybody else on the same pair, which gives a p-value that is uniform when
the voter is like the others; Fisher's method joins them, and the voter is tested at five random points of
their history, each at a fifth of the level. Unlike there, what counts as extreme is an outcome that is rare
on its pair, to either side, and equal ranks are broken at random: with three possible outcomes the test would
hardly ever find anything otherwise.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.random import Generator
from scipy.special import chdtrc

from toolkit.types import POINTS, Pair, Record, Vote, digest, sorted_pair

if TYPE_CHECKING:
    from toolkit.arena.battles import Reveal

LEVEL = 0.1
"""Share of honest voters that may be flagged."""
CHECKPOINTS = 5
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
        p_value = anomaly_p_value(cast, history, rng)
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
    return sorted(reports, key=suspicion_key)


def suspicion_key(report: VoterReport) -> tuple[bool, float, int]:
    """Sorts the most suspicious first."""
    return not report.flagged, 1.0 if report.p_value is None else report.p_value, -report.failed


def anomaly_p_value(
    cast: Sequence[Vote], history: dict[Pair, Counter[tuple[str, float]]], rng: Generator
) -> float | None:
    """Joint p-value of a voter's votes against all other votes; `None` with too few comparable votes."""
    p_values = [p for vote in cast if (p := _p_value(vote, history, rng)) is not None]
    if len(p_values) < CHECKPOINTS:
        return None
    surprise = -2 * np.cumsum(np.log(p_values))
    looks = rng.choice(len(p_values), size=CHECKPOINTS, replace=False)
    return min(1.0, CHECKPOINTS * min(float(chdtrc(2 * (look + 1), surprise[look])) for look in looks))


def _by_pair(votes: Iterable[Vote]) -> dict[Pair, Counter[tuple[str, float]]]:
    """Pair -> (voter, points of the pair's first contestant) -> how often."""
    history: dict[Pair, Counter[tuple[str, float]]] = defaultdict(Counter)
    for vote in votes:
        history[sorted_pair(vote.model_a, vote.model_b)][vote.voter, _points(vote)] += 1
    return history


def _p_value(vote: Vote, history: dict[Pair, Counter[tuple[str, float]]], rng: Generator) -> float | None:
    """Share of the others' votes on this pair that are at least as rare; of equals, a random part."""
    others = Counter[float]()
    for (voter, points), times in history[sorted_pair(vote.model_a, vote.model_b)].items():
        if voter != vote.voter:
            others[points] += times
    if others.total() < HISTORY:
        return None
    mine = others[_points(vote)]
    rarer = sum(times for times in others.values() if times < mine)
    equal = sum(times for times in others.values() if times == mine)
    return (rarer + (1 - float(rng.random())) * (equal + 1)) / (others.total() + 1)


def _points(vote: Vote) -> float:
    """Points of the alphabetically first contestant."""
    points = POINTS[vote.outcome]
    return points if vote.model_a < vote.model_b else 1 - points


# Answers that identify their author

MODELS = "|".join(
    (
        r"smollm|tinyllama|llama|alpaca|vicuna|qwen|gemma|gemini|bard|mistral|mixtral|phi-?[1-9]|falcon|olmo",
        r"pythia|claude|chatgpt|gpt-?[2-9]|davinci|deepseek|yi-\d+b|grok|command-r|zephyr|dolly|koala|guanaco",
    )
)
MAKERS = "|".join(
    (
        r"openai|anthropic|google|deepmind|meta ai|facebook ai|mistral ai|alibaba|hugging ?face|microsoft",
        r"deepseek|xai|stability ai|tsinghua|lmsys",
    )
)

_I_AM = r"\b(?:i am|i['\u2019]m|my name is|call me)\b"
_BY = r"\b(?:i was|i am|i['\u2019]m|i have been|model|assistant|trained|developed|created|made|built)\b"
_REST = r"[^.!?\n]{0,40}?"
"""A little way on in the same sentence."""

_MODEL = re.compile(rf"(?:{_I_AM}|\b(?:this is|as)\b){_REST}\b(?:{MODELS})", re.IGNORECASE)
_MAKER = re.compile(rf"{_BY}{_REST}\b(?:by|from|at)\s+(?:the\s+)?(?:{MAKERS})\b", re.IGNORECASE)


def reveals_identity(answer: str, contestants: Sequence[str]) -> bool:
    """Whether an answer names its model or its maker, or one of the contestants.

    A contestant's name that is also a word (`base`) counts only in an introduction ("I am base"); one with a
    digit or hyphen in it (`tinyllama-dpo`) counts wherever it stands.
    """
    if _MODEL.search(answer) or _MAKER.search(answer):
        return True
    return any(_names(answer, contestant) for contestant in contestants)


def _names(answer: str, contestant: str) -> bool:
    name = rf"(?<![\w-]){re.escape(contestant)}(?![\w-])"
    distinctive = re.search(r"[\d_-]", contestant) is not None
    pattern = name if distinctive else rf"{_I_AM}\s+(?:the\s+|called\s+)?{name}"
    return re.search(pattern, answer, re.IGNORECASE) is not None
