"""Questions to a judge and its judgments: each is on disk the moment it exists, and is asked for once."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from pydantic import ValidationError

from toolkit.errors import JudgeError
from toolkit.generate.completions import Store
from toolkit.judge.parsing import read_outcome
from toolkit.judge.prompts import SHOWS_REFERENCE, Case, JudgePrompt, Order
from toolkit.progress import log_progress
from toolkit.types import SWAPPED, Battle, Judgment, Message, Outcome, Verdict, digest

logger = logging.getLogger(__name__)

IDENTICAL = "identical answers: a tie, the judge was not asked"
"""`reason` of a verdict on two answers that are the same text."""

NOT_FINITE = "the model's figures are not finite; load it in bfloat16 or float32"
"""`reason` of no verdict: an overflow says nothing about either answer."""

ORDERS: tuple[Order, ...] = ("ab", "ba")

MARK = re.compile(r"@([0-9a-f]{6})$")
"""End of a local judge's name: the start of its weights' fingerprint."""

OLD_ID_DIGITS = 16
"""Hex digits of the ids of battles and completions in logs of earlier versions, which went by names."""

J = TypeVar("J", bound=Judgment)


class Question(Protocol):
    """What a judge is asked: to compare two answers, or to grade one. Hashable."""

    @property
    def subject(self) -> tuple[str, ...]:
        """The two fields by which its judgments name it."""

    def content_keys(self) -> Iterator[str]:
        """Its names in a store, today's first; of what the judge reads, whoever answered."""

    def seed(self, attempt: int) -> int:
        """Seed of an attempt to sample a reply."""

    def validate(self, prompt: JudgePrompt) -> None:
        """Raise `JudgeError` where this prompt would not show the judge what it is asked."""

    def case(self, reference: bool = True) -> Case:
        """What the judge is shown."""

    def read_shares(self, shares: Sequence[float], labels: Sequence[str], mass: float) -> dict[str, Any]:
        """Fields of the judgment, from the probabilities of the labels as the next token."""

    def read_reply(self, reply: str, prompt: JudgePrompt) -> dict[str, Any]:
        """Fields of the judgment, from a reply in words."""

    def judgment(self, judge: str, prompt: str, **found: Any) -> Judgment:
        """A judgment on this question; unreadable where `found` has no outcome or value."""

    def restate(self, found: Any, judge: str) -> Judgment:
        """A stored judgment on one of its `content_keys` as one on this question."""


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
        return self.battle.id, self.order

    def content_keys(self) -> Iterator[str]:
        """Of the battle, then of its mirror image in the other order."""
        other: Order = "ba" if self.order == "ab" else "ab"
        for battle, order in ((self.battle, self.order), (self.battle.mirrored, other)):
            yield digest(battle.id, order)
            yield digest(battle.former_id, order)

    def seed(self, attempt: int) -> int:
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
        battle, forward = self.battle, 1 if self.order == "ab" else -1
        histories = (battle.messages, battle.messages_b or battle.messages)
        return Case(
            messages=tuple(turn for turn in battle.messages if not battle.messages_b or turn.role == "user"),
            reference=battle.reference if reference else None,
            answers=(battle.completion_a, battle.completion_b)[::forward],
            histories=histories[::forward],
        )

    def read_shares(self, shares: Sequence[float], labels: Sequence[str], mass: float) -> dict[str, Any]:
        first, second = shares
        shown: Outcome = "a" if first > second else "b" if second > first else "tie"
        return {
            "outcome": to_battle_outcome(shown, self.order),
            "probability_a": first if self.order == "ab" else second,
            "reason": f"{labels[0]} {first:.3f}, {labels[1]} {second:.3f}; "
            f"{mass:.0%} of the next token is a label",
        }

    def read_reply(self, reply: str, prompt: JudgePrompt) -> dict[str, Any]:
        return {"outcome": to_battle_outcome(read_outcome(reply, prompt.labels), self.order)}

    def judgment(self, judge: str, prompt: str, **found: Any) -> Verdict:
        fields = {"outcome": None} | found
        return Verdict(battle_id=self.battle.id, order=self.order, judge=judge, prompt=prompt, **fields)

    def tie(self, judge: str, prompt: str) -> Verdict:
        """The verdict on two answers that are the same text."""
        return self.judgment(judge, prompt, outcome="tie", probability_a=0.5, reason=IDENTICAL)

    def restate(self, found: Verdict, judge: str) -> Verdict:
        own: dict[str, Any] = {"battle_id": self.battle.id, "judge": judge, "order": self.order}
        if found.order != self.order:
            own["outcome"] = None if found.outcome is None else SWAPPED[found.outcome]
            own["probability_a"] = None if found.probability_a is None else 1 - found.probability_a
        return found.model_copy(update=own)


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


class PairJudge(Protocol):
    """A model that compares two answers."""

    @property
    def name(self) -> str:
        """What its verdicts and votes are signed with."""

    @property
    def prompt_key(self) -> str:
        """Hash of the judge prompt it uses."""

    def verdicts(self, comparisons: Sequence[Any], known: Mapping[Any, Any], /) -> Iterator[Any]:
        """Yield the missing judgments on `comparisons`, each as soon as it is there, in any order.

        Args:
            comparisons: all questions, so that how they are grouped does not depend on what is known.
            known: the last judgment on each question that has one. A judge may give a further one on an
                unreadable one, with the next `attempt`; every other is final.
        """


