"""Questions for judges: which of two answers is better, or how good one is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from toolkit.errors import JudgeError
from toolkit.judge.parsing import read_grade, read_outcome
from toolkit.judge.prompts import SHOWS_REFERENCE, Case, JudgePrompt, Order
from toolkit.types import SWAPPED, Battle, Completion, Judgment, Message, Outcome, Verdict, digest

ORDERS: tuple[Order, ...] = ("ab", "ba")

IDENTICAL = "identical answers: a tie, the judge was not asked"
"""`reason` of a verdict on two answers that are the same text."""


class Comparison(NamedTuple):
    """A battle in one order."""

    battle: Battle
    order: Order

    @property
    def identical(self) -> bool:
        """Whether both answers are the same text: a tie, which no judge need see."""
        return self.battle.completion_a == self.battle.completion_b

    @property
    def subject(self) -> tuple[str, ...]:
        """What its judgments name."""
        return self.battle.id, self.order

    def content_keys(self) -> Iterator[str]:
        """Its names in a store, the first for new ones: of what is read, whichever side is called a."""
        other: Order = "ba" if self.order == "ab" else "ab"
        sides: list[tuple[Battle, Order]] = [(self.battle, self.order), (self.battle.mirrored, other)]
        for battle, order in sorted(sides, key=lambda side: side[0].id):
            yield digest(battle.id, order)
            yield digest(battle.former_id, order)

    def seed(self, attempt: int) -> int:
        """Seed of an attempt to sample a reply."""
        return int(digest(self.battle.id, self.order, str(attempt)), 16) % 2**31

    def validate(self, prompt: JudgePrompt) -> None:
        """Raise where the prompt grades single answers, needs a missing reference, or hides earlier turns."""
        if prompt.protocol != "pairwise":
            raise JudgeError(f"a {prompt.protocol} prompt cannot compare two answers; use a pairwise one")
        if self.battle.messages_b is not None and "conversation_" not in prompt.user:
            raise JudgeError(
                f"example {self.battle.example_id}: the contestants' earlier turns differ, and this judge "
                "prompt does not show them; use `multi-turn`"
            )
        needs_reference = "if reference" not in prompt.user and SHOWS_REFERENCE.search(prompt.user)
        if self.battle.reference is None and needs_reference:
            raise JudgeError(
                f"example {self.battle.example_id} has no reference answer, and this judge prompt shows one; "
                "use `pairwise`, or give every example a reference"
            )

    def case(self, reference: bool = True) -> Case:
        """What the judge is shown."""
        battle, forward = self.battle, 1 if self.order == "ab" else -1
        histories = (battle.messages, battle.messages_b or battle.messages)
        return Case(
            messages=tuple(turn for turn in battle.messages if not battle.messages_b or turn.role == "user"),
            reference=battle.reference if reference else None,
            answers=(battle.completion_a, battle.completion_b)[::forward],
            histories=histories[::forward],
        )

    def read_shares(self, shares: Sequence[float], labels: Sequence[str], mass: float) -> dict[str, Any]:
        """Fields of the judgment, from the probabilities of the labels as the next token."""
        first, second = shares
        shown: Outcome = "a" if first > second else "b" if second > first else "tie"
        return {
            "outcome": to_battle_outcome(shown, self.order),
            "probability_a": first if self.order == "ab" else second,
            "reason": f"{labels[0]} {first:.3f}, {labels[1]} {second:.3f}; "
            f"{mass:.0%} of the next token is a label",
        }

    def read_reply(self, reply: str, prompt: JudgePrompt) -> dict[str, Any]:
        """Fields of the judgment, from a reply in words."""
        return {"outcome": to_battle_outcome(read_outcome(reply, prompt.labels), self.order)}

    def judgment(self, judge: str, prompt: str, **found: Any) -> Verdict:
        """A judgment on this question; unreadable without an outcome."""
        fields = {"outcome": None} | found
        return Verdict(battle_id=self.battle.id, order=self.order, judge=judge, prompt=prompt, **fields)

    def tie(self, judge: str, prompt: str) -> Verdict:
        """The verdict on two answers that are the same text."""
        return self.judgment(judge, prompt, outcome="tie", probability_a=0.5, reason=IDENTICAL)

    def restate(self, found: Any, judge: str) -> Verdict:
        """A stored judgment on one of its `content_keys`, as one on this question."""
        own: dict[str, Any] = {"battle_id": self.battle.id, "judge": judge, "order": self.order}
        if found.order != self.order:
            own["outcome"] = None if found.outcome is None else SWAPPED[found.outcome]
            own["probability_a"] = None if found.probability_a is None else 1 - found.probability_a
        return found.model_copy(update=own)  # type: ignore[no-any-return]


def to_battle_outcome(first_wins: Outcome | None, order: Order) -> Outcome | None:
    """An outcome in terms of what was shown (`a`: the first) -> in terms of the battle's sides."""
    return first_wins if order == "ab" or first_wins is None else SWAPPED[first_wins]


