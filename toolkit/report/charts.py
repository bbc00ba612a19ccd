"""Charts as inline SVG: dots with their intervals, and curves. Drawn here, so the page needs no script.

Every chart is one size and is laid out in a grid, so that its text is as large on a phone as on a desk.
Colours come from the page's style sheet (classes `c0` .. `c5`, `better`, `worse`, `unclear`).
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from markupsafe import Markup, escape

from toolkit.metric_info import metric_info
from toolkit.report import formatting
from toolkit.svg import ticks
from toolkit.types import Rating, Score

WIDTH = 340
COLOURS = 6
ROW, AXIS = 24, 24
LABEL, VALUE = 104, 50
"""Room for names on the left and for values on the right of a dot plot."""
LONGEST_LABEL = 16
CURVE = (190, 44, 8, 12)
"""Height of a curve's chart, and its left, right and top margins."""
MOST_POINTS = 400
LARGEST, SMALLEST = 1e100, 1e-100
FOREST = (150, 22)

NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Dot:
    """A value with its interval, and what it is the mean of; `label` names it."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    colour: int = 0
    """Index of the contestant's colour."""
    points: Sequence[float] = ()
    """Drawn as rings in place of the value."""


@dataclass(frozen=True)
class Curve:
    """One line of a chart: (x, y) points in the order of x."""

    label: str
    points: Sequence[tuple[float, float]]
    dotted: bool = False
    """Show its points, for figures taken now and then."""


def dots(title: str, rows: Sequence[Dot], digits: int = 2) -> Markup:
    """A dot for each value and a bar for its interval, one row each, on one scale; empty without values."""
    ends = [x for row in rows for x in (row.value, row.low, row.high, *row.points)]
    known = [x for x in ends if x is not None and _drawable(x)]
    if not known:
        return Markup()
    start, end = _scale(min(known), max(known))
    height = ROW * len(rows) + AXIS

    def x(value: float) -> str:
        return f"{LABEL + (value - start) / (end - start) * (WIDTH - LABEL - VALUE - 14):.1f}"

    values = [", ".join(formatting.number(each, digits) for each in (row.value, *row.points)) for row in rows]
    description = "; ".join(f"{row.label} {each}" for row, each in zip(rows, values, strict=True))
    parts: list[str] = [_open(f"{title}: {description}", height)]
    for tick in ticks(start, end, 4):
        parts.append(f'<path class="grid" d="M{x(tick)} 4V{height - AXIS + 2}"/>')
        parts.append(f'<text class="tick" x="{x(tick)}" y="{height - 7}">{tick:g}</text>')
    for index, row in enumerate(rows):
        y, colour = ROW * index + ROW // 2 + 2, f"c{row.colour % COLOURS}"
        short = f"{row.label[: LONGEST_LABEL - 1]}\N{HORIZONTAL ELLIPSIS}"
        label = row.label if len(row.label) <= LONGEST_LABEL else short
        parts.append(f'<text class="name" x="{LABEL - 12}" y="{y + 4}">{_text(label)}</text>')
        if not _drawable(row.value):
            continue
        if row.low is not None and row.high is not None and _drawable(row.low) and _drawable(row.high):
            parts.append(f'<path class="bar {colour}" d="M{x(row.low)} {y}H{x(row.high)}"/>')
        kind, radius = ("ring", 3) if row.points else ("dot", 4)
        places = [each for each in row.points or [row.value] if _drawable(each)]
        parts += [f'<circle class="{kind} {colour}" cx="{x(e)}" cy="{y}" r="{radius}"/>' for e in places]
        value = formatting.number(row.value, digits)
        parts.append(f'<text class="value" x="{WIDTH - 2}" y="{y + 4}">{value}</text>')
    return Markup("".join([*parts, "</svg>"]))


