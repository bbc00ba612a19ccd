"""Battles and judges that the judge's tests share."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from toolkit.judge.prompts import JudgePrompt
from toolkit.judge.verdicts import Comparison, to_battle_outcome
from toolkit.types import Battle, Completion, Judgment, Message, Outcome, Verdict

SHORT = JudgePrompt(
    system="Judge.",
    user="{{ question }}\n{{ answer_1 }}\n{{ answer_2 }}\n",
    letter="A or B?",
    written="[[A]], [[B]] or [[C]]?",
)
"""A prompt of few bytes, for a model that reads 1,024 of them."""


def battle(number: int = 0, a: str = "one", b: str = "another", **fields: object) -> Battle:
    return Battle(
        example_id=str(number),
        messages=(Message(role="user", content=f"Question {number}?"),),
        model_a="left",
        model_b="right",
        completion_a=a,
        completion_b=b,
        **fields,
    )


def completion(contestant: str, example: int, text: str = "an answer") -> Completion:
    return Completion(
        example_id=str(example),
        contestant=contestant,
        messages=(Message(role="user", content=f"Question {example}?"),),
        completion=text,
        finish="stop",
        tokens=3,
    )


def kept(store: Path, kind: type[Judgment] = Verdict) -> list[Judgment]:
    """Every judgment in a store, in the order in which they came."""
    lines = [
        json.loads(line) for file in sorted(store.glob("*.jsonl")) for line in file.read_text().splitlines()
    ]
    return [kind.model_validate(line["reply"]) for line in lines if "reply" in line]


class RuleJudge:
    """A judge that follows a rule on the two texts as they are shown, and counts what it is asked."""

    def __init__(self, rule: Callable[[str, str], Outcome | None], name: str = "rule") -> None:
        self.rule, self.name, self.prompt_key = rule, name, "by-rule"
        self.asked: list[Comparison] = []

    def verdicts(
        self, comparisons: Sequence[Comparison], known: Mapping[Comparison, Verdict]
    ) -> Iterator[Verdict]:
        for comparison in comparisons:
            if comparison not in known:
                self.asked.append(comparison)
                texts = (comparison.battle.completion_a, comparison.battle.completion_b)
                shown = self.rule(*(texts if comparison.order == "ab" else texts[::-1]))
                yield Verdict(
                    battle_id=comparison.battle.id,
                    judge=self.name,
                    order=comparison.order,
                    outcome=to_battle_outcome(shown, comparison.order),
                    prompt=self.prompt_key,
                )
