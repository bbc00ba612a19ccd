"""Single-answer grading: a judge gives each completion a grade from 1 to 10, by itself.

A letter judge's grade is the mean of the digits 1 to 9 under its next-token probabilities, which makes finer
differences than the likeliest digit does (G-Eval, Liu et al. 2023); a writing judge's is the one it states.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from toolkit.errors import JudgeError
from toolkit.judge.generative import Backend, RepliesInWords, grade_format, reply_fields
from toolkit.judge.parsing import read_grade
from toolkit.judge.prompts import Case, JudgePrompt, render
from toolkit.judge.verdicts import OLD_ID_DIGITS, import_old_log, open_store
from toolkit.models.endpoints import Answer, ChatReply, ChatRequest
from toolkit.statistics import Z
from toolkit.types import Completion, Judgment, Score, digest, split_thinking

if TYPE_CHECKING:
    from toolkit.generate.engine import ServedModel
    from toolkit.models import Loaded

DIGITS = tuple("123456789")


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


class Grader(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def prompt_key(self) -> str: ...

    @property
    def reference(self) -> bool: ...

    def grades(self, rows: Sequence[Completion], known: Mapping[int, Grade]) -> Iterator[Grade]:
        """Yield what is still to be said; `known`: place in `rows` -> the last grade on it."""


class GradeStore:
    """The grades of one judge with one prompt, known by what it read."""

    def __init__(self, folder: Path, judge: str, prompt: str, *, reference: bool) -> None:
        self.judge, self.reference = judge, reference
        self._store = open_store(folder, judge, prompt, Grade)

    def get(self, row: Completion) -> Grade | None:
        """The last grade of a completion, refusals left out."""
        former = digest(row.example_id, row.contestant, digest(row.completion))
        found = self._store.replies.get(self.key(row), self._store.replies.get(former))
        own = {"example_id": row.example_id, "contestant": row.contestant, "judge": self.judge}
        return None if found is None or found.refused else found.model_copy(update=own)

    def add(self, row: Completion, said: Grade) -> None:
        """Keep a grade; it is on disk when this returns."""
        self._store.add(self.key(row), said, said.model_dump(mode="json"))

    def key(self, row: Completion) -> str:
        """Hash of question, answer, and the reference where it is shown."""
        turns = [f"{turn.role}: {turn.content}" for turn in row.messages]
        return digest(json.dumps([turns, row.completion, row.reference if self.reference else None]))


def grade_completions(grader: Grader, completions: Sequence[Completion], *, store: Path) -> list[Grade]:
    """A grade of every completion, in their order; each is kept in the folder `store` when it arrives.

    Grades already there (same question and answer, judge and prompt) are not asked for again.
    """
    kept = GradeStore(store, grader.name, grader.prompt_key, reference=grader.reference)
    rows = list({kept.key(row): row for row in completions}.values())
    places = {row.id: place for place, row in enumerate(rows)}
    found = {place: said for place, row in enumerate(rows) if (said := kept.get(row)) is not None}
    for said in grader.grades(rows, dict(found)):
        place = places[f"{said.example_id}/{said.contestant}"]
        kept.add(rows[place], said)
        found[place] = said
    at = {kept.key(row): place for place, row in enumerate(rows)}
    own = [{"example_id": row.example_id, "contestant": row.contestant} for row in completions]
    said_on = [found[at[kept.key(row)]] for row in completions]
    return [said.model_copy(update=who) for said, who in zip(said_on, own, strict=True)]


def import_old_grades(log: Path, store: Path) -> None:
    """Put the grades in a log of earlier versions, which went by names, into a store."""
    import_old_log(
        log,
        store,
        Grade,
        lambda row: (
            digest(row.example_id, row.contestant, row.completion)
            if len(row.completion) == OLD_ID_DIGITS
            else ""
        ),
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


class LogprobGrader:
    """A local model's grade by its next token."""

    def __init__(self, loaded: Loaded | ServedModel, prompt: JudgePrompt, *, reference: bool = False) -> None:
        from toolkit.judge.logprob import NextTokenReader

        self.prompt, self.reference = _single(prompt), reference
        self.reader = NextTokenReader(loaded, DIGITS)

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
        cases = [grading_case(row, self.reference) for row in rows]
        for index, reading in self.reader.read(self.prompt, cases, wanted):
            if isinstance(reading, str):
                yield _grade(self, rows[index], reason=reading)
                continue
            value = sum(int(digit) * share for digit, share in zip(DIGITS, reading.shares, strict=True))
            reason = f"a digit is {reading.mass:.0%} of the next token"
            yield _grade(self, rows[index], value=value, reason=reason, tokens_in=reading.tokens)


class GenerativeGrader(RepliesInWords[Completion, Grade]):
    """A grade that a model states after its reasons."""

    def __init__(self, backend: Backend, prompt: JudgePrompt, **options: Any) -> None:
        super().__init__(backend, _single(prompt), **options)

    def grades(self, rows: Sequence[Completion], known: Mapping[int, Grade]) -> Iterator[Grade]:
        yield from self.replies(rows, known)

    def _request(self, row: Completion, attempt: int) -> ChatRequest:
        messages = render(self.prompt, "written", grading_case(row, self.reference), self.backend.control)
        seed = int(digest(*(turn.content for turn in row.messages), row.completion, str(attempt)), 16) % 2**31
        return ChatRequest(messages, seed, grade_format())

    def _read(self, row: Completion, answer: Answer, attempt: int, before: Grade | None) -> Grade:
        value = None
        if isinstance(answer, ChatReply) and answer.finish == "stop":
            value = read_grade(split_thinking(answer.text)[1])
        return _grade(self, row, value=value, attempt=attempt, **reply_fields(answer, self.options, before))


def _single(prompt: JudgePrompt) -> JudgePrompt:
    if prompt.protocol != "single":
        raise JudgeError("a pairwise prompt cannot grade one answer; use `single`, or `rubric`")
    return prompt


def grading_case(row: Completion, reference: bool) -> Case:
    """One answer as a grading judge is shown it."""
    return Case(
        messages=row.messages, reference=row.reference if reference else None, answers=(row.completion,)
    )


def _grade(grader: Grader, row: Completion, *, value: float | None = None, **fields: Any) -> Grade:
    return Grade.model_validate(
        {
            "example_id": row.example_id,
            "contestant": row.contestant,
            "completion": hashlib.sha256(row.completion.encode()).hexdigest(),
            "judge": grader.name,
            "prompt": grader.prompt_key,
            "value": value,
            **fields,
        }
    )