def conversations(comparison: Comparison) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
    """Both conversations of a battle, each with its answer: a's and b's, whatever the order."""
    battle = comparison.battle
    a = (*battle.messages, Message(role="assistant", content=battle.completion_a))
    b = (*(battle.messages_b or battle.messages), Message(role="assistant", content=battle.completion_b))
    return a, b


def both_orders(battles: Iterable[Battle]) -> list[Comparison]:
    """The questions that battles are, each once."""
    return [Comparison(battle, order) for battle in {b.id: b for b in battles}.values() for order in ORDERS]


class Grade(Judgment):
    """A line of `grades.jsonl`: one reply on one completion."""

    example_id: str
    contestant: str
    completion: str
    """Hash of the text that was graded."""
    value: float | None
    """From 1 to 10; `None` when the reply was unreadable."""

    @property
    def readable(self) -> bool:
        return self.value is not None


class Grading(NamedTuple):
    """The question how good a completion is; `reference`: whether the judge is shown the reference.

    Read by the next token, a grade is the mean of the digits 1 to 9 under its probabilities, which makes
    finer differences than the likeliest digit does (G-Eval, Liu et al. 2023).
    """

    row: Completion
    reference: bool = False

    @property
    def identical(self) -> bool:
        return False

    @property
    def subject(self) -> tuple[str, ...]:
        return self.row.example_id, self.row.contestant

    def content_keys(self) -> Iterator[str]:
        """Of question, answer, and the reference where it is shown; then the one of earlier versions."""
        row = self.row
        turns = [f"{turn.role}: {turn.content}" for turn in row.messages]
        yield digest(json.dumps([turns, row.completion, row.reference if self.reference else None]))
        yield digest(row.example_id, row.contestant, digest(row.completion))

    def seed(self, attempt: int) -> int:
        texts = (*(turn.content for turn in self.row.messages), self.row.completion)
        return int(digest(*texts, str(attempt)), 16) % 2**31

    def validate(self, prompt: JudgePrompt) -> None:
        if prompt.protocol != "single":
            raise JudgeError("a pairwise prompt cannot grade one answer; use `single`, or `rubric`")

    def case(self, reference: bool = True) -> Case:
        shown = self.row.reference if reference else None
        return Case(messages=self.row.messages, reference=shown, answers=(self.row.completion,))

    def read_shares(self, shares: Sequence[float], labels: Sequence[str], mass: float) -> dict[str, Any]:
        value = sum(int(digit) * share for digit, share in zip(labels, shares, strict=True))
        return {"value": value, "reason": f"a digit is {mass:.0%} of the next token"}

    def read_reply(self, reply: str, prompt: JudgePrompt) -> dict[str, Any]:
        return {"value": read_grade(reply)}

    def judgment(self, judge: str, prompt: str, **found: Any) -> Grade:
        return Grade(
            example_id=self.row.example_id,
            contestant=self.row.contestant,
            completion=hashlib.sha256(self.row.completion.encode()).hexdigest(),
            judge=judge,
            prompt=prompt,
            **({"value": None} | found),
        )

    def restate(self, found: Any, judge: str) -> Grade:
        own = {"example_id": self.row.example_id, "contestant": self.row.contestant, "judge": judge}
        return found.model_copy(update=own)  # type: ignore[no-any-return]


Question = Comparison | Grading
