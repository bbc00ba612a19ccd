"""Charts of the leaderboard: quiet, labelled, readable in light and dark."""

from __future__ import annotations

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

GREY = "#8a8f98"
"""Seen on light and on dark."""


def with_theme_ink(chart: alt.LayerChart | alt.FacetChart, *, dark: bool) -> alt.LayerChart | alt.FacetChart:
    """The chart with labels in the page's ink; Streamlit's grey is too pale for AA."""
    ink = THEME[f"theme.{'dark' if dark else 'light'}.textColor"]
    axes: alt.LayerChart | alt.FacetChart = chart.configure_axis(labelColor=ink, titleColor=ink)
    inked: alt.LayerChart | alt.FacetChart = axes.configure_legend(labelColor=ink, titleColor=ink)
    return inked


def intervals(ratings: Sequence[Rating]) -> alt.LayerChart | alt.FacetChart:
    """Each contestant's rating as a dot on its 95% interval, best first."""
    rows = pd.DataFrame([rating.model_dump() for rating in ratings])
    contestants = alt.Y(
        "contestant:N", sort=None, title=None, axis=alt.Axis(labelLimit=220, labelFontSize=14)
    )
    base = alt.Chart(rows, height=ROW * len(rows) + AXIS).encode(y=contestants)
    span = base.mark_rule(strokeWidth=3, color=GREY).encode(x=_points("low"), x2="high:Q")
    dot = base.mark_circle(size=130, opacity=1).encode(x=_points("value"))
    return alt.layer(span, dot)


def beside(sides: Mapping[str, Sequence[Rating]]) -> alt.LayerChart | alt.FacetChart:
    """The same contestants as several kinds of voters rate them, one under the other."""
    rows = pd.DataFrame(
        [{**row.model_dump(), "votes of": side} for side, own in sides.items() for row in own]
    )
    order = list(sides)
    base = alt.Chart(rows, height=alt.Step(ROW / 2)).encode(
        y=alt.Y("contestant:N", sort=None, title=None, axis=alt.Axis(labelLimit=220, labelFontSize=14)),
        yOffset=alt.YOffset("votes of:N", sort=order),
    )
    span = base.mark_rule(strokeWidth=3, color=GREY).encode(x=_points("low"), x2="high:Q")
    dot = base.mark_point(size=90, filled=True, opacity=1).encode(
        x=_points("value"),
        color=alt.Color("votes of:N", sort=order, title=None, legend=alt.Legend(orient="top")),
        shape=alt.Shape("votes of:N", sort=order, title=None),
    )
    return alt.layer(span, dot)


def win_rates(rates: Sequence[dict[str, Any]], order: Sequence[str]) -> alt.LayerChart | alt.FacetChart:
    """How often the row beat the column; the number of votes is in the tip."""
    rows = pd.DataFrame(rates)
    base = alt.Chart(rows, height=ROW * len(order) + AXIS).encode(
        x=alt.X(
            "against:N",
            sort=list(order),
            title=None,
            axis=alt.Axis(orient="top", labelAngle=0, labelLimit=120),
        ),
        y=alt.Y("contestant:N", sort=list(order), title=None, axis=alt.Axis(labelLimit=220)),
        tooltip=["contestant", "against", alt.Tooltip("rate:Q", format=".0%"), "votes"],
    )
    shade = alt.Color(
        "rate:Q", scale=alt.Scale(domain=[0, 1], range=["#f3e3d3", "#cfe0f0"], interpolate="rgb"), legend=None
    )
    text = base.mark_text(fontSize=14, color="#1d2125").encode(text=alt.Text("rate:Q", format=".0%"))
    return alt.layer(base.mark_rect(cornerRadius=4).encode(color=shade), text)


def over_time(history: History, spread: Sequence[Rating]) -> alt.LayerChart | alt.FacetChart:
    """Online Elo as the votes came; at the end, how far other orders of the same votes spread."""
    rows = [
        {"vote": number, "contestant": name, "rating": value}
        for number, now in zip(history.at.tolist(), history.values.tolist(), strict=True)
        for name, value in zip(history.names, now, strict=True)
    ]
    last = int(history.at[-1])
    ends = [{"vote": last * (1 + 0.03 * (1 + place)), **row.model_dump()} for place, row in enumerate(spread)]
    color = alt.Color("contestant:N", title=None, legend=alt.Legend(orient="bottom"))
    lines = alt.Chart(pd.DataFrame(rows), height=280).mark_line(strokeWidth=2)
    bars = alt.Chart(pd.DataFrame(ends)).mark_rule(strokeWidth=4, opacity=0.6)
    return alt.layer(
        lines.encode(
            x=alt.X("vote:Q", title="votes", axis=alt.Axis(tickMinStep=1)),
            y=alt.Y("rating:Q", title="Elo", scale=alt.Scale(zero=False)),
            color=color,
        ),
        bars.encode(x="vote:Q", y="low:Q", y2="high:Q", color=color),
    )


def _points(field: str) -> alt.X:
    return alt.X(f"{field}:Q", title="rating", scale=alt.Scale(zero=False))
