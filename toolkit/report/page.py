"""Writing the report of a run: one self-contained HTML page, and the same in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from toolkit import records
from toolkit.printable import printable
from toolkit.report import (
    answer,
    battles,
    charts,
    examples,
    figures,
    leaderboard,
    provenance,
    roles,
    tables,
    training,
    voters,
)
from toolkit.report.load import RunView, load_run
from toolkit.report.meanings import BENCHMARKS, GROUPS
from toolkit.types import Rating


def write_report(folder: Path) -> Path:
    """Write `report.html` and `report.md` from the files of a run folder.

    Returns:
        The path of `report.html`.

    Raises:
        DataError: the folder holds no finished run, or one of its files does not parse.
    """
    facts = gather(load_run(folder))
    for name in ("report.html", "report.md"):
        records.write_text(folder / name, render(f"{name}.jinja", facts))
    return folder / "report.html"


def gather(view: RunView, asked: Sequence[roles.Question] | None = None) -> dict[str, Any]:
    """Everything the templates show, by section; `asked` in place of a run's own questions."""
    summary = view.summary
    names = summary.contestants
    colours = {name: index for index, name in enumerate(names)}
    asked = roles.questions(names, view.recipe) if asked is None else asked
    compared = [answer.compare(summary, question, view.less_is_better) for question in asked]
    compared = [comparison for comparison in compared if comparison.claims]
    rest = others(view, compared)
    grouped = tables.panels(view, colours)
    measured = [panel for group, found in grouped.items() if group != BENCHMARKS for panel in found]
    facts = {
        "run": view,
        "summary": summary,
        "colours": colours,
        "opening": answer.opening(compared),
        "leading": answer.leading(compared),
        "comparisons": compared,
        "others": rest,
        "caution": answer.caution(compared),
        "unknowns": answer.unknowns(summary, compared),
        "over": answer.units(summary),
        "differences": tables.differences(compared) if compared else None,
        "panels": measured,
        "readings": readings(grouped),
        "scores": tables.scores(measured, names) if measured else None,
        "benchmarks": grouped.get(BENCHMARKS, []),
        "standing": leaderboard.standing(view),
        "benchmark_table": tables.scores(grouped.get(BENCHMARKS, []), names, "Every benchmark figure"),
        "votes": votes(view, colours),
        "chosen": examples.choose(view, asked[0]) if asked else None,
        "stages": tables.stages(summary.stages) if summary.stages else None,
        "curves": {stage: training.drawings(rows) for stage, rows in view.curves.items()},
        "answers": tables.answers(view.completions) if view.completions else None,
        "data": provenance.data(view),
        "findings": provenance.findings(view.findings),
        "provenance": provenance.made_with(view),
        "command": provenance.command(view) if view.manifest or view.recipe else "",
        "changes": None,
    }
    return facts | {"subtitle": subtitle(view), "sections": sections(facts)}


def subtitle(view: RunView) -> str:
    """What was done, in one line."""
    summary, recipe = view.summary, view.recipe
    parts = [figures.counted(len(summary.contestants), "contestant")]
    examples_asked = max((len(found) for found in view.completions.values()), default=0)
    if examples_asked:
        parts.append(f"on {figures.counted(examples_asked, 'held-out example')}")
    if recipe and summary.stages:
        told = [s.name if s.name == s.method else f"{s.name} ({s.method})" for s in summary.stages]
        trained = ", then ".join(told)
        parts.append(f"trained {trained} on {recipe.base}")
    return f"{'; '.join([' '.join(parts[:2]), *parts[2:]])}. Intervals are 95%."


def readings(grouped: dict[str, list[tables.Panel]]) -> list[tuple[str, str]]:
    """Titles of the metrics of a group -> how to read them."""
    return [
        (figures.listed([panel.meaning.title for panel in grouped[group]]), f"{group}. {note}".strip())
        for group, note in GROUPS.items()
        if group in grouped
    ]


def sections(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Anchor and title of the sections that have something to show."""
    there = {
        "answer": ("Answer", True),
        "scores": ("Scores", facts["scores"]),
        "differences": ("Differences", facts["differences"]),
        "benchmarks": ("Benchmarks", facts["benchmarks"]),
        "votes": ("Judge and people", facts["votes"]["boards"] or facts["votes"]["judges"]),
        "examples": ("Examples", facts["chosen"] and facts["chosen"].examples),
        "training": ("Training", facts["stages"]),
        "data": ("Data and checks", facts["answers"] or facts["data"] or facts["findings"]),
        "provenance": ("Provenance", facts["provenance"] or facts["command"]),
    }
    return [(anchor, title) for anchor, (title, shown) in there.items() if shown]


def others(view: RunView, compared: list[answer.Comparison]) -> list[answer.Comparison]:
    """The pairs that were compared and are not among the report's own questions."""
    asked = {(c.question.contestant, c.question.against) for c in compared}
    pairs = dict.fromkeys((found.contestant, found.against) for found in view.summary.differences)
    rest = [roles.Question(*pair, roles.OTHER) for pair in pairs if pair not in asked]
    return [answer.compare(view.summary, pair, view.less_is_better) for pair in rest]


def votes(view: RunView, colours: dict[str, int]) -> dict[str, Any]:
    """Judge and people: standings, charts, matrices, and how far to trust them."""
    names = view.summary.contestants
    found = voters.judges(view.summary.notes)
    jury = voters.jury_cells(view.summary.notes)
    judge = "The jury's votes" if jury else "The judge model's votes"
    sides = [
        ("People", view.people_ratings, "people", view.people, ""),
        (judge, view.summary.ratings.judge, "judge", view.judged, voters.weakness(found)),
    ]
    boards = [
        {
            "title": title,
            "chart": rating_chart(title, rows, colours),
            "table": tables.ratings(title, rows),
            "wins": tables.wins(title, cast, names, battles.anchors(side, cast)),
            "rates": battles.rates(cast, view),
            "battles": battles.fought(side, cast, view),
            "standing": answer.standing(rows, title),
            "weak": weak,
        }
        for title, rows, side, cast, weak in sides
        if rows or cast
    ]
    return {
        "boards": boards,
        "judges": [
            (judge, tables.facts(f"Judge {judge.name}", voters.share_cells(judge))) for judge in found
        ],
        "jury": tables.facts("The jury: how often its judges cast the same vote", jury) if jury else None,
        "agreement": voters.agreement(view.judged, view.people),
    }


def rating_chart(title: str, rows: tuple[Rating, ...], colours: dict[str, int]) -> Markup:
    dots = [
        charts.Dot(row.contestant, row.value, row.low, row.high, colours.get(row.contestant, 0))
        for row in rows
    ]
    return charts.dots(f"{title}: ratings with 95% intervals", dots, 0)


def render(name: str, facts: dict[str, Any]) -> str:
    """A template of this room, filled in; HTML is escaped throughout."""
    environment = Environment(
        loader=PackageLoader("toolkit.report"),
        autoescape=name.endswith(".html.jinja"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "markdown": tables.to_markdown,
        "line": tables.escaped,
        "fenced": tables.fenced,
        "duration": figures.duration,
        "lower_first": lambda text: text[:1].lower() + text[1:],
    }
    return printable(environment.get_template(name).render(**facts))
