"""Examples with every contestant's answer, scores and votes: a few in the report, all on a page of their own.

The report shows losses beside gains, so that it cannot flatter the trained model by its choice of examples.
"""

import difflib
import re
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Literal, Self

from toolkit.metric_info import metric_info
from toolkit.report.formatting import number
from toolkit.report.headline import METRIC_ORDER, ComparisonPair
from toolkit.report.load import RunView
from toolkit.types import Completion, Verdict

Answers = dict[str, Completion]
"""Contestant -> its answer to one example."""
DECLINES = re.compile(
    r"\bI(?:'m| am)? (?:cannot|can't|can not|unable to|not able to|won't)\b|\bas an AI\b|\bmy guidelines\b",
    re.IGNORECASE,
)
"""How answers decline, in English; a sign to look there, not a measure."""
MOST_MARKED = 5_000
"""Answers up to which differences are marked: comparing takes about 5 ms an answer."""


Kind = Literal["same", "only", "missing"]
"""Of a piece: in both texts, in this one only, or in the other one only."""

MIN_OVERLAP = 0.4
"""Texts that share a smaller part of their words are different texts, not edits of each other."""
MAX_CHARS = 2000
"""Characters of a text that are compared and shown."""


@dataclass(frozen=True)
class MarkedText:
    """A text in pieces, compared with another."""

    pieces: tuple[tuple[Kind, str], ...]
    shared: float
    """Share of the words of both texts that the other has too, in the same order."""
    cut: int = 0
    """Characters left out at the end."""

    @property
    def text(self) -> str:
        """The text without the missing pieces."""
        return "".join(piece for kind, piece in self.pieces if kind != "missing")


@dataclass(frozen=True)
class Answer:
    contestant: str
    text: MarkedText
    figure: str
    """The metric that examples are sorted by, of this answer."""
    finish: str


@dataclass(frozen=True)
class ExampleVote:
    """One voter's vote on one pair of answers."""

    voter: str
    """A judge model's name, or `person`."""
    outcome: str
    """`sft over base`, or `sft and base: tie`."""
    reasons: str = ""


@dataclass(frozen=True)
class ShownExample:
    """One example with every contestant's answer, marked against the reference."""

    id: str
    turns: tuple[tuple[str, str], ...]
    """(role, text) of the question."""
    reference: str | None
    answers: tuple[Answer, ...]
    category: str = ""
    gain: float | None = None
    """How much better the first contestant's answer is; without a metric, how different."""
    worst: float | None = None
    """Value of the first contestant's answer, more is better."""
    tags: tuple[str, ...] = ()
    """Of `gained`, `lost`, `cut`, `empty`, `declined`, `refused`."""
    votes: tuple[ExampleVote, ...] = ()
    why: str = ""
    """Why the report shows it."""

    def of(self, pair: ComparisonPair) -> Self:
        """With the answers of two contestants only."""
        two = (pair.against, pair.contestant)
        return replace(self, answers=tuple(each for each in self.answers if each.contestant in two))


