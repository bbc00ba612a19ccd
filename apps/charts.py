"""Charts of the leaderboard: quiet, labelled, the same in light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import altair as alt
import pandas as pd

from toolkit.types import Rating

if TYPE_CHECKING:
    from toolkit.ratings import History

ROW, AXIS = 36, 60
"""Height of one contestant and of an axis with its title, in pixels."""

GREY = "#8a8f98"
"""Seen on light and on dark."""


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
    shade = alt.Color("rate:Q", scale=alt.Scale(domain=[0, 1], range=["#f3e3d3", "#cfe0f0"]), legend=None)
    text = base.mark_text(fontSize=14, color="#1d2125").encode(text=alt.Text("rate:Q", format=".0%"))
    return alt.layer(base.mark_rect(cornerRadius=4).encode(color=shade), text)


def over_time(history: History) -> alt.Chart:
    """Online Elo as the votes came."""
    rows = [
        {"vote": number, "contestant": name, "rating": value}
        for number, now in zip(history.at.tolist(), history.values.tolist(), strict=True)
        for name, value in zip(history.names, now, strict=True)
    ]
    chart: alt.Chart = alt.Chart(pd.DataFrame(rows), height=280).mark_line(strokeWidth=2)
    encoded: alt.Chart = chart.encode(
        x=alt.X("vote:Q", title="votes", axis=alt.Axis(tickMinStep=1)),
        y=alt.Y("rating:Q", title="Elo", scale=alt.Scale(zero=False)),
        color=alt.Color("contestant:N", title=None, legend=alt.Legend(orient="bottom")),
    )
    return encoded


def _points(field: str) -> alt.X:
    return alt.X(f"{field}:Q", title="rating", scale=alt.Scale(zero=False))
