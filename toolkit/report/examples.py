"""Select examples to show: largest gains, largest losses and typical cases.

Losses are shown beside gains, so that the page cannot flatter the trained model by its choice of examples.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from toolkit.metric_info import metric_info
from toolkit.metrics import Measurement
from toolkit.report import formatting
from toolkit.report.headline import METRIC_ORDER, ComparisonPair
from toolkit.report.load import RunView
from toolkit.types import Completion

EXAMPLES_PER_KIND = 2
"""Examples of each kind."""
Answers = dict[str, Completion]
"""Contestant -> its answer to one example."""


@dataclass(frozen=True)
class Answer:
    contestant: str
    text: MarkedText
    figure: str
    """The metric the example was chosen by, of this answer."""
    finish: str


@dataclass(frozen=True)
class ShownExample:
    """One example with every contestant's answer, marked against the reference."""

    id: str
    why: str
    turns: tuple[tuple[str, str], ...]
    """(role, text) of the question."""
    reference: str | None
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class ExampleSelection:
    """The examples shown, and the figure they were chosen by."""

    metric: str
    pair: ComparisonPair
    examples: tuple[ShownExample, ...]


def select_examples(view: RunView, pair: ComparisonPair) -> ExampleSelection | None:
    """Examples on which the two of the question differ; `None` without answers of both."""
    rows = _by_example(view.completions)
    both = {example: row for example, row in rows.items() if pair.contestant in row and pair.against in row}
    if not both:
        return None
    metric, values = _selection_metric(view.measurements, pair)
    gain = _score_gains(both, values, pair)
    ordered = sorted(gain, key=gain.__getitem__)
    picked = (
        _pick(ordered, gain)
        if metric
        else [(e, "most different") for e in ordered[::-1][: 3 * EXAMPLES_PER_KIND]]
    )
    own = {name: values.get(name, {}) for name in rows[next(iter(both))]}
    shown = tuple(_build_example(both[example], why, own, metric) for example, why in picked)
    return ExampleSelection(metric_info(metric).title if metric else "words in common", pair, shown)


def _by_example(completions: dict[str, list[Completion]]) -> dict[str, Answers]:
    rows: dict[str, Answers] = {}
    for name, answers in completions.items():
        for answer in (each for each in answers if not each.refused):
            rows.setdefault(answer.example_id, {})[name] = answer
    return rows


def _selection_metric(
    measurements: dict[str, list[Measurement]], pair: ComparisonPair
) -> tuple[str | None, dict[str, dict[str, float]]]:
    """The first metric of `METRIC_ORDER` that both have, and contestant -> example -> value."""
    tables = {name: {m.metric: m for m in found} for name, found in measurements.items()}
    mine, theirs = tables.get(pair.contestant, {}), tables.get(pair.against, {})
    metric = next((metric for metric in METRIC_ORDER if metric in mine and metric in theirs), None)
    if metric is None:
        return None, {}
    return metric, {name: found[metric].per_example() for name, found in tables.items() if metric in found}


def _score_gains(
    rows: dict[str, Answers], values: dict[str, dict[str, float]], pair: ComparisonPair
) -> dict[str, float]:
    """Example -> how much better the first contestant's answer is; without a metric, how different."""
    first, second = pair.contestant, pair.against
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
    best = [example for example in reversed(ordered) if gain[example] > 0][:EXAMPLES_PER_KIND]
    worst = [example for example in ordered if gain[example] < 0][:EXAMPLES_PER_KIND]
    rest = [example for example in ordered if example not in {*best, *worst}]
    start = max(0, len(rest) // 2 - EXAMPLES_PER_KIND // 2)
    kinds = (
        ("largest gain", best),
        ("largest loss", worst),
        ("typical", rest[start : start + EXAMPLES_PER_KIND]),
    )
    return [(example, why) for why, examples in kinds for example in examples]


def _build_example(
    row: Answers, why: str, values: dict[str, dict[str, float]], metric: str | None
) -> ShownExample:
    first = next(iter(row.values()))
    against = first.reference if first.reference is not None else first.completion
    found = {name: values.get(name, {}).get(first.example_id) for name in row}
    answers = tuple(
        Answer(
            name, mark_differences(answer.completion, against), _figure(found[name], metric), answer.finish
        )
        for name, answer in row.items()
    )
    turns = tuple((turn.role, turn.content) for turn in first.messages)
    return ShownExample(first.example_id, why, turns, first.reference, answers)


def _figure(value: float | None, metric: str | None) -> str:
    if value is None or metric is None:
        return ""
    means = metric_info(metric)
    return f"{means.title} {formatting.number(value, min(means.digits, 2))}"


Kind = Literal["same", "only", "missing"]
"""Of a piece: in both texts, in this one only, or in the other one only."""

MIN_OVERLAP = 0.4
"""Texts that share a smaller part of their words are different texts, not edits of each other."""
MAX_CHARS = 2000
"""Characters of a text that are compared and shown."""

Pieces = tuple[tuple[Kind, str], ...]


@dataclass(frozen=True)
class MarkedText:
    """A text in pieces, compared with another."""

    pieces: Pieces
    shared: float
    """Share of the words of both texts that the other has too, in the same order."""
    cut: int = 0
    """Characters left out at the end."""

    @property
    def text(self) -> str:
        """The text without the missing pieces."""
        return "".join(piece for kind, piece in self.pieces if kind != "missing")


def mark_differences(text: str, other: str) -> MarkedText:
    """Mark word differences of `text` against `other`, with the words it lacks inserted.

    Where the two share too little, nothing is marked. The pieces that are not `missing`, joined, are `text`
    (its first `MAX_CHARS` characters).
    """
    shown, against = text[:MAX_CHARS], other[:MAX_CHARS]
    left, right = _tokens(shown), _tokens(against)
    matcher = difflib.SequenceMatcher(None, left, right, autojunk=False)
    blocks = matcher.get_matching_blocks()
    words = sum(not token.isspace() for token in [*left, *right])
    same = sum(not token.isspace() for b in blocks for token in left[b.a : b.a + b.size])
    shared, cut = (2 * same / words if words else 1.0), len(text) - len(shown)
    if shared < MIN_OVERLAP:
        return MarkedText((("same", shown),) if shown else (), shared, cut)
    return MarkedText(tuple(_pieces(matcher, left, right)), shared, cut)


def _pieces(matcher: difflib.SequenceMatcher[str], left: list[str], right: list[str]) -> Pieces:
    found: list[tuple[Kind, str]] = []
    for tag, start, end, other_start, other_end in matcher.get_opcodes():
        found.append(("same" if tag == "equal" else "only", "".join(left[start:end])))
        missing = "" if tag == "equal" else "".join(right[other_start:other_end])
        found.append(("missing", missing if missing.strip() else ""))
    return tuple((kind, piece) for kind, piece in found if piece)


def _tokens(text: str) -> list[str]:
    """Words and the white space between them."""
    return re.findall(r"\s+|\S+", text)