def contestant_dots(
    title: str,
    rows: Sequence[Score | Rating],
    colours: Mapping[str, int],
    digits: int,
    points: Mapping[str, Sequence[float]] = MappingProxyType({}),
) -> Markup:
    """A dot plot of scores or ratings, each contestant in its colour, with rings for its `points`."""
    drawn = [
        Dot(x.contestant, x.value, x.low, x.high, colours.get(x.contestant, 0), points.get(x.contestant, ()))
        for x in rows
    ]
    return dots(title, drawn, digits)


def forest(title: str, value: float, interval: tuple[float, float], reach: float, reading: str) -> Markup:
    """One difference in a table's cell: zero in the middle, `interval` as a bar, better to the right.

    `title` is for screen readers, `reach` the size of difference at the chart's edges, `reading` (`better`,
    `worse` or `unclear`) the colour.
    """
    width, height = FOREST
    if not all(_drawable(number) for number in (value, *interval)):
        return Markup()

    def x(number: float) -> str:
        share = max(-1.0, min(1.0, number / reach)) if reach > 0 else 0.0
        return f"{width / 2 + share * (width / 2 - 8):.1f}"

    y = height // 2
    return Markup("").join(
        [
            _open(title, height, width),
            Markup(f'<path class="zero" d="M{width / 2} 1V{height - 1}"/>'),
            Markup(f'<path class="bar {reading}" d="M{x(interval[0])} {y}H{x(interval[1])}"/>'),
            Markup(f'<circle class="dot {reading}" cx="{x(value)}" cy="{y}" r="4"/></svg>'),
        ]
    )


def curves(title: str, lines: Sequence[Curve], unit: str = "step") -> Markup:
    """Lines over training steps, on one scale; empty when no line has two points."""
    height, left, right, top = CURVE
    thinned = (Curve(line.label, _thin(line.points), line.dotted) for line in lines)
    drawn = [line for line in thinned if line.points]
    points = [point for line in drawn for point in line.points]
    if not any(len(line.points) > 1 for line in drawn):
        return Markup()
    first, last = min(x for x, _ in points), max(x for x, _ in points)
    start, end = _scale(min(y for _, y in points), max(y for _, y in points))
    floor = height - AXIS - 6

    def at(x: float, y: float) -> tuple[float, float]:
        across = left + (x - first) / max(last - first, 1e-9) * (WIDTH - left - right)
        return round(across, 1), round(top + (end - y) / (end - start) * (floor - top), 1)

    ends = [(line.label, *line.points[0], *line.points[-1]) for line in drawn]
    words = [f"{name} from {y0:.4g} at {x0:g} to {y1:.4g} at {x1:g}" for name, x0, y0, x1, y1 in ends]
    parts: list[str] = [_open(f"{title}: {'; '.join(words)}", height)]
    for tick in ticks(start, end, 4):
        y = at(first, tick)[1]
        parts.append(f'<path class="grid" d="M{left} {y}H{WIDTH - right}"/>')
        parts.append(f'<text class="name tick" x="{left - 7}" y="{y + 4}">{tick:g}</text>')
    for index, line in enumerate(drawn):
        places = [at(x, y) for x, y in line.points]
        path = " ".join(f"{x},{y}" for x, y in places)
        parts.append(f'<polyline class="curve s{index}" points="{path}"/>')
        if line.dotted:
            parts += [f'<circle class="point s{index}" cx="{x}" cy="{y}" r="3"/>' for x, y in places]
    for x, anchor in ((first, "start"), (last, "end")):
        place = f'x="{at(x, start)[0]}" y="{height - 8}"'
        parts.append(f'<text class="tick {anchor}" {place}>{_text(f"{unit} {x:g}")}</text>')
    return Markup("".join([*parts, "</svg>"]))


def _drawable(number: float) -> bool:
    """Not infinite, not NaN, and no size that arithmetic with it would overflow."""
    return abs(number) < LARGEST


