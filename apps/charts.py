"""Charts of the leaderboard: quiet, labelled, readable in light and dark."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import altair as alt
import pandas as pd

from toolkit.types import Rating

if TYPE_CHECKING:
    from toolkit.ratings import History

ROW, AXIS, LINE = 36, 60, 15
"""Height of one contestant, of an axis with its title, and of a line of a label, in pixels."""

GREY = "#7d828a"
LINES = ["#2f78b7", "#c2571a", "#2f8a4a", "#9a5fc4", "#c24a86", "#8a7320", "#2a8a96", "#6b6fd6"]
"""Seen on light and on dark: a contrast of 3.8 at least."""

FEW = 8
"""Contestants up to which charts stand side by side."""
CELL = 29, 22
"""Width and height of a matrix cell in pixels, for two digits: a large matrix scrolls sideways."""
LINES_HEIGHT, APART = 320, 5
"""Height of the chart over time, and least distance of its labels, in pixels."""
NAME_WIDTH = 22
"""Characters of a name on one line of an axis; longer ones are broken, not cut."""


Chart = alt.LayerChart | alt.FacetChart


def with_page_ink(chart: Chart) -> Chart:
    """The chart with labels in the page's ink, also after its theme changes; Streamlit's grey is too pale."""
    ink = "currentColor"
    axes = chart.configure_axis(labelColor=ink, titleColor=ink).configure_text(color=ink)
    inked: Chart = axes.configure_legend(labelColor=ink, titleColor=ink)
    return inked


def _lines(names: Iterable[str]) -> int:
    """Lines of the longest of these labels."""
    return max(name.count("\n") + 1 for name in names)


def intervals(ratings: Sequence[Rating]) -> Chart:
    """Each contestant's rating as a dot on its 95% interval, best first."""
    rows = _rating_rows({"": ratings})
    lines = _lines(rows["contestant"])
    base = alt.Chart(rows, height=max(ROW, LINE * lines) * len(rows) + AXIS).encode(y=_names(lines))
    dot = base.mark_circle(size=130 if len(rows) <= FEW else 60, opacity=1).encode(x=_points("value"))
    return alt.layer(_spans(base), dot)


def beside(sides: Mapping[str, Sequence[Rating]]) -> Chart:
    """The same contestants as several kinds of voters rate them, one under the other."""
    rows, order = _rating_rows(sides), list(sides)
    offset = alt.YOffset("votes of:N", sort=order)
    lines = _lines(rows["contestant"])
    height = alt.Step(max(ROW / 2, LINE * lines / len(order)))
    base = alt.Chart(rows, height=height).encode(y=_names(lines), yOffset=offset)
    dot = base.mark_point(size=90, filled=True, opacity=1).encode(
        x=_points("value"),
        color=alt.Color("votes of:N", sort=order, title=None, legend=alt.Legend(orient="top")),
        shape=alt.Shape("votes of:N", sort=order, title=None),
    )
    return alt.layer(_spans(base), dot)


def _rating_rows(sides: Mapping[str, Sequence[Rating]]) -> pd.DataFrame:
    rows = [(row, {"contestant": wrapped(row.contestant), "votes of": s}) for s in sides for row in sides[s]]
    return pd.DataFrame([row.model_dump() | names for row, names in rows])


def _spans(base: alt.Chart) -> Any:
    return base.mark_rule(strokeWidth=3, color=GREY).encode(x=_points("low"), x2="high:Q")


def win_rates(rates: Sequence[dict[str, Any]], order: Sequence[str]) -> Chart:
    """How often the row beat the column, in percent."""
    many, names = len(order) > FEW, [wrapped(name) for name in order]
    rows = pd.DataFrame(rates).assign(
        contestant=[wrapped(row["contestant"]) for row in rates],
        against=[wrapped(row["against"]) for row in rates],
        percent=[f"{row['rate']:.0%}".removesuffix("%" if many else "") for row in rates],
    )
    lines = _lines(names)
    size: dict[str, Any] = {"height": max(ROW, LINE * lines) * len(order) + 2 * AXIS}
    if many:
        width, height = (alt.Step(max(cell, LINE * lines)) for cell in CELL)
        size = {"width": width, "height": height}
    top = alt.Axis(**_labels(lines), orient="top", labelAngle=-90)
    base = alt.Chart(rows, **size).encode(
        x=alt.X("against:N", sort=names, title=None, axis=top),
        y=alt.Y("contestant:N", sort=names, title=None, axis=alt.Axis(**_labels(lines))),
        tooltip=["contestant", "against", alt.Tooltip("rate:Q", format=".0%"), "votes"],
    )
    shade = alt.Color(
        "rate:Q", scale=alt.Scale(domain=[0, 1], range=["#e0a878", "#f4f4f2", "#7aa9d6"]), legend=None
    )
    cells = base.mark_rect(cornerRadius=0 if many else 4).encode(color=shade)
    text = base.mark_text(fontSize=12, color="#1d2125").encode(text="percent:N")
    return alt.layer(cells, text)


