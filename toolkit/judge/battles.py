"""Which battles are fought: every pair of contestants on every example, or all against a baseline."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations

from toolkit.errors import DataError
from toolkit.recipe import Judge
from toolkit.types import Battle, Completion, digest

logger = logging.getLogger(__name__)


def build_battles(
    completions: Mapping[str, Sequence[Completion]],
    judge: Judge,
    seed: int = 0,
) -> list[Battle]:
    """The battles a recipe's judge section asks for, example by example.

    Args:
        completions: contestant -> its completions; those that a server refused fight no battle.
        judge: `pairs`, `baseline`; `limit` (examples per pair, the same for every pair) and `budget` (battles
            in all, spread evenly over pairs). Both choose by `seed`, and evenly over categories.
        seed: of the choice. A larger limit or budget keeps the battles of a smaller one.

    Raises:
        DataError: a contestant answered an example twice or another question under the same id, the baseline
            is missing, or there is no pair.
    """
    answers = {name: _by_example(name, rows) for name, rows in completions.items()}
    refused = sum(row.refused for rows in completions.values() for row in rows)
    if refused:
        logger.warning("judge: %d completions were refused by their server; they are not judged", refused)
    pairs = _pairs(list(answers), judge)
    asked = {row.example_id: _asked(row) for rows in completions.values() for row in rows}
    categories = {
        row.example_id: row.category for rows in completions.values() for row in rows if row.category
    }
    chosen = _in_order_of_choice(asked, categories, seed)[: judge.limit]
    fought = [
        (example, a, b)
        for turn, example in enumerate(chosen)
        for a, b in [*pairs[turn % len(pairs) :], *pairs[: turn % len(pairs)]]  # a cut hits no pair twice
        if example in answers[a] and example in answers[b]
    ]
    kept = set(fought[: judge.budget])
    missing = sum(len(asked) - len(rows) for rows in answers.values())
    if missing:
        logger.warning("judge: %d answers are missing; battles without both answers are left out", missing)
    return [
        _battle(answers[a][example], answers[b][example], categories.get(example), judge.reference)
        for example in asked
        for a, b in pairs
        if (example, a, b) in kept
    ]


def _by_example(name: str, rows: Sequence[Completion]) -> dict[str, Completion]:
    answers = {row.example_id: row for row in rows}
    if len(answers) < len(rows):
        ids = [row.example_id for row in rows]
        twice = next(example for example in ids if ids.count(example) > 1)
        raise DataError(f"completions of {name}: example {twice} is answered twice")
    return {example: row for example, row in answers.items() if not row.refused}


def _pairs(names: list[str], judge: Judge) -> list[tuple[str, str]]:
    if len(names) < 2:  # noqa: PLR2004
        raise DataError(f"judge: a battle takes two contestants, and there is {', '.join(names) or 'none'}")
    if judge.pairs == "all":
        return list(combinations(names, 2))
    if judge.baseline not in names:
        raise DataError(f"judge.baseline: {judge.baseline} has no completions; known: {', '.join(names)}")
    return [(name, judge.baseline) for name in names if name != judge.baseline]


def _in_order_of_choice(
    asked: Mapping[str, Sequence[str]], categories: Mapping[str, str], seed: int
) -> list[str]:
    """Examples by a hash of seed and question, one of each category in turn.

    So the choice does not hang on ids, nor on which other examples there are.
    """
    places: Counter[str] = Counter()
    turns = []
    for example in sorted(asked, key=lambda each: digest(str(seed), *asked[each])):
        category = categories.get(example, "")
        turns.append((places[category], example))
        places[category] += 1
    return [example for _, example in sorted(turns, key=lambda turn: turn[0])]


def _battle(a: Completion, b: Completion, category: str | None, reference: bool) -> Battle:
    if _asked(a) != _asked(b):
        raise DataError(
            f"example {a.example_id}: {a.contestant} and {b.contestant} were asked different things"
        )
    return Battle(
        example_id=a.example_id,
        messages=a.messages,
        reference=a.reference,
        category=category,
        model_a=a.contestant,
        model_b=b.contestant,
        completion_a=a.completion,
        completion_b=b.completion,
        messages_b=b.messages if b.messages != a.messages else None,
        reference_shown=reference,
    )


def _asked(completion: Completion) -> list[str]:
    """What a contestant was asked, without its own earlier answers."""
    return [message.content for message in completion.messages if message.role != "assistant"]
