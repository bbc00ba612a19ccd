"""Which battles are judged: every pair of contestants on every example, or all against a baseline."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations

from toolkit.errors import DataError
from toolkit.recipe import Judge
from toolkit.types import Battle, Completion, digest

logger = logging.getLogger(__name__)


def build_battles(
    completions: Mapping[str, Sequence[Completion]], judge: Judge, seed: int = 0
) -> list[Battle]:
    """The battles a recipe's judge section asks for, example by example.

    Args:
        completions: contestant -> its completions; those that a server refused are in no battle.
        judge: `pairs`, `baseline`; `limit` (examples per pair, the same for every pair) and `budget` (battles
            in all, spread evenly over pairs). Both choose by `seed`, and evenly over categories.
        seed: of the choice. A larger limit or budget keeps the battles of a smaller one.

    Raises:
        DataError: a contestant answered an example twice or another question under the same id, the baseline
            is missing, or there is no pair.
    """
    rows = [row for answers in completions.values() for row in answers]
    answers = {name: _by_example(name, rows_of) for name, rows_of in completions.items()}
    refused = sum(row.refused for row in rows)
    if refused:
        logger.warning("judge: %d completions were refused by their server; they are not judged", refused)
    pairs = _pairs(list(answers), judge)
    categories = {row.example_id: row.category for row in rows if row.category}
    questions = dict.fromkeys(row.example_id for row in rows)
    possible = [
        (example, a, b)
        for turn, example in enumerate(_in_order_of_choice(rows, seed)[: judge.limit])
        for a, b in [*pairs[turn % len(pairs) :], *pairs[: turn % len(pairs)]]  # a cut hits no pair twice
        if example in answers[a] and example in answers[b]
    ]
    chosen = set(possible[: judge.budget])
    missing = sum(len(questions) - len(by_example) for by_example in answers.values())
    if missing:
        logger.warning("judge: %d answers are missing; battles without both answers are left out", missing)
    return [
        _comparable(answers[a][example], answers[b][example], categories.get(example), judge.reference)
        for example in questions
        for a, b in pairs
        if (example, a, b) in chosen
    ]


def choose_answers(
    completions: Mapping[str, Sequence[Completion]], judge: Judge, seed: int = 0
) -> list[Completion]:
    """The completions to grade one by one: of `limit` examples, `budget` in all; none that was refused."""
    rows = [row for answers in completions.values() for row in answers if not row.refused]
    examples = _in_order_of_choice(rows, seed)[: judge.limit]
    places = {example: place for place, example in enumerate(examples)}
    possible = (row for row in rows if row.example_id in places)
    first = sorted(possible, key=lambda row: places[row.example_id])[: judge.budget]
    chosen = {row.id for row in first}
    return [row for row in rows if row.id in chosen]


def _by_example(name: str, rows: Sequence[Completion]) -> dict[str, Completion]:
    twice = [example for example, count in Counter(row.example_id for row in rows).items() if count > 1]
    if twice:
        raise DataError(f"completions of {name}: example {twice[0]} is answered twice")
    return {row.example_id: row for row in rows if not row.refused}


def _pairs(names: list[str], judge: Judge) -> list[tuple[str, str]]:
    if len(names) < 2:  # noqa: PLR2004
        raise DataError(f"judge: a battle takes two contestants, and there is {', '.join(names) or 'none'}")
    if judge.pairs == "all":
        return list(combinations(names, 2))
    if judge.baseline not in names:
        raise DataError(f"judge.baseline: {judge.baseline} has no completions; known: {', '.join(names)}")
    return [(name, judge.baseline) for name in names if name != judge.baseline]


def _in_order_of_choice(rows: Sequence[Completion], seed: int) -> list[str]:
    """Examples by a hash of seed and question, one of each category in turn.

    So the choice does not hang on ids, nor on which other examples there are.
    """
    questions = {row.example_id: _question(row) for row in rows}
    categories = {row.example_id: row.category for row in rows if row.category}
    places: Counter[str] = Counter()
    turns = {}
    for example in sorted(questions, key=lambda each: digest(str(seed), *questions[each])):
        turns[example] = places[categories.get(example, "")]
        places[categories.get(example, "")] += 1
    return sorted(turns, key=turns.__getitem__)


def _comparable(a: Completion, b: Completion, category: str | None, reference: bool) -> Battle:
    if _question(a) != _question(b):
        raise DataError(
            f"example {a.example_id}: {a.contestant} and {b.contestant} answered different prompts"
        )
    return battle_of(a, b, category, reference)


def battle_of(a: Completion, b: Completion, category: str | None, reference: bool) -> Battle:
    """The battle of two completions of an example; `reference`: whether the judge is shown it."""
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


def _question(completion: Completion) -> list[str]:
    """A contestant's prompt, without its own earlier answers."""
    return [message.content for message in completion.messages if message.role != "assistant"]
