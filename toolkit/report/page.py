"""Writing the report of a run: one self-contained HTML page, and the same in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from toolkit import io
from toolkit.metric_info import BENCHMARKS, GROUPS, metric_info
from toolkit.printable import printable
from toolkit.ratings import BradleyTerry, Decisions, first_place
from toolkit.report import charts, examples, formatting, headline, provenance, tables, votes
from toolkit.report.load import RunView, load_run
from toolkit.report.slices import slice_section
from toolkit.types import Rating

PAGES = ("report.html", "report.md", "examples.html")
"""What a report is written to; `examples.html` holds every example, and the script that filters them."""


def write_report(folder: Path) -> Path:
    """Write `report.html`, `report.md` and `examples.html` from the files of a run folder.

    Returns:
        The path of `report.html`.

    Raises:
        DataError: the folder holds no finished run, or one of its files does not parse.
    """
    context = build_context(load_run(folder))
    for name in PAGES:
        io.write_text(folder / name, render(f"{name}.jinja", context))
    return folder / "report.html"


def build_context(view: RunView, pairs: Sequence[headline.ComparisonPair] | None = None) -> dict[str, Any]:
    """Everything the templates show, by section; `pairs` in place of a run's own questions."""
    summary = view.summary
    names = summary.contestants
    colours = {name: index for index, name in enumerate(names)}
    pairs = headline.headline_pairs(names, view.recipe) if pairs is None else pairs
    compared = [headline.compare(summary, pair, view.less_is_better, decisions(view)) for pair in pairs]
    compared = [comparison for comparison in compared if comparison.claims]
    rest = other_comparisons(view, compared)
    grouped = tables.panels(view, colours)
    unusable = headline.unusable_answers(view.completions)
    main = main_panel(grouped, compared)
    measured = [panel for group, found in grouped.items() if group != BENCHMARKS for panel in found]
    context = {
        "run": view,
        "summary": summary,
        "colours": colours,
        "opening": headline.opening_sentence(compared, unusable),
        "leading": headline.evidence_sentence(compared),
        "comparisons": tables.comparisons(compared) if compared else None,
        "main": main,
        "others": rest,
        "caution": headline.multiplicity_note(compared),
        "unknowns": headline.limitations(summary, compared, unusable),
        "over": headline.resampling_unit(summary),
        "differences": tables.differences(compared) if compared else None,
        "slices": slice_section(view, pairs),
        "plots": family_plots(grouped, main),
        "group_notes": group_notes(grouped),
        "scores": tables.scores(measured, names) if measured else None,
        "benchmarks": grouped.get(BENCHMARKS, []),
        "standing": tables.benchmark_section(view),
        "benchmark_table": tables.scores(grouped.get(BENCHMARKS, []), names, "Every benchmark figure"),
        "votes": votes_section(view, colours),
        "examples": examples.load_examples(view, pairs[0]) if pairs else None,
        "stages": tables.stages(summary.stages) if summary.stages else None,
        "curves": {stage: charts.drawings(rows) for stage, rows in view.curves.items()},
        "answers": tables.answers(view.completions) if view.completions else None,
        "data": provenance.data_table(view),
        "findings": provenance.findings_table(view.findings),
        "provenance": provenance.provenance_tables(view),
        "command": provenance.command(view) if view.manifest or view.recipe else "",
        "changes": None,
        "report_page": PAGES[0],
        "examples_page": PAGES[-1],
    }
    return context | {"subtitle": subtitle(view), "sections": sections(context)}


def subtitle(view: RunView) -> str:
    """What was done, in one line."""
    summary, recipe = view.summary, view.recipe
    parts = [formatting.counted(len(summary.contestants), "contestant")]
    count = max((len(found) for found in view.completions.values()), default=0)
    if count:
        parts.append(f"on {formatting.counted(count, 'held-out example')}")
    if recipe and summary.stages:
        stage_names = [s.name if s.name == s.method else f"{s.name} ({s.method})" for s in summary.stages]
        trained = ", then ".join(stage_names)
        parts.append(f"trained {trained} on {recipe.base}")
    parts += [worked_examples(name, found) for name, found in summary.notes.get("shots", {}).items()]
    return f"{'; '.join([' '.join(parts[:2]), *parts[2:]])}. Intervals are 95%."


def main_panel(
    grouped: dict[str, list[tables.Panel]], compared: Sequence[headline.Comparison]
) -> tables.Panel | None:
    """The panel of the measure that decides the headline."""
    claim = compared[0].primary if compared else None
    metric = claim.difference.metric if claim else None
    return next((panel for own in grouped.values() for panel in own if panel.metric == metric), None)


def family_plots(grouped: dict[str, list[tables.Panel]], main: tables.Panel | None) -> list[tables.Panel]:
    """One panel for each kind of measure that ranks, without that of `main`, the headline's."""
    kinds = [own for group, own in grouped.items() if group != BENCHMARKS and main not in own]
    return [next((panel for panel in own if panel.metric_info.better), own[0]) for own in kinds]


def worked_examples(name: str, found: dict[str, Any]) -> str:
    """`base-fewshot is shown 5 rows of tickets (of 1, 3, 5 and 8 the best by ROUGE-L on 40 others)`."""
    text = f"{name} is shown {formatting.counted(found['shots'], 'row')} of {found['data']}"
    if not found["metric"]:
        return text
    tried = formatting.listed([str(count) for count in found["scores"]])
    return f"{text} (of {tried} the best by {metric_info(found['metric']).title} on {found['n']} others)"


