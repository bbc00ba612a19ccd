"""Questions for judges (which of two answers is better, or how good one is) and the store of judgments.

Each judgment is stored when it arrives, and is requested once.
"""

import hashlib
import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from statistics import fmean, stdev
from types import MappingProxyType
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, cast

from pydantic import ValidationError

from toolkit.errors import JudgeError
from toolkit.generate.completions import Store
from toolkit.judge.parsing import read_grade, read_outcome
from toolkit.judge.prompts import SHOWS_REFERENCE, Case, JudgePrompt, Order
from toolkit.progress import log_progress
from toolkit.statistics import Z
from toolkit.types import SWAPPED, Battle, Completion, Judgment, Message, Outcome, Score, Verdict, digest

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
    """Comparisons of all battles in both orders, without duplicates."""
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


logger = logging.getLogger(__name__)

NOT_FINITE = "the model's figures are not finite; load it in bfloat16 or float32"
"""`reason` of no verdict: an overflow says nothing about either answer."""

MARK = re.compile(r"@([0-9a-f]{6})$")
"""End of a local judge's name: the start of its weights' fingerprint."""

OLD_ID_DIGITS = 16
"""Hex digits of the ids of battles and completions in logs of earlier versions, which went by names."""

J = TypeVar("J", bound=Judgment)


class PairJudge(Protocol):
    """A model that compares two answers."""

    @property
    def name(self) -> str:
        """Judge name recorded in its verdicts and votes."""

    @property
    def prompt_key(self) -> str:
        """Hash of the judge prompt it uses."""

    def verdicts(self, comparisons: Sequence[Any], known: Mapping[Any, Any], /) -> Iterator[Any]:
        """Yield the missing judgments on `comparisons`, each as soon as it is there, in any order.

        These are all questions, so that how they are grouped does not depend on what is known. `known` has
        the last judgment on each; on an unreadable one a judge may give another, with the next `attempt`.
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
                return cast("J", restated)
        return None

    def of(self, questions: Iterable[Question]) -> list[J]:
        """The judgments on these questions so far, in their order."""
        return [found for each in questions if (found := self.get(each)) is not None]

    def add(self, key: str, judgment: J) -> None:
        """Keep a judgment; it is on disk when this returns."""
        self._store.add(key, judgment, judgment.model_dump(mode="json"), lambda other: other.readable)

    def __contains__(self, key: str) -> bool:
        return key in self._store.replies


def request_judgments(
    judge: PairJudge,
    questions: Sequence[Question],
    store: JudgmentStore[Any],
    elsewhere: Mapping[Question, Judgment] = MappingProxyType({}),
) -> None:
    """Run a judge over the questions without a stored judgment; refused ones are requested again.

    `store` is of this judge and prompt; the questions in `elsewhere` are asked by other processes.
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
        done = min(done + 1, total)  # an unreadable reply is requested again
        log_progress(logger, "verdicts", done, total)


def judge_battles(
    judge: PairJudge, battles: Sequence[Battle], *, store: Path, share: tuple[int, int] = (0, 1)
) -> list[Verdict]:
    """Verdicts of `judge` on both orders of every battle, in the order of `battles`.

    Each verdict is kept in `store` when it arrives. Verdicts already there (same question, answers, judge,
    order and prompt, whatever the names and whichever side is called a) are not requested again, so an
    interrupted call continues and a finished one costs nothing.

    Args:
        judge: who judges.
        battles: all of them, also those that other processes judge: what is batched with what hangs on all.
        store: folder of verdicts; several processes may add to one.
        share: `(k, n)`: judge only the k-th of n parts of the battles, counted from 0, and give its verdicts.

    Raises:
        JudgeError: the judge cannot be used for these battles.
        EndpointError: the judge's server does not answer; earlier verdicts are kept.
    """
    stored, (part, parts) = JudgmentStore(store, judge.name, judge.prompt_key, Verdict), share
    questions = both_orders(battles)
    count = len(questions) // 2
    mine = questions[2 * (part * count // parts) : 2 * ((part + 1) * count // parts)]
    for each in [each for each in mine if each.identical and stored.get(each) is None]:
        stored.add(next(each.content_keys()), each.tie(judge.name, judge.prompt_key))
    shared, distinct = set(mine), [each for each in questions if not each.identical]
    elsewhere: dict[Question, Judgment] = {
        each: each.tie(judge.name, judge.prompt_key) for each in distinct if each not in shared
    }
    request_judgments(judge, distinct, stored, elsewhere)
    return stored.of(mine)


def load_verdicts(battles: Iterable[Battle], judge: str, prompt: str, *, store: Path) -> list[Verdict]:
    """The verdicts of a judge of this name and prompt on battles so far, in their order."""
    return JudgmentStore(store, judge, prompt, Verdict).of(both_orders(battles))


def import_old_log(log: Path, store: Path, kind: type[Judgment]) -> None:
    """Put the verdicts or grades of a log of earlier versions, which went by names, into a store."""
    if not log.exists():
        return
    fields = ("battle_id", "order") if kind is Verdict else ("completion", "example_id", "contestant")
    stores: dict[tuple[str, str], JudgmentStore[Any]] = {}
    for line in log.read_text(encoding="utf-8", errors="replace").split("\n"):
        with suppress(ValidationError):  # torn
            judgment = kind.model_validate_json(line)
            old_id, *others = (getattr(judgment, name) for name in fields)
            key = digest(old_id, *others) if kind is Verdict else digest(*others, old_id)
            if len(old_id) == OLD_ID_DIGITS:
                who = judgment.judge, judgment.prompt
                stored = stores[who] = stores.get(who) or JudgmentStore(store, *who, kind)
                if key not in stored:
                    stored.add(key, judgment)


def grade_completions(
    judge: PairJudge, completions: Sequence[Completion], *, store: Path, reference: bool = False
) -> list[Grade]:
    """A grade from 1 to 10 of every completion, in their order, kept in the folder `store` as they arrive.

    Grades already there (same question and answer, judge and prompt) are not requested again. `reference`:
    whether the judge is shown the reference.
    """
    stored = JudgmentStore(store, judge.name, judge.prompt_key, Grade)
    questions = [Grading(row, reference) for row in completions]
    request_judgments(judge, list({next(each.content_keys()): each for each in questions}.values()), stored)
    return stored.of(questions)


def grade_scores(grades: Iterable[Grade]) -> list[Score]:
    """Mean grade of each contestant, unreadable ones left out; 95% interval by the normal approximation."""
    readable = sorted((row for row in grades if row.value is not None), key=lambda row: row.contestant)
    scores = []
    for contestant, rows in groupby(readable, key=lambda row: row.contestant):
        values = [row.value for row in rows if row.value is not None]
        mean, ends = fmean(values), {}
        if len(values) > 1:
            margin = Z * stdev(values) / len(values) ** 0.5
            ends = {"low": mean - margin, "high": mean + margin}
        scores.append(Score(contestant=contestant, metric="judge_grade", value=mean, n=len(values), **ends))
    return scores
