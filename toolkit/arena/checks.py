"""Attention checks: now and then a battle with one right side, to find voters who do not read."""

from __future__ import annotations

from typing import Any

from numpy.random import Generator

from toolkit.arena.contest import Contest, battle_key

RIGHT = "the example's own answer"
WRONG = "an answer to something else"
"""What stands in place of the contestants' names."""


def is_due(number: int, every: int, rng: Generator) -> bool:
    """Whether a voter's battle of this number is a check: one in `every` on average, never the first."""
    return every > 0 and number > 0 and bool(rng.integers(every) == 0)


def plant(contest: Contest, met: set[str], rng: Generator) -> dict[str, Any] | None:
    """The fields of a ballot: an example with its reference or an answer, against another example's answer.

    Returns:
        `None` when the run is too small for it, or what was drawn is in `met` already.
    """
    shown = {
        example: [answer for answer in answers.values() if answer.id not in contest.flagged]
        for example, answers in contest.answers.items()
    }
    examples = [example for example, answers in shown.items() if answers]
    if len(examples) < 2:  # noqa: PLR2004
        return None
    mine, other = (examples[int(i)] for i in rng.choice(len(examples), size=2, replace=False))
    answers, others = shown[mine], shown[other]
    own = answers[int(rng.integers(len(answers)))]
    right = own.reference or own.completion
    wrong = others[int(rng.integers(len(others)))].completion
    if right.strip() == wrong.strip() or own.messages == others[0].messages:
        return None
    sides = [(RIGHT, right), (WRONG, wrong)]
    if battle_key(mine, *sides) in met:
        return None
    expected = "ab"[int(rng.integers(2))]
    (name_a, answer_a), (name_b, answer_b) = sides if expected == "a" else sides[::-1]
    return {
        "kind": "check",
        "example_id": mine,
        "messages": own.messages,
        "reference": own.reference,
        "contestant_a": name_a,
        "contestant_b": name_b,
        "answer_a": answer_a,
        "answer_b": answer_b,
        "expected": expected,
    }