def group_notes(grouped: dict[str, list[tables.Panel]]) -> list[tuple[str, str]]:
    """Titles of the metrics of a group -> how to read them."""
    return [
        (formatting.listed([panel.metric_info.title for panel in grouped[group]]), f"{group}. {note}".strip())
        for group, note in GROUPS.items()
        if group in grouped
    ]


def sections(context: dict[str, Any]) -> list[tuple[str, str]]:
    """Anchor and title of the non-empty sections."""
    there = {
        "answer": ("Answer", True),
        "scores": ("Scores", context["scores"]),
        "differences": ("Differences", context["differences"]),
        "slices": ("Slices", context["slices"]),
        "benchmarks": ("Benchmarks", context["benchmarks"]),
        "votes": ("Judge and people", context["votes"]["boards"] or context["votes"]["judges"]),
        "examples": ("Examples", context["examples"]),
        "training": ("Training", context["stages"]),
        "data": ("Data and checks", context["answers"] or context["data"] or context["findings"]),
        "provenance": ("Provenance", context["provenance"] or context["command"]),
    }
    return [(anchor, title) for anchor, (title, shown) in there.items() if shown]


def other_comparisons(view: RunView, compared: list[headline.Comparison]) -> list[headline.Comparison]:
    """The pairs that were compared and are not among the report's own questions."""
    shown = {(c.pair.contestant, c.pair.against) for c in compared}
    pairs = dict.fromkeys((found.contestant, found.against) for found in view.summary.differences)
    rest = [headline.ComparisonPair(*pair, headline.OTHER) for pair in pairs if pair not in shown]
    return [headline.compare(view.summary, pair, view.less_is_better, decisions(view)) for pair in rest]


def decisions(view: RunView) -> dict[str, Decisions]:
    """Voters -> what their votes decide; a judge whose verdicts are noise decides nothing."""
    judge = None if judges_are_noise(view) else view.judge_fit
    fits = {"people": view.people_fit, "the judge": judge}
    return {voters: fit.decisions for voters, fit in fits.items() if fit}


def judges_are_noise(view: RunView) -> bool:
    """Whether the verdicts of every judge are noise."""
    found = votes.judges(view.summary.notes)
    return bool(found) and all(each.is_noise for each in found)


def votes_section(view: RunView, colours: dict[str, int]) -> dict[str, Any]:
    """Judge and people: standings, charts, matrices, and how far to trust them."""
    names = view.summary.contestants
    found = votes.judges(view.summary.notes)
    jury = votes.jury_cells(view.summary.notes)
    judge = "The jury's votes" if jury else "The judge model's votes"
    noise = judges_are_noise(view)
    weak = votes.weak_judges_note(found)
    sides = [
        ("People", view.people_fit, view.summary.ratings.people, "people", view.people, ""),
        (judge, view.judge_fit, view.summary.ratings.judge, "judge", view.judge_votes, weak),
    ]
    firm = [
        (title, first_place(cast))
        for title, _, _, side, cast, _ in sides
        if cast and not (noise and side == "judge")
    ]
    boards = [
        {
            "title": title,
            "chart": "" if noise and side == "judge" else rating_chart(title, rows, colours),
            "table": tables.ratings(title, () if noise and side == "judge" else rows, _settings_of(fit)),
            "wins": tables.wins(title, cast, names),
            "rates": votes.win_rate_table(cast, view),
            "standing": NOISE_SENTENCE
            if noise and side == "judge"
            else headline.ratings_sentence(rows, title),
            "weak": "" if noise and side == "judge" else weak,
        }
        for title, fit, stored, side, cast, weak in sides
        if (rows := fit.ratings if fit else stored)
    ]
    both = None if noise else view.both_fit
    fits = {"People": view.people_fit, "Judge": view.judge_fit, "People + judge": both}
    beside = {side: fit.ratings for side, fit in fits.items() if fit}
    return {
        "beside": tables.ratings_beside(beside) if both else None,
        "both": f"People + judge: {both.settings}" if both else "",
        "both_rates": tables.win_rates_together(both.win_rates) if both else None,
        "firm": [f"{title}: {found.sentence}" for title, found in firm if found],
        "boards": boards,
        "origins": [each.origin(view.recipe) for each in found],
        "judges": [(judge, tables.facts(f"Judge {judge.name}", votes.share_cells(judge))) for judge in found],
        "jury": tables.facts("The jury: how often its judges cast the same vote", jury) if jury else None,
        "agreement": votes.agreement(view.judge_votes, view.people),
    }


NOISE_SENTENCE = (
    "The judge's verdicts are noise: they do not differ from even by more than rounding moves them, or from "
    "tosses of a coin. No ratings are made of them."
)


def _settings_of(fit: BradleyTerry | None) -> str:
    return fit.settings if fit else ""


def rating_chart(title: str, rows: tuple[Rating, ...], colours: dict[str, int]) -> Markup:
    dots = [
        charts.Dot(row.contestant, row.value, row.low, row.high, colours.get(row.contestant, 0))
        for row in rows
    ]
    return charts.dots(f"{title}: ratings with 95% intervals", dots, 0)


def render(name: str, context: dict[str, Any]) -> str:
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
        "duration": formatting.duration,
        "lower_first": lambda text: text[:1].lower() + text[1:],
    }
    return printable(environment.get_template(name).render(**context))
