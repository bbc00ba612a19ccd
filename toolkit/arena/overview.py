"""What pages show besides ratings: win rates, votes of each pair, a judge's verdicts on an example."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from itertools import permutations
from typing import Any

from toolkit.arena.pairing import POINTS
from toolkit.types import Battle, Completion, Verdict, Vote


def win_rates(votes: Iterable[Vote]) -> list[dict[str, Any]]:
    """Each ordered pair that met: the share of its votes that `contestant` won, a tie being half a win."""
    points: dict[tuple[str, str], float] = defaultdict(float)
    met: Counter[tuple[str, str]] = Counter()
    for vote in votes:
        for one, other, won in (
            (vote.model_a, vote.model_b, POINTS[vote.outcome]),
            (vote.model_b, vote.model_a, 1 - POINTS[vote.outcome]),
        ):
            points[one, other] += won
            met[one, other] += 1
    return [
        {"contestant": one, "against": other, "rate": points[one, other] / times, "votes": times}
        for (one, other), times in sorted(met.items())
    ]


def verdicts_on(
    answers: Mapping[str, Completion], verdicts: Iterable[Verdict]
) -> list[tuple[str, str, Verdict]]:
    """The verdicts on battles between these answers to one example, each with its sides a and b.

    Verdicts know a battle by its content only, so those on answers that have changed since are not found.
    """
    sides = {}
    for a, b in permutations(answers.values(), 2):
        battle = Battle(
            example_id=a.example_id,
            messages=a.messages,
            reference=a.reference,
            model_a=a.contestant,
            model_b=b.contestant,
            completion_a=a.completion,
            completion_b=b.completion,
        )
        sides[battle.id] = a.contestant, b.contestant
    return [(*sides[verdict.battle_id], verdict) for verdict in verdicts if verdict.battle_id in sides]
