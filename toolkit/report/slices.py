"""The report's section on slices: the primary measure on each part of the examples, and what got worse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from toolkit.metric_info import MetricInfo, metric_info
from toolkit.metrics.slices import SliceFigure
from toolkit.report import formatting
from toolkit.report.headline import ComparisonPair
from toolkit.report.load import RunView
from toolkit.report.tables import Cell, Table, difference_chart
from toolkit.statistics import decide, holm
from toolkit.types import Difference, Score

COLUMNS = 2
"""Comparisons that are shown and corrected for: the most important ones of the headline."""


@dataclass(frozen=True)
class SliceSection:
    metric: str
    table: Table
    worse: str
    """Where the headline's contestant got worse, in one sentence."""
    further: tuple[str, ...]
    """Other metrics whose figures by slice are in `summary.json`."""


def slice_section(view: RunView, pairs: Sequence[ComparisonPair]) -> SliceSection | None:
    """Scores and corrected differences of the headline comparisons by slice; `None`: there are no slices."""
    figures = [SliceFigure.model_validate(each) for each in view.summary.notes.get("slices", ())]
    if not figures or not pairs:
        return None
    metrics = list(dict.fromkeys(each.metric for each in figures))
    primary = view.summary.notes.get("primary")
    metric = primary if primary in metrics else metrics[0]
    info = metric_info(metric, view.less_is_better)
    own = [each for each in figures if each.metric == metric]
    scores = {(each.slice, each.score.contestant): each.score for each in own if each.score}
    differences = [(each.slice, each.difference) for each in own if each.difference]
    found = {(place, each.contestant, each.against): each for place, each in differences}
    there = {key[1:] for key in found}
    compared = [pair for pair in pairs[:COLUMNS] if (pair.contestant, pair.against) in there]
    asked = {(place, pair.contestant, pair.against) for place, _ in scores for pair in compared}
    tested = {key: each for key, each in found.items() if key in asked}
    corrected = dict(zip(tested, holm([each.p_value for each in tested.values()]), strict=True))
    names = view.summary.contestants
    reach = max((max(abs(each.low), abs(each.high)) for each in tested.values()), default=0.0)
    rows, worse = [], []
    for place in dict.fromkeys(each.slice for each in own):
        count = max(score.n for (where, _), score in scores.items() if where == place)
        cells = [_score(scores.get((place, name)), info.digits) for name in names]
        for pair in compared:
            key = (place, pair.contestant, pair.against)
            cell = _difference(tested.get(key), corrected.get(key, 1.0), info, reach)
            cells.append(cell)
            if cell.tone == "worse":
                worse.append(f"{': '.join(place)} ({pair.contestant} against {pair.against})")
        rows.append((Cell(": ".join(place), f"n {count}"), *cells))
    titles = [f"{pair.contestant} {formatting.MINUS} {pair.against}" for pair in compared]
    return SliceSection(
        metric=info.title,
        table=Table(f"{info.title} by slice", ("slice", *names, *titles), tuple(rows)),
        worse=f"{info.title} got worse in {formatting.listed(worse)}."
        if worse
        else f"{info.title} is not shown to have got worse in any of {len(rows)} slices.",
        further=tuple(each for each in metrics if each != metric),
    )


def _score(found: Score | None, digits: int) -> Cell:
    if found is None:
        return Cell(formatting.ABSENT)
    return Cell(formatting.number(found.value, digits), formatting.span(found.low, found.high, digits))


def _difference(found: Difference | None, p: float, info: MetricInfo, reach: float) -> Cell:
    if found is None:
        return Cell(formatting.ABSENT)
    tone = decide(found.low, found.high, p, info.better) if info.better else "unclear"
    span = formatting.span(found.low, found.high, info.digits, sign=True)
    text = f"{formatting.signed(found.value, info.digits)}, {span}"
    chart = difference_chart(found, info, reach, tone, text)
    return Cell(formatting.signed(found.value, info.digits), f"{span}; {formatting.p(p)}", tone, chart)
