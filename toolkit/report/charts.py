"""Charts as inline SVG: dots with their intervals, and lines. Drawn here, so the page needs no script."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

ROW, LABEL, WIDTH, AXIS = 26, 132, 560, 26
HEIGHT = 170


@dataclass(frozen=True)
class Dot:
    """A value with its interval; `label` names it."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    colour: int = 0
    """Index of the contestant's colour."""


def dots(title: str, rows: Sequence[Dot], digits: int = 2) -> str:
    """A dot for each value and a bar for its interval, one row each, on one scale."""
    known = [x for row in rows for x in (row.value, row.low, row.high) if x is not None and math.isfinite(x)]
    if not known:
        return ""
    start, end = _scale(min(known), max(known))
    height = ROW * len(rows) + AXIS

    def x(value: float) -> float:
        return round(LABEL + (value - start) / (end - start) * (WIDTH - LABEL - 64), 1)

    parts = [_open(title, WIDTH, height)]
    for tick in _ticks(start, end):
        parts.append(f'<line class="grid" x1="{x(tick)}" x2="{x(tick)}" y1="4" y2="{height - AXIS + 4}"/>')
        parts.append(f'<text class="tick" x="{x(tick)}" y="{height - 8}">{_number(tick)}</text>')
    for index, row in enumerate(rows):
        y = ROW * index + ROW // 2 + 2
        parts.append(f'<text class="name" x="{LABEL - 10}" y="{y + 4}">{escape(row.label)}</text>')
        if not math.isfinite(row.value):
            continue
        if row.low is not None and row.high is not None:
            parts.append(f'<path class="bar c{row.colour % 6}" d="M{x(row.low)} {y}H{x(row.high)}"/>')
        parts.append(f'<circle class="dot c{row.colour % 6}" cx="{x(row.value)}" cy="{y}" r="4.5"/>')
        edge = x(row.high if row.high is not None else row.value)
        parts.append(f'<text class="value" x="{edge + 9}" y="{y + 4}">{row.value:.{digits}f}</text>')
    return "".join([*parts, "</svg>"])


def line(title: str, points: Sequence[tuple[float, float]], unit: str) -> str:
    """One curve over training steps."""
    kept = [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
    if len(kept) < 2:  # noqa: PLR2004
        return ""
    left, right = min(x for x, _ in kept), max(x for x, _ in kept)
    start, end = _scale(min(y for _, y in kept), max(y for _, y in kept))
    width, margin, floor = 360, 52, HEIGHT - AXIS

    def at(x: float, y: float) -> str:
        across = margin + (x - left) / max(right - left, 1e-9) * (width - margin - 12)
        return f"{across:.1f},{12 + (end - y) / (end - start) * (floor - 12):.1f}"

    parts = [_open(title, width, HEIGHT)]
    for tick in _ticks(start, end, 4):
        y = 12 + (end - tick) / (end - start) * (floor - 12)
        parts.append(f'<line class="grid" x1="{margin}" x2="{width - 12}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="name" x="{margin - 8}" y="{y + 4:.1f}">{_number(tick)}</text>')
    parts.append(f'<polyline class="curve" points="{" ".join(at(x, y) for x, y in kept)}"/>')
    for x in (left, right):
        across = at(x, start).split(",", maxsplit=1)[0]
        parts.append(f'<text class="tick" x="{across}" y="{HEIGHT - 6}">{x:.0f}</text>')
    parts.append(f'<text class="tick" x="{width / 2 + 20}" y="{HEIGHT - 6}">{escape(unit)}</text>')
    return "".join([*parts, "</svg>"])


def _open(title: str, width: int, height: int) -> str:
    label = escape(title, quote=True)
    return f'<svg role="img" aria-label="{label}" viewBox="0 0 {width} {height}" width="{width}">'


def _scale(low: float, high: float) -> tuple[float, float]:
    """A little room on both sides; never of no width."""
    room = (high - low) * 0.06 or max(abs(high) * 0.1, 0.5)
    return low - room, high + room


def _ticks(start: float, end: float, wanted: int = 5) -> list[float]:
    rough = (end - start) / wanted
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough)
    first = math.ceil(start / step)
    return [round(i * step, 10) for i in range(first, math.floor(end / step) + 1)]


def _number(value: float) -> str:
    return f"{value:g}"
