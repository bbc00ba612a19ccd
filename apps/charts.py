"""Charts of the leaderboard: quiet, labelled, readable in light and dark."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import altair as alt
import pandas as pd

from apps.theme import THEME
from toolkit.types import Rating

if TYPE_CHECKING:
    from toolkit.ratings import History

ROW, AXIS = 36, 60
"""Height of one contestant and of an axis with its title, in pixels."""

GREY = "#7d828a"
LINES = ["#2f78b7", "#c2571a", "#2f8a4a", "#9a5fc4", "#c24a86", "#8a7320", "#2a8a96", "#6b6fd6"]
"""Seen on light and on dark: a contrast of 3.8 at least."""

FEW = 8
"""Contestants up to which charts stand side by side."""
CELL = 29, 22
"""Width and height of a matrix cell in pixels, for two digits: a large matrix scrolls sideways."""
LINES_HEIGHT, LABEL_HEIGHT = 320, 20
NAME_WIDTH = 22
"""Characters of a name on one line of an axis; longer ones are broken, not cut."""


Chart = alt.LayerChart | alt.FacetChart


def with_theme_ink(chart: Chart, *, dark: bool) -> Chart:
    """The chart with labels in the page's ink; Streamlit's grey is too pale for AA."""
    ink = THEME[f"theme.{'dark' if dark else 'light'}.textColor"]
    axes = chart.configure_axis(labelColor=ink, titleColor=ink).configure_text(color=ink)
    inked: Chart = axes.configure_legend(labelColor=ink, titleColor=ink)
    return inked


def intervals(ratings: Sequence[Rating]) -> Chart:
    """Each contestant's rating as a dot on its 95% interval, best first."""
    rows = pd.DataFrame([{**row.model_dump(), "contestant": wrapped(row.contestant)} for row in ratings])
    base = alt.Chart(rows, height=ROW * len(rows) + AXIS).encode(y=_names())
    span = base.mark_rule(strokeWidth=3, color=GREY).encode(x=_points("low"), x2="high:Q")
    dot = base.mark_circle(size=130 if len(rows) <= FEW else 60, opacity=1).encode(x=_points("value"))
    return alt.layer(span, dot)


def beside(sides: Mapping[str, Sequence[Rating]]) -> Chart:
    """The same contestants as several kinds of voters rate them, one under the other."""
    rows = pd.DataFrame(
        [
            {**row.model_dump(), "contestant": wrapped(row.contestant), "votes of": side}
            for side, own in sides.items()
            for row in own
        ]
    )
    order = list(sides)
    offset = alt.YOffset("votes of:N", sort=order)
    base = alt.Chart(rows, height=alt.Step(ROW / 2)).encode(y=_names(), yOffset=offset)
    span = base.mark_rule(strokeWidth=3, color=GREY).encode(x=_points("low"), x2="high:Q")
    dot = base.mark_point(size=90, filled=True, opacity=1).encode(
        x=_points("value"),
        color=alt.Color("votes of:N", sort=order, title=None, legend=alt.Legend(orient="top")),
        shape=alt.Shape("votes of:N", sort=order, title=None),
    )
    return alt.layer(span, dot)


def win_rates(rates: Sequence[dict[str, Any]], order: Sequence[str]) -> Chart:
    """How often the row beat the column, in percent."""
    many, names = len(order) > FEW, [wrapped(name) for name in order]
    rows = pd.DataFrame(rates).assign(
        contestant=[wrapped(row["contestant"]) for row in rates],
        against=[wrapped(row["against"]) for row in rates],
        percent=[f"{row['rate']:.0%}".removesuffix("%" if many else "") for row in rates],
    )
    size: dict[str, Any] = {"height": ROW * len(order) + 2 * AXIS}
    if many:
        size = {"width": alt.Step(CELL[0]), "height": alt.Step(CELL[1])}
    top = alt.Axis(**_LABELS, orient="top", labelAngle=-90)
    base = alt.Chart(rows, **size).encode(
        x=alt.X("against:N", sort=names, title=None, axis=top),
        y=alt.Y("contestant:N", sort=names, title=None, axis=alt.Axis(**_LABELS)),
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
    step, places = (high - low) / LINES_HEIGHT * LABEL_HEIGHT, list[float]()
    for name in named:  # a line of text apart, the first not above `high`
        places.append(min(final[name], places[-1] - step if places else high))
    ends = pd.DataFrame({"vote": int(history.at[-1]), "contestant": named, "label": places})
    color = alt.Color("contestant:N", scale=alt.Scale(domain=named, range=LINES[: len(named)]), legend=None)
    x = alt.X("vote:Q", title="votes", axis=alt.Axis(tickMinStep=1), scale=alt.Scale(nice=False))
    y = alt.Scale(domain=[low, high], nice=False)
    base = alt.Chart(frame, height=LINES_HEIGHT).encode(
        x=x, y=alt.Y("rating:Q", title="Elo", scale=y), detail="contestant:N"
    )
    is_named = alt.FieldOneOfPredicate(field="contestant", oneOf=named)
    labels = alt.Chart(ends).encode(x="vote:Q", y=alt.Y("label:Q", scale=y))
    return alt.layer(
        base.transform_filter(~is_named).mark_line(strokeWidth=1, color=GREY, opacity=0.5),
        base.transform_filter(is_named).mark_line(strokeWidth=2).encode(color=color),
        labels.mark_circle(size=60, opacity=1, xOffset=12).encode(color=color),
        labels.mark_text(align="left", dx=20, fontSize=12).encode(text="contestant:N"),
    )


_LABELS: dict[str, Any] = {
    "labelLimit": 400,
    "labelOverlap": False,
    "labelFlush": False,
    "labelExpr": "split(datum.label, '\\n')",
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


def _names() -> alt.Y:
    return alt.Y("contestant:N", sort=None, title=None, axis=alt.Axis(**_LABELS))


def _points(field: str) -> alt.X:
    axis = alt.Axis(labelFlush=False, labelOverlap=True, tickCount=8)
    return alt.X(f"{field}:Q", title="rating", axis=axis, scale=alt.Scale(zero=False))
