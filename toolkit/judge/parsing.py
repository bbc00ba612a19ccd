"""Reading a verdict, a grade or a pair of scores out of what a judge wrote, without ever guessing.

A reply that does not state its verdict in a known form, or states two, is unreadable: `None`, never a tie.
The known forms are those of MT-bench (`[[A]]`), Arena-Hard (`[[A>>B]]`), Vicuna (a line of two scores), a
JSON object with the field `verdict` or `grade`, and a last line that is nothing but the verdict.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from toolkit.types import Outcome

T = TypeVar("T")

LABELS: dict[str, Outcome] = {"A": "a", "B": "b", "C": "tie"}
"""What MT-bench's judges write; a judge prompt may name its own."""

DEGREES: dict[str, Outcome] = {"A>>B": "a", "A>B": "a", "A=B": "tie", "B=A": "tie", "B>A": "b", "B>>A": "b"}
"""What Arena-Hard's judges write."""

MARKS = re.compile(r"\[\[\s*([^\[\]\n]{1,8}?)\s*\]\]")
PREFIX = r"(?:(?:my |the )?(?:final )?(?:verdict|choice|winner|best answer|better answer)(?: is)?\s*:?\s*)?"
SENTENCE = (
    r"(?:therefore, |in (?:conclusion|this case), |overall, )?(?:the (?:best|better) answer is|i choose) "
    r"(?:from |provided by |the answer of |the one provided by )?(?:assistant|answer|response) "
)
NUMBER = r"(\d+(?:\.\d+)?)"
PAIR = re.compile(rf"(?:output|scores?)?\W*{NUMBER}(?:/10)?[ ,\t]+{NUMBER}(?:/10)?\W*", re.IGNORECASE)
NAMED_SCORE = re.compile(rf"\W*(?:assistant|answer|response) ([12])\W+{NUMBER}(?:/10)?\W*", re.IGNORECASE)
GRADE = re.compile(
    rf"\W*(?:(?:final |overall )?(?:rating|grade|score)\s*:?\s*)?{NUMBER}(?:\s*/\s*10)?\W*", re.I
)


def read_outcome(reply: str, labels: Mapping[str, Outcome] = LABELS) -> Outcome | None:
    """Who won, `a` being the answer shown first; `None` when the reply does not say.

    Args:
        reply: all that the judge wrote.
        labels: what it was asked to write -> what it means.
    """
    known = {label.upper(): outcome for label, outcome in labels.items()} | DEGREES
    stated = read_field(reply, "verdict")
    if stated is not None:
        return known.get(str(stated).strip(" []").upper())
    if MARKS.search(reply):
        return _marked(reply, lambda mark: known.get(mark.upper().replace(" ", "")))
    return _last_line(reply, labels)


def read_grade(reply: str) -> float | None:
    """A grade from 1 to 10; `None` when the reply gives none, several, or one outside."""
    stated = read_field(reply, "grade")
    if stated is None:
        stated = _marked(reply, _number)
    if stated is None and not MARKS.search(reply):
        found = GRADE.fullmatch(_lines(reply)[-1]) if _lines(reply) else None
        stated = found and found[1]
    grade = _number(str(stated).strip(" []"))
    return grade if grade is not None and 1 <= grade <= 10 else None  # noqa: PLR2004


def read_scores(reply: str) -> tuple[float, float] | None:
    """Vicuna's two scores from 0 to 10: on one line, or on a line each after the assistant's name.

    `None` when they are not there, or there twice and different.
    """
    lines = _lines(reply)
    pairs = {(pair[1], pair[2]) for line in lines if (pair := PAIR.fullmatch(line))}
    named = [NAMED_SCORE.fullmatch(line) for line in lines]
    first, second = ({found[2] for found in named if found and found[1] == side} for side in "12")
    pairs |= {(one, other) for one in first for other in second}
    if len(pairs) != 1:
        return None
    one, other = map(float, pairs.pop())
    return (one, other) if max(one, other) <= 10 else None  # noqa: PLR2004


def read_field(reply: str, name: str) -> Any:
    """A field of the JSON object that the reply is, in a code fence or bare; `None` when it is none."""
    text = re.sub(r"^```(?:json)?\s*|\s*```$", "", reply.strip())
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value.get(name) if isinstance(value, dict) else None


def _marked(reply: str, read: Callable[[str], T | None]) -> T | None:
    """What the `[[...]]` marks say: those of the last line, else all, provided that they agree."""
    lines = _lines(reply)
    marks = (MARKS.findall(lines[-1]) if lines else []) or MARKS.findall(reply)
    said = {read(mark) for mark in marks}
    return said.pop() if len(said) == 1 else None


def _last_line(reply: str, labels: Mapping[str, Outcome]) -> Outcome | None:
    """A last line that is nothing but a label, or one of the usual sentences with it."""
    known = "|".join(map(re.escape, labels))
    form = rf"\W*{PREFIX}\(?({known})\)?\W*|{SENTENCE}({known})\W*"
    found = re.fullmatch(form, _lines(reply)[-1], re.IGNORECASE) if _lines(reply) else None
    if found is None:
        return None
    said = (found[1] or found[2]).upper()
    return next(outcome for label, outcome in labels.items() if label.upper() == said)


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(NUMBER, text) else None


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]