class JudgmentStore(Generic[J]):
    """The judgments of one judge with one prompt, by what it read."""

    def __init__(self, folder: Path, judge: str, prompt: str, kind: type[J]) -> None:
        """Open the store in a folder; a local judge goes by its weights, not by its name."""
        self.judge = judge
        marked = MARK.search(judge)
        settings = {"judge": marked[1] if marked else judge, "prompt": prompt}
        self._store = Store(folder, settings, kind.model_validate)

    def get(self, question: Question) -> J | None:
        """The last judgment on a question, in its own terms."""
        for key in question.content_keys():
            if (found := self._store.replies.get(key)) is not None:
                restated: Any = question.restate(found, self.judge)
                return restated  # type: ignore[no-any-return]
        return None

    def add(self, key: str, judgment: J) -> None:
        """Keep a judgment; it is on disk when this returns."""
        self._store.add(key, judgment, judgment.model_dump(mode="json"))

    def __contains__(self, key: str) -> bool:
        return key in self._store.replies


def ask(
    judge: PairJudge,
    questions: Sequence[Question],
    store: JudgmentStore[Any],
    elsewhere: Mapping[Question, Judgment] = MappingProxyType({}),
) -> None:
    """Put to a judge what its store does not answer; only what a server refused is asked again.

    Args:
        judge: who judges.
        questions: all of them.
        store: of this judge and prompt.
        elsewhere: questions that other processes ask.
    """
    known = {each: found for each in questions if (found := store.get(each)) and not found.refused}
    known |= elsewhere
    total, done = len(questions) - len(elsewhere), len(known) - len(elsewhere)
    logger.info("judge %s: %d verdicts wanted, %d known", judge.name, total, done)
    by_subject = {question.subject: question for question in questions}
    for judgment in judge.verdicts(questions, known):
        names = ("battle_id", "order") if isinstance(judgment, Verdict) else ("example_id", "contestant")
        question = by_subject[tuple(getattr(judgment, name) for name in names)]
        store.add(next(question.content_keys()), judgment)
        done = min(done + 1, total)  # an unreadable reply is asked for again
        log_progress(logger, "verdicts", done, total)


def judge_battles(
    judge: PairJudge, battles: Sequence[Battle], *, store: Path, share: tuple[int, int] = (0, 1)
) -> list[Verdict]:
    """Verdicts of `judge` on both orders of every battle, in the order of `battles`.

    Each verdict is kept in `store` when it arrives. Verdicts already there (same question, answers, judge,
    order and prompt, whatever the names and whichever side is called a) are not asked for again, so an
    interrupted call continues and a finished one costs nothing.

    Args:
        judge: who judges.
        battles: all of them, also those that other processes judge: what is batched with what hangs on all.
        store: folder of verdicts; several processes may add to one.
        share: `(k, n)`: judge only the k-th of n parts of the battles, counted from 0, and give its verdicts.

    Raises:
        JudgeError: the judge cannot be used for these battles.
        EndpointError: the judge's server does not answer; what it said before is kept.
    """
    kept, (part, parts) = JudgmentStore(store, judge.name, judge.prompt_key, Verdict), share
    questions = both_orders(battles)
    count = len(questions) // 2
    mine = questions[2 * (part * count // parts) : 2 * ((part + 1) * count // parts)]
    for each in [each for each in mine if each.identical and kept.get(each) is None]:
        kept.add(next(each.content_keys()), each.tie(judge.name, judge.prompt_key))
    own, asked = set(mine), [each for each in questions if not each.identical]
    ask(judge, asked, kept, {e: e.tie(judge.name, judge.prompt_key) for e in asked if e not in own})
    return [verdict for each in mine if (verdict := kept.get(each)) is not None]


def load_verdicts(battles: Iterable[Battle], judge: str, prompt: str, *, store: Path) -> list[Verdict]:
    """The verdicts of a judge of this name and prompt on battles so far, in their order."""
    kept = JudgmentStore(store, judge, prompt, Verdict)
    return [verdict for each in both_orders(battles) if (verdict := kept.get(each)) is not None]


def import_old_verdicts(log: Path, store: Path) -> None:
    """Put the verdicts in a log of earlier versions, whose battles went by names, into a store."""
    import_old_log(log, store, Verdict, lambda old: (old.battle_id, digest(old.battle_id, old.order)))


def import_old_log(log: Path, store: Path, kind: type[J], key_of: Callable[[J], tuple[str, str]]) -> None:
    """Put the lines of a log of earlier versions into a store; `key_of` gives a line's old id and its key."""
    if not log.exists():
        return
    stores: dict[tuple[str, str], JudgmentStore[J]] = {}
    for line in log.read_text(encoding="utf-8", errors="replace").split("\n"):
        with suppress(ValidationError):  # torn
            judgment = kind.model_validate_json(line)
            (old_id, key), who = key_of(judgment), (judgment.judge, judgment.prompt)
            if len(old_id) == OLD_ID_DIGITS:
                kept = stores[who] = stores.get(who) or JudgmentStore(store, *who, kind)
                if key not in kept:
                    kept.add(key, judgment)
