"""Battles and judges that the judge's tests share."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from toolkit.judge import JudgePrompt
from toolkit.judge.judging import Ask, in_battle_terms
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
        self.asked: list[Ask] = []

    def verdicts(self, asks: Sequence[Ask], known: Mapping[Ask, Verdict]) -> Iterator[Verdict]:
        for ask in asks:
            if ask not in known:
                self.asked.append(ask)
                texts = (ask.battle.completion_a, ask.battle.completion_b)
                shown = self.rule(*(texts if ask.order == "ab" else texts[::-1]))
                yield Verdict(
                    battle_id=ask.battle.id,
                    judge=self.name,
                    order=ask.order,
                    outcome=in_battle_terms(shown, ask.order),
                    prompt=self.prompt_key,
                )