@dataclass(frozen=True)
class ExampleSet:
    """Every example of a run, and the figure they are sorted by."""

    metric: str
    """Title; empty without a metric that both contestants have."""
    pair: ComparisonPair
    examples: tuple[ShownExample, ...]

    @property
    def tags(self) -> dict[str, int]:
        """Tag -> number of examples."""
        names = ("lost", "gained", "cut", "empty", "declined", "refused")
        counts = {name: sum(name in each.tags for each in self.examples) for name in names}
        return {name: count for name, count in counts.items() if count}

    @property
    def categories(self) -> list[str]:
        return sorted({each.category for each in self.examples if each.category})

    @property
    def chosen(self) -> tuple[ShownExample, ...]:
        """What the report shows: the largest gain and loss and the middle, or the most different."""
        known = sorted(
            (each for each in self.examples if each.gain is not None), key=lambda each: each.gain or 0.0
        )
        if not known:
            return ()
        if not self.metric:
            return tuple(replace(each.of(self.pair), why="most different") for each in known[:-3:-1])
        middle = known[len(known) // 2]
        found = {
            "largest gain": known[-1] if "gained" in known[-1].tags else None,
            "largest loss": known[0] if "lost" in known[0].tags else None,
            "typical": middle if middle not in (known[0], known[-1]) else None,
        }
        return tuple(replace(each.of(self.pair), why=why) for why, each in found.items() if each)


def load_examples(view: RunView, pair: ComparisonPair) -> ExampleSet | None:
    """Every example; `None` where the contestants of the pair answered none together."""
    rows: dict[str, Answers] = defaultdict(dict)
    for name, answers in view.completions.items():
        for answer in answers:
            rows[answer.example_id][name] = answer
    if not any(pair.contestant in row and pair.against in row for row in rows.values()):
        return None
    metric, values = _sort_metric(view, pair)
    votes, marked = _votes(view), sum(map(len, rows.values())) <= MOST_MARKED
    examples = []
    for example, row in rows.items():
        own = {name: found[example] for name, found in values.items() if example in found}
        gain, worst = _gain(row, own, pair, metric)
        first = next(iter(row.values()))
        reference = first.completion if first.reference is None else first.reference
        shown = ShownExample(
            id=example,
            turns=tuple((turn.role, turn.content) for turn in first.messages),
            reference=first.reference,
            answers=tuple(
                Answer(
                    name,
                    mark_differences(each.completion, reference if marked else each.completion),
                    _figure(own.get(name), metric),
                    each.finish,
                )
                for name, each in row.items()
            ),
            category=first.category or "",
            gain=gain,
            worst=worst,
            tags=_tags(row, gain if metric else None),
            votes=tuple(votes[example]),
        )
        examples.append(shown)
    return ExampleSet(metric_info(metric, view.less_is_better).title if metric else "", pair, tuple(examples))


def _sort_metric(view: RunView, pair: ComparisonPair) -> tuple[str | None, dict[str, dict[str, float]]]:
    """The primary measure, or the first metric that both have, and contestant -> example -> value."""
    found = {name: {m.metric: m for m in own} for name, own in view.measurements.items()}
    both = found.get(pair.contestant, {}).keys() & found.get(pair.against, {}).keys()
    order = [view.summary.notes.get("primary"), *METRIC_ORDER]
    metric = next((name for name in order if name in both), None)
    if metric is None:
        return None, {}
    return metric, {name: own[metric].per_example() for name, own in found.items() if metric in own}


def _gain(
    row: Answers, values: dict[str, float], pair: ComparisonPair, metric: str | None
) -> tuple[float | None, float | None]:
    """How much better the contestant's answer is than the other's, and its own value, more being better."""
    better = metric_info(metric).better or 1 if metric else 1
    if pair.contestant in values:
        own = better * values[pair.contestant]
        return own - better * values[pair.against] if pair.against in values else None, own
    mine, theirs = row.get(pair.contestant), row.get(pair.against)
    if metric is None and mine and theirs and not (mine.refused or theirs.refused):
        left, right = set(mine.completion.split()), set(theirs.completion.split())
        return 1 - len(left & right) / max(1, len(left | right)), None
    return None, None


def _tags(row: Answers, gain: float | None) -> tuple[str, ...]:
    """What is to be seen in an example: a gain or a loss by the metric, and signs of trouble."""
    answers = row.values()
    there = {
        "gained": gain is not None and gain > 0,
        "lost": gain is not None and gain < 0,
        "cut": any(each.finish == "length" for each in answers),
        "empty": any(not each.completion.strip() and not each.refused for each in answers),
        "declined": any(DECLINES.search(each.completion[:MAX_CHARS]) for each in answers),
        "refused": any(each.refused for each in answers),
    }
    return tuple(name for name, seen in there.items() if seen)


def _votes(view: RunView) -> dict[str, list[ExampleVote]]:
    """Example -> the votes on it, people's first, a judge's with the reasons of both orders."""
    verdicts: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in view.verdicts:
        verdicts[verdict.battle_id].append(verdict)
    found: dict[str, list[ExampleVote]] = defaultdict(list)
    for vote in [*view.people, *view.judge_votes]:
        voter, known = ("person", []) if vote.kind == "person" else (vote.voter, verdicts[vote.battle_id])
        known = [each for each in known if each.judge == vote.voter] or known  # a jury's: of all its judges
        reasons = " / ".join(str(each.reason) for each in known if each.reason)
        over = {"a": (vote.model_a, vote.model_b), "b": (vote.model_b, vote.model_a)}.get(vote.outcome)
        tie = "both bad" if vote.outcome == "both_bad" else "tie"
        outcome = " over ".join(over) if over else f"{vote.model_a} and {vote.model_b}: {tie}"
        found[vote.example_id].append(ExampleVote(voter, outcome, reasons))
    return found


def _figure(value: float | None, metric: str | None) -> str:
    if value is None or metric is None:
        return ""
    means = metric_info(metric)
    return f"{means.title} {number(value, min(means.digits, 2))}"


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
    pieces: list[tuple[Kind, str]] = []
    for tag, start, end, other_start, other_end in matcher.get_opcodes():
        pieces.append(("same" if tag == "equal" else "only", "".join(left[start:end])))
        missing = "" if tag == "equal" else "".join(right[other_start:other_end])
        pieces.append(("missing", missing if missing.strip() else ""))
    return MarkedText(tuple((kind, piece) for kind, piece in pieces if piece), shared, cut)


def _tokens(text: str) -> list[str]:
    """Words and the white space between them."""
    return re.findall(r"\s+|\S+", text)
