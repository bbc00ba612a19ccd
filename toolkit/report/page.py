"""Writing the report of a run: one self-contained HTML page, and the same in Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from toolkit import records
from toolkit.report import answer, charts, words
from toolkit.report.load import RunView, load_run
from toolkit.types import Completion, Score

EXAMPLES_SHOWN = 6
ONE = 1.0
CURVES = {
    "loss": "loss",
    "rewards/accuracies": "preference accuracy",
    "learning_rate": "learning rate",
    "grad_norm": "gradient norm",
}
"""Column of a training log -> title of its chart."""


@dataclass(frozen=True)
class Panel:
    """One metric of all contestants: its chart's dots and its table's cells."""

    metric: str
    scores: tuple[Score, ...]
    note: str


@dataclass(frozen=True)
class Shown:
    """One example, with every contestant's answer marked against the reference."""

    question: str
    reference: list[tuple[words.Kind, str]]
    answers: list[tuple[str, list[tuple[words.Kind, str]]]]


def write_report(folder: Path) -> Path:
    """Write `report.html` and `report.md` from the files of a run folder.

    Returns:
        The path of `report.html`.

    Raises:
        DataError: the folder holds no finished run.
    """
    view = load_run(folder)
    facts = gather(view)
    for name in ("report.html", "report.md"):
        records.write_text(folder / name, _environment(name).get_template(f"{name}.jinja").render(**facts))
    return folder / "report.html"


def gather(view: RunView) -> dict[str, Any]:
    """Everything the templates show."""
    summary = view.summary
    colours = {name: index for index, name in enumerate(summary.contestants)}
    compared = answer.comparisons(summary)
    return {
        "run": view,
        "summary": summary,
        "colours": colours,
        "comparisons": compared,
        "headlines": headlines(compared, summary.contestants),
        "leads": [
            sentence
            for sentence in (
                answer.ranking(summary.ratings.people, "People"),
                answer.ranking(summary.ratings.judge, "The judge model's votes"),
            )
            if sentence
        ],
        "panels": panels(summary.scores, benchmarks=False),
        "benchmarks": panels(summary.scores, benchmarks=True),
        "differences": summary.differences,
        "wins": win_rates(view),
        "examples": most_different(view),
        "curves": {name: curves(rows) for name, rows in view.curves.items()},
        "charts": charts,
        "Dot": charts.Dot,
        "goodness": answer.goodness,
    }


def headlines(compared: Sequence[answer.Comparison], names: Sequence[str]) -> list[answer.Comparison]:
    """Those that open the report: the last contestant against all, the others against the one before."""
    last = [c for c in compared if names and c.contestant == names[-1]]
    before = dict(zip(names[1:-1], names[:-2], strict=False))
    return last + [c for c in compared if before.get(c.contestant) == c.against]


def panels(scores: Sequence[Score], *, benchmarks: bool) -> list[Panel]:
    """Scores by metric, in the order they were made."""
    metrics = dict.fromkeys(score.metric for score in scores if ("/" in score.metric) == benchmarks)
    notes = {1: "more is better", -1: "less is better", 0: "describes, does not rank"}
    return [
        Panel(metric, tuple(s for s in scores if s.metric == metric), notes[answer.goodness(metric)])
        for metric in metrics
    ]


def win_rates(view: RunView) -> dict[tuple[str, str], tuple[float, int]]:
    """(row, column) -> share of points the row took from the column, and the votes behind it."""
    points: Counter[tuple[str, str]] = Counter()
    met: Counter[tuple[str, str]] = Counter()
    for vote in view.votes:
        a, b = vote.model_a, vote.model_b
        share = ONE if vote.outcome == "a" else 0.0 if vote.outcome == "b" else ONE / 2
        points[a, b] += share  # type: ignore[assignment]
        points[b, a] += ONE - share  # type: ignore[assignment]
        met[a, b] += 1
        met[b, a] += 1
    return {pair: (points[pair] / n, n) for pair, n in met.items()}


def most_different(view: RunView) -> list[Shown]:
    """The examples on which contestants' answers share the fewest words."""
    answers: dict[str, dict[str, Completion]] = {}
    for name, completions in view.completions.items():
        for completion in completions:
            answers.setdefault(completion.example_id, {})[name] = completion
    complete = [row for row in answers.values() if len(row) == len(view.completions) > 1]
    complete.sort(key=_overlap)
    step = max(1, len(complete) // 2 // EXAMPLES_SHOWN)  # from the more different half, not only the oddest
    return [_shown(row) for row in complete[: EXAMPLES_SHOWN * step : step]]


def _overlap(row: dict[str, Completion]) -> float:
    bags = [set(completion.completion.split()) for completion in row.values()]
    everything = set().union(*bags)
    return len(set.intersection(*bags)) / max(1, len(everything))


def _shown(row: dict[str, Completion]) -> Shown:
    any_answer = next(iter(row.values()))
    reference = any_answer.reference or ""
    turns = [turn.content for turn in any_answer.messages if turn.role == "user"]
    against = reference or any_answer.completion
    return Shown(
        question=turns[-1] if turns else "",
        reference=[("same", reference)] if reference else [],
        answers=[(name, words.marked(completion.completion, against)) for name, completion in row.items()],
    )


def curves(rows: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """The charts of one training log, each with its title."""
    drawn = []
    for key, title in CURVES.items():
        points = [(float(row["step"]), float(row[key])) for row in rows if key in row]
        drawn.append((title, charts.line(title, points, "step")))
    return [(title, chart) for title, chart in drawn if chart]


def _environment(name: str) -> Environment:
    html = name.endswith(".html")
    environment = Environment(
        loader=PackageLoader("toolkit.report"),
        autoescape=html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["pvalue"] = lambda p: "p < 0.001" if p < 0.001 else f"p = {p:.3f}"  # noqa: PLR2004
    environment.filters["signed"] = lambda x: f"{x:+.3f}".replace("-", "\N{MINUS SIGN}")
    environment.filters["figure"] = figure
    environment.filters["cell"] = lambda text: str(text).replace("|", "\\|").replace("\n", " ")
    return environment


def figure(value: float | None) -> str:
    """A number with as many digits as a reader needs."""
    if value is None:
        return "\N{EN DASH}"
    digits = next((digits for size, digits in ((1000, 0), (20, 1), (2, 2)) if abs(value) >= size), 3)
    return f"{value:.{digits}f}"
