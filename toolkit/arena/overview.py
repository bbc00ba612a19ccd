"""What pages show besides ratings: win rates, votes of each pair, a judge's verdicts on an example."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from itertools import permutations, product
from typing import Any

from toolkit.arena.ballot import Reveal
from toolkit.arena.contest import Contest
from toolkit.types import POINTS, WINNERS, Battle, Completion, Verdict, Vote


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


def with_lengths(
    votes: Iterable[Vote], contest: Contest, others: Iterable[Reveal] = ()
) -> list[dict[str, Any]]:
    """Votes as rows of a battle log with the words of both answers, `length_a` and `length_b`.

    Args:
        votes: people's or a judge's.
        contest: whose answers they are on.
        others: votes with texts of their own: live ones, and imported ones.

    Returns:
        A row for each vote whose answers are known.
    """
    words = {
        (example, name): len(answer.completion.split())
        for example, answers in contest.answers.items()
        for name, answer in answers.items()
    }
    for ballot in (reveal.ballot for reveal in others):
        if ballot.answer_a or ballot.answer_b:
            words[ballot.example_id, ballot.contestant_a] = len(ballot.answer_a.split())
            words[ballot.example_id, ballot.contestant_b] = len(ballot.answer_b.split())
    rows = []
    for vote in votes:
        a, b = (words.get((vote.example_id, name)) for name in (vote.model_a, vote.model_b))
        if a is not None and b is not None:
            battle = {"model_a": vote.model_a, "model_b": vote.model_b, "winner": WINNERS[vote.outcome]}
            rows.append({**battle, "length_a": a, "length_b": b})
    return rows


def verdicts_on(
    answers: Mapping[str, Completion], verdicts: Iterable[Verdict]
) -> list[tuple[str, str, Verdict]]:
    """The verdicts on battles between these answers to one example, each with its sides a and b.

    Verdicts know a battle by its content only, so those on answers that have changed since are not found.
    """
    sides: dict[str, dict[tuple[str, str], None]] = {}
    for (a, b), shown in product(permutations(answers.values(), 2), (True, False)):
        battle = Battle(
            example_id=a.example_id,
            messages=a.messages,
            reference=a.reference,
            model_a=a.contestant,
            model_b=b.contestant,
            completion_a=a.completion,
            completion_b=b.completion,
            reference_shown=shown,
        )
        sides.setdefault(battle.id, {})[a.contestant, b.contestant] = None
    return [(*both, verdict) for verdict in verdicts for both in sides.get(verdict.battle_id, ())]
