"""Single-answer grading: a judge gives each completion a grade from 1 to 10, by itself.

The grade of a judge that is read by its next token is the mean of the digits 1 to 9 under its probabilities,
which makes finer differences than the likeliest digit does (G-Eval, Liu et al. 2023); a writing judge's is
the one it states.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from toolkit.errors import JudgeError
from toolkit.judge.parsing import read_grade
from toolkit.judge.prompts import Case, JudgePrompt
from toolkit.judge.verdicts import JudgmentStore, PairJudge, ask, import_old_log
from toolkit.statistics import Z
from toolkit.types import Completion, Judgment, Score, digest


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
    """The question how good a completion is; `reference`: whether the judge is shown the reference."""

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

    def restate(self, found: Grade, judge: str) -> Grade:
        own = {"example_id": self.row.example_id, "contestant": self.row.contestant, "judge": judge}
        return found.model_copy(update=own)


def grade_completions(
    judge: PairJudge, completions: Sequence[Completion], *, store: Path, reference: bool = False
) -> list[Grade]:
    """A grade of every completion, in their order; each is kept in the folder `store` when it arrives.

    Grades already there (same question and answer, judge and prompt) are not asked for again. `reference`:
    whether the judge is shown the reference.
    """
    kept = JudgmentStore(store, judge.name, judge.prompt_key, Grade)
    questions = [Grading(row, reference) for row in completions]
    ask(judge, list({next(each.content_keys()): each for each in questions}.values()), kept)
    return [grade for each in questions if (grade := kept.get(each)) is not None]


def import_old_grades(log: Path, store: Path) -> None:
    """Put the grades in a log of earlier versions, which went by names, into a store."""
    import_old_log(
        log,
        store,
        Grade,
        lambda old: (old.completion, digest(old.example_id, old.contestant, old.completion)),
    )


def grade_scores(grades: Iterable[Grade]) -> list[Score]:
    """Mean grade of each contestant, unreadable ones left out; 95% interval by the normal approximation."""
    readable = sorted((row for row in grades if row.value is not None), key=lambda row: row.contestant)
    scores = []
    for contestant, rows in groupby(readable, key=lambda row: row.contestant):
        values = [row.value for row in rows if row.value is not None]
        mean = math.fsum(values) / len(values)
        spread = math.fsum((value - mean) ** 2 for value in values) / max(1, len(values) - 1)
        margin = Z * math.sqrt(spread / len(values)) if len(values) > 1 else None
        low, high = (mean - margin, mean + margin) if margin is not None else (None, None)
        scores.append(
            Score(contestant=contestant, metric="judge_grade", value=mean, low=low, high=high, n=len(values))
        )
    return scores
