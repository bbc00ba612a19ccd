"""Interval charts as self-contained SVG, for files and notebooks, in light and dark."""

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

ROW, AXIS, PLOT, MARGIN = 30, 36, 420, 64
LETTER = 7.6  # mean width of a label's letter, in pixels

STYLE = (
    "text{font:14px system-ui,sans-serif;fill:#1d2125}.tick{font-size:12px;fill:#5b6470}"
    ".grid{stroke:#dfe3e8}.span{stroke:#8a8f98;stroke-width:3}.dot{fill:#1f6feb}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.tick{fill:#9aa4b0}.grid{stroke:#30363d}}"
)


class Row(NamedTuple):
    """One labelled value with its interval; the ends may be absent."""

    label: str
    value: float
    low: float | None
    high: float | None


def interval_chart(rows: Sequence[Row], title: str, digits: int = 0) -> str:
    """SVG text of finite values as dots on their intervals, in the order given; `title` is for readers."""
    left = _label_width(rows)
    return _document([_panel(rows, left, 0, digits)], left, _height(rows), title)


def interval_charts(panels: Sequence[tuple[str, Sequence[Row]]], title: str, digits: int = 3) -> str:
    """Draw one interval chart per (heading, rows) below each other, each with its own scale."""
    left = max(_label_width(rows) for _, rows in panels)
    parts, top = [], 0
    for heading, rows in panels:
        parts.append(f'<text x="{left}" y="{top + 20}">{escape(heading)}</text>')
        parts.append(_panel(rows, left, top + ROW, digits))
        top += ROW + _height(rows)
    return _document(parts, left, top, title)


def _document(parts: Sequence[str], left: int, height: int, title: str) -> str:
    width = left + PLOT + MARGIN
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{escape(title)}" '
        f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"><style>{STYLE}</style>'
    )
    return "\n".join([head, *parts, "</svg>"]) + "\n"


def _label_width(rows: Sequence[Row]) -> int:
    return math.ceil(max(len(row.label) for row in rows) * LETTER) + 24


def _height(rows: Sequence[Row]) -> int:
    return ROW * len(rows) + AXIS


def _panel(rows: Sequence[Row], left: int, top: int, digits: int) -> str:
    ends = [x for row in rows for x in (row.low, row.value, row.high) if x is not None]
    room = (max(ends) - min(ends)) * 0.05 or 10.0**-digits * 10
    start, end = min(ends) - room, max(ends) + room

    def x(value: float) -> float:
        return round(left + (value - start) / (end - start) * PLOT, 1)

    bottom = top + _height(rows) - AXIS
    parts, centred = [], 'class="tick" text-anchor="middle"'
    for tick in ticks(start, end):
        parts.append(f'<path class="grid" d="M{x(tick)} {top + 6}V{bottom + 6}"/>')
        parts.append(f'<text {centred} x="{x(tick)}" y="{bottom + 24}">{tick:g}</text>')
    parts += [_row(row, x, left, top + ROW * i + ROW // 2 + 4, digits) for i, row in enumerate(rows)]
    return "\n".join(parts)


def _row(row: Row, x: Callable[[float], float], left: int, y: int, digits: int) -> str:
    parts = [f'<text text-anchor="end" x="{left - 12}" y="{y + 5}">{escape(row.label)}</text>']
    if row.low is not None and row.high is not None:
        parts.append(f'<path class="span" d="M{x(row.low)} {y}H{x(row.high)}"/>')
    edge = x(row.value if row.high is None else row.high)
    parts.append(f'<circle class="dot" cx="{x(row.value)}" cy="{y}" r="5"/>')
    parts.append(f'<text x="{edge + 10}" y="{y + 5}">{row.value:.{digits}f}</text>')
    return "".join(parts)


def ticks(start: float, end: float, count: int = 5) -> list[float]:
    """About so many round numbers between the two."""
    rough = (end - start) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough * 0.999)
    first = math.ceil(start / step)
    return [float(f"{i * step:.10g}") for i in range(first, math.floor(end / step) + 1)]
