"""Single-answer grading: a judge gives each completion a grade from 1 to 10, by itself.

A letter judge's grade is the mean of the digits 1 to 9 under its next-token probabilities, which makes finer
differences than the likeliest digit does (G-Eval, Liu et al. 2023); a writing judge's is the one it states.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import Field

from toolkit import records
from toolkit.errors import JudgeError
from toolkit.judge.asking import Case, JudgePrompt, render
from toolkit.judge.parsing import read_grade
from toolkit.judge.writing import Writer, grade_format
from toolkit.judge.written import InWords, facts
from toolkit.models.endpoints import Answer, ChatReply, ChatRequest
from toolkit.proportions import Z
from toolkit.types import Completion, Record, Score, digest, split_thinking

if TYPE_CHECKING:
    from toolkit.models import Loaded

DIGITS = tuple("123456789")


class Grade(Record):
    """A line of `grades.jsonl`: one reply of a judge on one completion."""

    example_id: str
    contestant: str
    completion: str
    """Hash of the text that was graded."""
    judge: str
    value: float | None
    """From 1 to 10; `None` when the reply was unreadable."""
    reason: str | None = None
    prompt: str
    attempt: int = 1
    tokens_in: int = 0
    tokens_out: int = 0
    error: str | None = Field(default=None, exclude_if=lambda value: value is None)
    """The server's words, where it refused the question: asked again by the next call."""
    cut_at: int | None = Field(default=None, exclude_if=lambda value: value is None)
    """The limit of tokens that cut the reply: a larger one is reason to ask again."""

    @property
    def readable(self) -> bool:
        return self.value is not None

    @property
    def refused(self) -> bool:
        old = self.value is None and (self.reason or "").startswith("no reply: ")
        return self.error is not None or old

    @property
    def key(self) -> tuple[str, ...]:
        return (self.example_id, self.contestant, self.completion, self.judge, self.prompt)


class Grader(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def prompt_key(self) -> str: ...

    def grades(self, rows: Sequence[Completion], known: Mapping[int, Grade]) -> Iterator[Grade]:
        """Yield what is still to be said; `known`: place in `rows` -> the last grade on it."""


def grade(grader: Grader, completions: Sequence[Completion], *, out: Path) -> list[Grade]:
    """A grade of every completion, in their order; each is appended to `out` when it arrives.

    Grades already in `out` (same completion, judge and prompt) are not asked for again.
    """
    found = {row.key: row for row in records.read(out, Grade)} if out.exists() else {}
    keys = [_grade(grader, row).key for row in completions]
    known = {place: found[key] for place, key in enumerate(keys) if key in found and not found[key].refused}
    for said in grader.grades(completions, known):
        records.append(out, [said])
        found[said.key] = said
    return [found[key] for key in keys]


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


class LetterGrader:
    """A local model's grade by its next token."""

    def __init__(self, loaded: Loaded, prompt: JudgePrompt, *, reference: bool = False) -> None:
        from toolkit.judge.logits import NextToken

        self.prompt, self.reference = _single(prompt), reference
        self.reader = NextToken(loaded, DIGITS)

    @property
    def name(self) -> str:
        return self.reader.name

    @property
    def prompt_key(self) -> str:
        return self.prompt.key("letter", self.reference)

    def grades(self, rows: Sequence[Completion], known: Mapping[int, Grade]) -> Iterator[Grade]:
        wanted = set(range(len(rows))) - known.keys()
        if not wanted:
            return
        cases = [graded_case(row, self.reference) for row in rows]
        for index, reading in self.reader.read(self.prompt, cases, wanted):
            if isinstance(reading, str):
                yield _grade(self, rows[index], reason=reading)
                continue
            value = sum(int(digit) * share for digit, share in zip(DIGITS, reading.shares, strict=True))
            reason = f"a digit is {reading.mass:.0%} of the next token"
            yield _grade(self, rows[index], value=value, reason=reason, tokens_in=reading.tokens)


class WrittenGrader(InWords[Completion, Grade]):
    """A grade that a model states after its reasons."""

    def __init__(self, writer: Writer, prompt: JudgePrompt, **options: Any) -> None:
        super().__init__(writer, _single(prompt), **options)

    def grades(self, rows: Sequence[Completion], known: Mapping[int, Grade]) -> Iterator[Grade]:
        yield from self.replies(rows, known)

    def _request(self, row: Completion, attempt: int) -> ChatRequest:
        messages = render(self.prompt, "written", graded_case(row, self.reference), self.writer.control)
        return ChatRequest(messages, int(digest(row.id, str(attempt)), 16) % 2**31, grade_format())

    def _read(self, row: Completion, answer: Answer, attempt: int) -> Grade:
        value = None
        if isinstance(answer, ChatReply) and answer.finish == "stop":
            value = read_grade(split_thinking(answer.text)[1])
        return _grade(self, row, value=value, attempt=attempt, **facts(answer, self.options))


def _single(prompt: JudgePrompt) -> JudgePrompt:
    if prompt.protocol != "single":
        raise JudgeError("a pairwise prompt cannot grade one answer; use `single`, or `rubric`")
    return prompt


def graded_case(row: Completion, reference: bool) -> Case:
    """One answer as a grading judge is shown it."""
    return Case(
        messages=row.messages, reference=row.reference if reference else None, answers=(row.completion,)
    )


def _grade(grader: Grader, row: Completion, *, value: float | None = None, **fields: Any) -> Grade:
    return Grade.model_validate(
        {
            "example_id": row.example_id,
            "contestant": row.contestant,
            "completion": digest(row.completion),
            "judge": grader.name,
            "prompt": grader.prompt_key,
            "value": value,
            **fields,
        }
    )
