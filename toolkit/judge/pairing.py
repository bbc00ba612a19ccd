"""Which battles are fought: every pair of contestants on every example, or all against a baseline."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping, Sequence
from itertools import combinations

from toolkit.errors import DataError
from toolkit.recipe import Judge
from toolkit.types import Battle, Completion

logger = logging.getLogger(__name__)


def battles(
    completions: Mapping[str, Sequence[Completion]],
    judge: Judge,
    seed: int = 0,
    *,
    categories: Mapping[str, str] | None = None,
) -> list[Battle]:
    """The battles a recipe's judge section asks for, example by example.

    Args:
        completions: contestant -> its completions.
        judge: `pairs`, `baseline`, and `limit` (a seeded choice of examples, the same for every pair).
        seed: of the choice.
        categories: example id -> category, where known.

    Raises:
        DataError: a contestant answered an example twice, the baseline is missing, or there is no pair.
    """
    answers = {name: _by_example(name, rows) for name, rows in completions.items()}
    pairs = _pairs(list(answers), judge)
    asked: dict[str, None] = {row.example_id: None for rows in completions.values() for row in rows}
    fought = [
        _battle(answers[a][example], answers[b][example], (categories or {}).get(example))
        for example in _chosen(list(asked), judge.limit, seed)
        for a, b in pairs
        if example in answers[a] and example in answers[b]
    ]
    missing = sum(len(asked) - len(rows) for rows in answers.values())
    if missing:
        logger.warning("judge: %d answers are missing; battles without both answers are left out", missing)
    return fought


def _by_example(name: str, rows: Sequence[Completion]) -> dict[str, Completion]:
    answers = {row.example_id: row for row in rows}
    if len(answers) < len(rows):
        ids = [row.example_id for row in rows]
        twice = next(example for example in ids if ids.count(example) > 1)
        raise DataError(f"completions of {name}: example {twice} is answered twice")
    return answers


def _pairs(names: list[str], judge: Judge) -> list[tuple[str, str]]:
    if len(names) < 2:  # noqa: PLR2004
        raise DataError(f"judge: a battle takes two contestants, and there is {', '.join(names) or 'none'}")
    if judge.pairs == "all":
        return list(combinations(names, 2))
    if judge.baseline not in names:
        raise DataError(f"judge.baseline: {judge.baseline} has no completions; known: {', '.join(names)}")
    return [(name, judge.baseline) for name in names if name != judge.baseline]


def _chosen(examples: list[str], limit: int | None, seed: int) -> list[str]:
    """All examples, or a seeded choice of `limit` of them; in their own order."""
    if limit is None or limit >= len(examples):
        return examples
    kept = set(random.Random(seed).sample(sorted(examples), limit))
    return [example for example in examples if example in kept]


def _battle(a: Completion, b: Completion, category: str | None) -> Battle:
    return Battle(
        example_id=a.example_id,
        messages=a.messages,
        reference=a.reference,
        category=category,
        model_a=a.contestant,
        model_b=b.contestant,
        completion_a=a.completion,
        completion_b=b.completion,
    )
