"""The battles behind every cell of a matrix of wins, with the judge's reasons, and win rates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from toolkit.judge.winrates import Preference, win_rates
from toolkit.report import figures
from toolkit.report.load import RunView
from toolkit.report.tables import Cell, Table
from toolkit.types import POINTS, Completion, Outcome, Verdict, Vote

EACH = 60
"""Battles of a pair that are listed."""
ANSWER, REASON, QUESTION = 240, 320, 120
"""Characters that are shown of each."""

Pair = tuple[str, str]


@dataclass(frozen=True)
class Fought:
    """The votes on one pair of contestants, as a table with an anchor that cells of the matrix point to."""

    anchor: str
    title: str
    table: Table
    more: int
    """Battles that are not listed."""


def anchors(side: str, votes: Iterable[Vote]) -> dict[Pair, str]:
    """(row, column) of the matrix -> where its battles are, both ways round; `side` is part of each."""
    found = {}
    for number, (one, other) in enumerate(dict.fromkeys(map(_pair, votes)), 1):
        found[one, other] = found[other, one] = f"battles-{side}-{number}"
    return found


def fought(side: str, votes: Sequence[Vote], view: RunView) -> list[Fought]:
    """Every pair's battles, in the order in which the votes stand in their file."""
    by_pair: dict[Pair, list[Vote]] = {}
    for vote in votes:
        by_pair.setdefault(_pair(vote), []).append(vote)
    places, said = anchors(side, votes), _said(view.verdicts)
    answers = {(name, row.example_id): row for name, rows in view.completions.items() for row in rows}
    return [
        Fought(
            anchor=places[pair],
            title=f"{pair[0]} and {pair[1]}, {figures.counted(len(cast), 'vote')}",
            table=Table(
                f"Battles of {pair[0]} and {pair[1]}",
                _header(pair, cast[0].kind),
                tuple(_row(vote, pair, answers, said) for vote in cast[:EACH]),
            ),
            more=max(0, len(cast) - EACH),
        )
        for pair, cast in by_pair.items()
    ]


def rates(votes: Iterable[Vote], view: RunView) -> Table | None:
    """Every pair's win rate, raw and between answers of equal length; `None` without answers."""
    lengths = {
        (name, row.example_id): len(row.completion) for name, rows in view.completions.items() for row in rows
    }
    found = [
        Preference(
            contestant=vote.model_b,
            against=vote.model_a,
            value=1 - POINTS[vote.outcome],
            length=lengths[vote.model_b, vote.example_id],
            length_against=lengths[vote.model_a, vote.example_id],
        )
        for vote in votes
        if (vote.model_a, vote.example_id) in lengths and (vote.model_b, vote.example_id) in lengths
    ]
    rows = tuple(
        (
            Cell(f"{row['contestant']} over {row['against']}"),
            _share(row["win_rate"]),
            _share(row["length_controlled"]),
            Cell(str(row["win_rate"]["n"])),
        )
        for row in win_rates(found)
    )
    header = ("pair", "win rate", "at equal length", "votes")
    return Table("Win rates with 95% intervals (a tie is half a win)", header, rows) if rows else None


def _share(share: dict[str, Any]) -> Cell:
    return Cell(
        figures.percent(share["value"]),
        f"{figures.percent(share['low'])} to {figures.percent(share['high'])}",
    )


def _pair(vote: Vote) -> Pair:
    one, other = sorted((vote.model_a, vote.model_b))
    return one, other


Said = dict[str, dict[tuple[str, str], Verdict]]
"""Battle -> (judge, order) -> the last verdict."""


def _said(verdicts: Iterable[Verdict]) -> Said:
    found: Said = {}
    for verdict in verdicts:
        found.setdefault(verdict.battle_id, {})[verdict.judge, verdict.order] = verdict
    return found


def _header(pair: Pair, kind: str) -> tuple[str, ...]:
    reasons = tuple(f"judge, {name} shown first" for name in pair) if kind == "judge" else ()
    return ("example", *pair, "vote", *reasons)


def _row(vote: Vote, pair: Pair, answers: dict[Pair, Completion], said: Said) -> tuple[Cell, ...]:
    shown = [answers.get((name, vote.example_id)) for name in pair]
    asked = next((row.messages[-1].content for row in shown if row), "")
    texts = [Cell(_cut(row.completion, ANSWER) if row else figures.ABSENT, tone="words") for row in shown]
    orders = ("ab", "ba") if vote.model_a == pair[0] else ("ba", "ab")
    heard = said.get(vote.battle_id, {})
    reasons = [_reasons(vote, heard, order) for order in orders] if vote.kind == "judge" else []
    named = Cell(_named(vote.outcome, vote), tone="words")
    return (Cell(vote.example_id, _cut(asked, QUESTION)), *texts, named, *reasons)


def _reasons(vote: Vote, heard: dict[tuple[str, str], Verdict], order: str) -> Cell:
    """What the judge said in one order; of a jury, what each of its judges said."""
    own = [verdict for (judge, side), verdict in heard.items() if side == order and judge == vote.voter]
    found = own or [verdict for (_, side), verdict in heard.items() if side == order]
    if not found:
        return Cell(figures.ABSENT, tone="words")
    named = [_named(verdict.outcome, vote) if verdict.outcome else "unreadable" for verdict in found]
    signed = [
        f"{verdict.judge}: {verdict.reason}" if len(found) > 1 else verdict.reason
        for verdict in found
        if verdict.reason
    ]
    return Cell("; ".join(named), _cut(" ".join(map(str, signed)), REASON), tone="words")


def _named(outcome: Outcome, vote: Vote) -> str:
    names = {"a": vote.model_a, "b": vote.model_b, "both_bad": "both bad"}
    return names.get(outcome, "tie")


def _cut(text: str, most: int) -> str:
    words = " ".join(text.split())
    return words if len(words) <= most else f"{words[:most].rstrip()} …"
