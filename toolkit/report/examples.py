"""Which examples to show: where two contestants differ most, in both directions, and the ordinary case.

Losses are shown beside gains, so that the page cannot flatter the trained model by its choice of examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from toolkit.metrics import Measurement
from toolkit.report import figures
from toolkit.report.answer import TELLING
from toolkit.report.load import RunView
from toolkit.report.meanings import meaning
from toolkit.report.roles import Question
from toolkit.report.words import Marked, marked
from toolkit.types import Completion

EACH = 2
"""Examples of each kind."""
Answers = dict[str, Completion]
"""Contestant -> its answer to one example."""


@dataclass(frozen=True)
class Answer:
    contestant: str
    text: Marked
    figure: str
    """The metric the example was chosen by, of this answer."""
    finish: str


@dataclass(frozen=True)
class Shown:
    """One example with every contestant's answer, marked against the reference."""

    id: str
    why: str
    turns: tuple[tuple[str, str], ...]
    """(role, text) of the question."""
    reference: str | None
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Chosen:
    """The examples shown, and the figure they were chosen by."""

    metric: str
    question: Question
    examples: tuple[Shown, ...]


def choose(view: RunView, question: Question) -> Chosen | None:
    """Examples on which the two of the question differ; `None` without answers of both."""
    rows = _by_example(view.completions)
    both = {
        example: row
        for example, row in rows.items()
        if question.contestant in row and question.against in row
    }
    if not both:
        return None
    metric, values = _measured(view.measurements, question)
    gain = _gain(both, values, question)
    ordered = sorted(gain, key=gain.__getitem__)
    picked = _pick(ordered, gain) if metric else [(e, "most different") for e in ordered[::-1][: 3 * EACH]]
    own = {name: values.get(name, {}) for name in rows[next(iter(both))]}
    shown = tuple(_shown(both[example], why, own, metric) for example, why in picked)
    return Chosen(meaning(metric).title if metric else "words in common", question, shown)


def _by_example(completions: dict[str, list[Completion]]) -> dict[str, Answers]:
    rows: dict[str, Answers] = {}
    for name, answers in completions.items():
        for answer in (each for each in answers if not each.refused):
            rows.setdefault(answer.example_id, {})[name] = answer
    return rows


def _measured(
    measurements: dict[str, list[Measurement]], question: Question
) -> tuple[str | None, dict[str, dict[str, float]]]:
    """The most telling metric both have, and contestant -> example -> value."""
    tables = {name: {m.metric: m for m in found} for name, found in measurements.items()}
    mine, theirs = tables.get(question.contestant, {}), tables.get(question.against, {})
    metric = next((metric for metric in TELLING if metric in mine and metric in theirs), None)
    if metric is None:
        return None, {}
    return metric, {name: found[metric].per_example() for name, found in tables.items() if metric in found}


def _gain(
    rows: dict[str, Answers], values: dict[str, dict[str, float]], question: Question
) -> dict[str, float]:
    """Example -> how much better the first contestant's answer is; without a metric, how different."""
    first, second = question.contestant, question.against
    if values:
        known = [example for example in rows if example in values[first] and example in values[second]]
        return {example: values[first][example] - values[second][example] for example in known}
    return {
        example: 1 - _overlap(row[first].completion, row[second].completion) for example, row in rows.items()
    }


def _overlap(text: str, other: str) -> float:
    left, right = set(text.split()), set(other.split())
    return len(left & right) / max(1, len(left | right))


def _pick(ordered: Sequence[str], gain: dict[str, float]) -> list[tuple[str, str]]:
    """The largest gains, the largest losses and the middle, each example once."""
    best = [example for example in reversed(ordered) if gain[example] > 0][:EACH]
    worst = [example for example in ordered if gain[example] < 0][:EACH]
    rest = [example for example in ordered if example not in {*best, *worst}]
    start = max(0, len(rest) // 2 - EACH // 2)
    kinds = (("largest gain", best), ("largest loss", worst), ("typical", rest[start : start + EACH]))
    return [(example, why) for why, examples in kinds for example in examples]


def _shown(row: Answers, why: str, values: dict[str, dict[str, float]], metric: str | None) -> Shown:
    asked = next(iter(row.values()))
    against = asked.reference if asked.reference is not None else asked.completion
    found = {name: values.get(name, {}).get(asked.example_id) for name in row}
    answers = tuple(
        Answer(name, marked(answer.completion, against), _figure(found[name], metric), answer.finish)
        for name, answer in row.items()
    )
    turns = tuple((turn.role, turn.content) for turn in asked.messages)
    return Shown(asked.example_id, why, turns, asked.reference, answers)


def _figure(value: float | None, metric: str | None) -> str:
    if value is None or metric is None:
        return ""
    means = meaning(metric)
    return f"{means.title} {figures.number(value, min(means.digits, 2))}"
