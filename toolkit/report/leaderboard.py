"""The benchmark leaderboard: contestants by their average, and differences on the same questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from toolkit.benchmarks.leaderboard import Cell as Place
from toolkit.benchmarks.leaderboard import goodhart, leaderboard
from toolkit.metrics.comparing import Comparison, compare
from toolkit.metrics.measurement import of_values
from toolkit.report import figures
from toolkit.report.load import RunView
from toolkit.report.meanings import BENCHMARKS, meaning
from toolkit.report.tables import Cell, Table
from toolkit.types import Score


@dataclass(frozen=True)
class Standing:
    """What the section on benchmarks opens with."""

    board: Table
    differences: Table | None
    """On the same questions, where lm-eval's sample logs are there."""
    notes: tuple[str, ...]
    """What to be wary of."""


def standing(view: RunView) -> Standing | None:
    """The leaderboard of a run; `None` when no benchmark was run."""
    scores = [s for s in view.summary.scores if meaning(s.metric).group == BENCHMARKS]
    if not scores:
        return None
    compared = compare(
        [
            of_values(name, metric, values)
            for name, found in view.questions.items()
            for metric, values in found.items()
        ]
    )
    table = _differences(compared) if compared.differences else None
    return Standing(_board(scores), table, tuple(goodhart(compared.differences)))


def _board(scores: Sequence[Score]) -> Table:
    found = leaderboard(scores)
    rows = tuple(
        (
            Cell(row.contestant),
            *(_place(place) for place in row.cells),
            Cell(_percent(row.average)),
            Cell(_percent(row.above_chance)),
        )
        for row in found.rows
    )
    header = ("contestant", *(meaning(task).title for task in found.tasks), "average", "above chance")
    shares = all(place.share for row in found.rows for place in row.cells if place)
    caption = (
        f"Leaderboard, {'' if shares else 'shares '}in percent; ≈ marks what is within noise of the best"
    )
    return Table(caption, header, rows)


def _place(place: Place | None) -> Cell:
    if place is None:
        return Cell(figures.ABSENT)
    score = place.score
    mark = "≈ " if place.within_noise else ""
    if not place.share:
        return Cell(f"{mark}{figures.number(score.value, 2)}", figures.span(score.low, score.high, 2))
    low, high = (None if end is None else 100 * end for end in (score.low, score.high))
    return Cell(f"{mark}{_percent(score.value)}", figures.span(low, high, 1))


def _percent(share: float | None) -> str:
    return figures.number(None if share is None else 100 * share, 1)


def _differences(compared: Comparison) -> Table:
    rows = tuple(
        (
            Cell(meaning(each.metric).title),
            Cell(f"{each.contestant} {figures.MINUS} {each.against}", tone="words"),
            Cell(figures.signed(each.value), figures.span(each.low, each.high, sign=True)),
            Cell(figures.p(each.p_value), f"{figures.p(corrected)} corrected"),
            Cell(str(each.n)),
        )
        for each, corrected in zip(compared.differences, compared.corrected, strict=True)
    )
    header = ("task: metric", "difference", "with its 95% interval", "p", "n")
    return Table("Benchmark differences, paired on the same questions", header, rows)