def over_time(history: History, order: Sequence[str]) -> Chart:
    """Online Elo as the votes came, named at the line's end; the first of `order` in colour."""
    final = dict(zip(history.names, history.values[-1].tolist(), strict=True))
    named = sorted(order[: len(LINES)], key=lambda name: -final[name])
    rows = [
        {"vote": number, "contestant": name, "rating": value}
        for number, now in zip(history.at.tolist(), history.values.tolist(), strict=True)
        for name, value in zip(history.names, now, strict=True)
    ]
    frame, low = pd.DataFrame(rows), float(history.values.min())
    high = max(float(history.values.max()), low + 1)
    shown = [wrapped(name) for name in named]
    labels_at = LINE * _lines(shown) + APART
    height = max(LINES_HEIGHT, labels_at * len(named))
    step, places = (high - low) / height * labels_at, list[float]()
    for name in named:  # a label apart, the first not above `high`
        places.append(min(final[name], places[-1] - step if places else high))
    places = [
        max(place, low + step * left) for place, left in zip(places, range(len(named))[::-1], strict=True)
    ]
    ends = pd.DataFrame({"vote": int(history.at[-1]), "contestant": named, "name": shown, "label": places})
    color = alt.Color("contestant:N", scale=alt.Scale(domain=named, range=LINES[: len(named)]), legend=None)
    x = alt.X("vote:Q", title="votes", axis=alt.Axis(tickMinStep=1), scale=alt.Scale(nice=False))
    y = alt.Scale(domain=[low, high], nice=False)
    base = alt.Chart(frame, height=height).encode(
        x=x, y=alt.Y("rating:Q", title="Elo", scale=y), detail="contestant:N"
    )
    is_named = alt.FieldOneOfPredicate(field="contestant", oneOf=named)
    middle = alt.ExprRef(f"-{LINE / 2} * (length(split(datum.name, '\\n')) - 1)")
    labels = alt.Chart(ends).encode(x="vote:Q", y=alt.Y("label:Q", scale=y))
    return alt.layer(
        base.transform_filter(~is_named).mark_line(strokeWidth=1, color=GREY, opacity=0.5),
        base.transform_filter(is_named).mark_line(strokeWidth=2).encode(color=color),
        labels.mark_circle(size=60, opacity=1, xOffset=12).encode(color=color),
        labels.mark_text(align="left", dx=20, dy=middle, fontSize=12, lineBreak="\n", lineHeight=LINE).encode(
            text="name:N"
        ),
    )


def _labels(lines: int) -> dict[str, Any]:
    """Options of an axis whose labels have up to so many lines, their middle at the tick."""
    blank = f"pad('', floor(({lines} - length(split(datum.label, '\\n'))) / 2), '\\n')"
    return {
        "labelLimit": 400,
        "labelOverlap": False,
        "labelFlush": False,
        "labelExpr": f"split({blank} + datum.label, '\\n')",
        "labelOffset": -LINE * (lines - 1) / 2,
        "labelLineHeight": LINE,
        "labelFontSize": 13,
    }


def wrapped(name: str) -> str:
    """A long name in lines, broken at hyphens, slashes and the like where there are any."""
    lines = [""]
    for part in re.findall(r"[^-_/.: ]*[-_/.: ]?", name):
        if lines[-1] and len(lines[-1] + part) > NAME_WIDTH:
            lines.append("")
        lines[-1] += part
    return "\n".join(piece for line in lines for piece in textwrap.wrap(line, NAME_WIDTH) or [line])


def _names(lines: int) -> alt.Y:
    return alt.Y("contestant:N", sort=None, title=None, axis=alt.Axis(**_labels(lines)))


def _points(field: str) -> alt.X:
    axis = alt.Axis(labelFlush=False, labelOverlap=True, tickCount=8)
    return alt.X(f"{field}:Q", title="rating", axis=axis, scale=alt.Scale(zero=False))