def _thin(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those that can be drawn, at most `MOST_POINTS`: the means of runs of neighbours."""
    points = [(x, y) for x, y in points if _drawable(x) and _drawable(y)]
    run = math.ceil(len(points) / MOST_POINTS) or 1
    pieces = [points[start : start + run] for start in range(0, len(points), run)]
    return [
        (sum(x for x, _ in piece) / len(piece), sum(y for _, y in piece) / len(piece)) for piece in pieces
    ]


def _open(title: str, height: int, width: int = WIDTH) -> Markup:
    return Markup(
        f'<svg role="img" aria-label="{_text(title)}" viewBox="0 0 {width} {height}" width="{width}">'
    )


def _text(text: str) -> Markup:
    """Escaped, and without the control characters that XML does not know."""
    return escape(NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text))


def _scale(low: float, high: float) -> tuple[float, float]:
    """A little room on both sides; never of no width."""
    room = (high - low) * 0.06
    if room <= max(abs(low), abs(high), SMALLEST) * 1e-9:
        room = max(abs(high) * 0.1, 0.5)
    return low - room, high + room


CURVES = {
    "Loss": {"loss": "training", "eval_loss": "held out"},
    "Preference accuracy": {"rewards/accuracies": "training", "eval_rewards/accuracies": "held out"},
    "Reward margin": {"rewards/margins": "training", "eval_rewards/margins": "held out"},
    "Accuracy of the reward": {"accuracy": "training", "eval_accuracy": "held out"},
    "Margin of the reward": {"margin": "training", "eval_margin": "held out"},
    "Reward": {"reward": "training", "eval_reward": "held out"},
    "KL from the start": {"kl": "training", "eval_kl": "held out"},
    "Tokens of an answer": {
        "completions/mean_length": "training",
        "eval_completions/mean_length": "held out",
    },
    "Token accuracy": {"mean_token_accuracy": "training", "eval_mean_token_accuracy": "held out"},
    "Gradient norm": {"grad_norm": "training"},
    "Learning rate": {"learning_rate": "training"},
    "Tokens per second": {"tokens_per_second": "training"},
    "Peak memory, GB": {"memory_bytes": "so far"},
}
"""Title -> column of the training log -> label of its line."""

SCALES = {"memory_bytes": 1e-9}
"""Columns that are drawn in another unit than they are logged in."""

Drawing = tuple[str, tuple[str, ...], Markup]
"""Title, names of its lines, chart."""


VALIDATION = "validation/"
"""Before the names of columns with the measure that `select` chooses by."""


def drawings(rows: Sequence[dict[str, Any]]) -> tuple[list[Drawing], list[Drawing]]:
    """The charts that one training log has figures for: what decides (loss, `select`), and the others."""
    first, *others = (_drawing(rows, title, columns) for title, columns in CURVES.items())
    step = next((row["selected_step"] for row in rows[::-1] if "selected_step" in row), None)
    published = f", step {step} published" if step is not None else ""
    deciding = [first]
    for key in dict.fromkeys(key for row in rows for key in row if key.startswith(VALIDATION)):
        title = metric_info(key.removeprefix(VALIDATION)).title
        deciding.append(_drawing(rows, f"{title} on the evaluation split{published}", {key: "held out"}))
    return [each for each in deciding if each], [each for each in others if each]


def _drawing(rows: Sequence[dict[str, Any]], title: str, columns: Mapping[str, str]) -> Drawing | None:
    lines = [
        Curve(name, points, name == "held out")
        for key, name in columns.items()
        if (points := _points(rows, key))
    ]
    chart = curves(title, lines)
    return (title, tuple(line.label for line in lines), chart) if chart else None


def _points(rows: Sequence[dict[str, Any]], key: str) -> list[tuple[float, float]]:
    """Of the training; the last evaluation of a checkpoint that was chosen is of another step."""
    rows = [row for row in rows if row.get("selected_step") in (None, row.get("step"))]
    pairs = [(row.get("step"), row.get(key)) for row in rows]
    number, scale = (int, float), SCALES.get(key, 1)
    return [(float(x), float(y) * scale) for x, y in pairs if isinstance(x, number) and isinstance(y, number)]
