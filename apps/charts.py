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

GREY = "#7d828a"
LINES = ["#2f78b7", "#c2571a", "#2f8a4a", "#9a5fc4", "#c24a86", "#8a7320", "#2a8a96", "#6b6fd6"]
"""Seen on light and on dark: a contrast of 3.8 at least."""

FEW, LINES_HEIGHT, LABEL_WIDTH = 8, 300, 120
"""Contestants whose figures fit into the cells; pixels."""


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
    """How often the row beat the column; figures in the cells while they fit, else in the tip and table."""
    few = len(order) <= FEW
    base = alt.Chart(pd.DataFrame(rates), height=(ROW if few else ROW / 2) * len(order) + 2 * AXIS).encode(
        x=alt.X(
            "against:N",
            sort=list(order),
            title=None,
            axis=alt.Axis(orient="top", labelAngle=0 if len(order) <= 4 else -90, labelLimit=220),  # noqa: PLR2004
        ),
        y=alt.Y("contestant:N", sort=list(order), title=None, axis=alt.Axis(labelLimit=220)),
        tooltip=["contestant", "against", alt.Tooltip("rate:Q", format=".0%"), "votes"],
    )
    shade = alt.Color(
        "rate:Q", scale=alt.Scale(domain=[0, 1], range=["#e0a878", "#f4f4f2", "#7aa9d6"]), legend=None
    )
    cells = base.mark_rect(cornerRadius=4 if few else 0).encode(color=shade)
    if not few:
        return alt.layer(cells)
    text = base.mark_text(fontSize=13, color="#1d2125").encode(text=alt.Text("rate:Q", format=".0%"))
    return alt.layer(cells, text)


def over_time(history: History) -> alt.LayerChart | alt.FacetChart:
    """Online Elo as the votes came, named at the line's end; of many contestants the leaders in colour."""
    final = dict(zip(history.names, history.values[-1].tolist(), strict=True))
    named = sorted(final, key=lambda name: -final[name])[: len(LINES)]
    rows = [
        {"vote": number, "contestant": name, "rating": value}
        for number, now in zip(history.at.tolist(), history.values.tolist(), strict=True)
        for name, value in zip(history.names, now, strict=True)
    ]
    frame, last = pd.DataFrame(rows), int(history.at[-1])
    color = alt.Color("contestant:N", scale=alt.Scale(domain=named, range=LINES[: len(named)]), legend=None)
    x = alt.X("vote:Q", title="votes", scale=alt.Scale(domainMax=last * 1.02), axis=alt.Axis(tickMinStep=1))
    y = alt.Y("rating:Q", title="Elo", scale=alt.Scale(zero=False))
    lines = alt.Chart(frame, height=LINES_HEIGHT).encode(x=x, y=y, detail="contestant:N")
    ends = alt.Chart(_spread_labels(frame[frame["vote"] == last], named)).encode(
        x=alt.X("vote:Q"), y=alt.Y("label:Q"), color=color
    )
    is_named = alt.FieldOneOfPredicate(field="contestant", oneOf=named)
    return alt.layer(
        lines.transform_filter(~is_named).mark_line(strokeWidth=1, color=GREY),
        lines.transform_filter(is_named).mark_line(strokeWidth=2).encode(color=color),
        ends.mark_text(align="left", dx=6, fontSize=12, limit=LABEL_WIDTH).encode(text="contestant:N"),
    ).properties(padding={"right": LABEL_WIDTH})


def _spread_labels(ends: pd.DataFrame, named: Sequence[str]) -> pd.DataFrame:
    """Where each named line's label stands, a line of text apart from the next."""
    low, high = float(ends["rating"].min()), float(ends["rating"].max())
    step = max((high - low) / LINES_HEIGHT * 16, 1e-6)
    ends = ends[ends["contestant"].isin(named)].sort_values("rating")
    places: list[float] = []
    for value in ends["rating"].tolist():
        places.append(max(value, places[-1] + step) if places else value)
    return ends.assign(label=places)


def _points(field: str) -> alt.X:
    return alt.X(f"{field}:Q", title="rating", scale=alt.Scale(zero=False))
