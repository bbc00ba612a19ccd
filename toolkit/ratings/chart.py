"""A leaderboard as a picture: one SVG file that needs nothing else, in light and in dark."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

from toolkit.types import Rating

ROW, AXIS, PLOT, MARGIN = 30, 36, 420, 64
LETTER = 7.6
"""Width of an average letter of the labels, in pixels."""

STYLE = (
    "text{font:14px system-ui,sans-serif;fill:#1d2125}.tick{font-size:12px;fill:#5b6470}"
    ".grid{stroke:#dfe3e8}.span{stroke:#8a8f98;stroke-width:3}.dot{fill:#1f6feb}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.tick{fill:#9aa4b0}.grid{stroke:#30363d}}"
)


def chart(ratings: Sequence[Rating], title: str) -> str:
    """Ratings as dots on their intervals, in the order given, as the text of an SVG file."""
    ends = [x for row in ratings for x in (row.low, row.value, row.high) if x is not None]
    room = (max(ends) - min(ends)) * 0.05 or 10.0
    start, end = min(ends) - room, max(ends) + room
    left = math.ceil(max(len(row.contestant) for row in ratings) * LETTER) + 24
    width, height = left + PLOT + MARGIN, ROW * len(ratings) + AXIS

    def x(value: float) -> float:
        return round(left + (value - start) / (end - start) * PLOT, 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{escape(title)}" '
        f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"><style>{STYLE}</style>'
    ]
    for tick in _ticks(start, end):
        parts.append(f'<path class="grid" d="M{x(tick)} 6V{height - AXIS + 6}"/>')
        parts.append(
            f'<text class="tick" text-anchor="middle" x="{x(tick)}" y="{height - 12}">{tick:g}</text>'
        )
    parts += [_row(row, x, left, ROW * place + ROW // 2 + 4) for place, row in enumerate(ratings)]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _row(row: Rating, x: Callable[[float], float], left: int, y: int) -> str:
    parts = [f'<text text-anchor="end" x="{left - 12}" y="{y + 5}">{escape(row.contestant)}</text>']
    if row.low is not None and row.high is not None:
        parts.append(f'<path class="span" d="M{x(row.low)} {y}H{x(row.high)}"/>')
    edge = x(row.value if row.high is None else row.high)
    parts.append(f'<circle class="dot" cx="{x(row.value)}" cy="{y}" r="5"/>')
    parts.append(f'<text x="{edge + 10}" y="{y + 5}">{row.value:.0f}</text>')
    return "".join(parts)


def _ticks(start: float, end: float) -> list[float]:
    """About five round numbers between the two."""
    rough = (end - start) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough)
    return [step * i for i in range(math.ceil(start / step), math.floor(end / step) + 1)]
