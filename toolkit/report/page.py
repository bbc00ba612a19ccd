"""Writing the report of a run: one self-contained HTML page, and the same in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from toolkit import io
from toolkit.metric_info import BENCHMARKS, GROUPS, metric_info
from toolkit.printable import printable
from toolkit.report import charts, examples, formatting, headline, provenance, tables, votes
from toolkit.report.formatting import counted, listed
from toolkit.report.load import RunView, load_run

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
    summary, names = view.summary, view.summary.contestants
    colours = {name: index for index, name in enumerate(names)}
    pairs = headline.headline_pairs(names, view.recipe) if pairs is None else pairs
    decided, less = votes.decisions(view), view.less_is_better
    compared = [headline.compare(summary, pair, less, decided) for pair in pairs]
    compared = [comparison for comparison in compared if comparison.claims]
    shown = {(each.pair.contestant, each.pair.against) for each in compared}
    others = dict.fromkeys((each.contestant, each.against) for each in summary.differences)
    rest = [headline.ComparisonPair(*pair, headline.OTHER) for pair in others if pair not in shown]
    grouped = tables.panels(view, colours)
    benchmarks = grouped.pop(BENCHMARKS, [])
    measured = [panel for own in grouped.values() for panel in own]
    claim = compared[0].primary if compared else None
    deciding = claim.difference.metric if claim else None
    unusable = headline.unusable_answers(view.completions)
    context = {
        "run": view,
        "summary": summary,
        "subtitle": subtitle(view),
        "colours": colours,
        "opening": headline.opening_sentence(compared, unusable),
        "leading": headline.evidence_sentence(compared),
        "comparisons": tables.comparisons(compared) if compared else None,
        "main": next((panel for panel in [*measured, *benchmarks] if panel.metric == deciding), None),
        "others": [headline.compare(summary, pair, less, decided) for pair in rest],
        "caution": headline.multiplicity_note(compared),
        "unknowns": headline.limitations(summary, compared, unusable),
        "over": headline.resampling_unit(summary),
        "differences": tables.differences(compared) if compared else None,
        "slices": tables.slice_section(view, pairs),
        "plots": family_plots(grouped, deciding),
        "group_notes": [
            (listed([panel.metric_info.title for panel in own]), f"{group}. {GROUPS[group]}".strip())
            for group, own in grouped.items()
        ],
        "scores": tables.scores(measured, names) if measured else None,
        "benchmarks": benchmarks,
        "standing": tables.benchmark_section(view),
        "benchmark_table": tables.scores(benchmarks, names, "Every benchmark figure"),
        "votes": votes.votes_section(view, colours),
        "examples": examples.load_examples(view, pairs[0]) if pairs else None,
        "stages": tables.stages(summary.stages) if summary.stages else None,
        "curves": {stage: charts.drawings(rows) for stage, rows in view.curves.items()},
        "answers": tables.answers(view.completions) if view.completions else None,
        "data": provenance.data_sets(view),
        "findings": provenance.findings(view.findings),
        "provenance": provenance.provenance(view),
        "command": "",
        "changes": None,
        "report_page": PAGES[0],
        "examples_page": PAGES[-1],
    }
    if view.manifest or view.recipe:
        context["command"] = str(view.manifest.get("command") or "adapter-arena run recipe.yaml")
    return context | {"sections": sections(context)}


def subtitle(view: RunView) -> str:
    """What was done, in one line."""
    summary, recipe = view.summary, view.recipe
    first = counted(len(summary.contestants), "contestant")
    count = max((len(found) for found in view.completions.values()), default=0)
    parts = [f"{first} on {counted(count, 'held-out example')}" if count else first]
    if recipe and summary.stages:
        trained = [s.name if s.name == s.method else f"{s.name} ({s.method})" for s in summary.stages]
        text = f"trained {', then '.join(trained)} on {recipe.base}"
        parts = [*parts, text] if count else [f"{first} {text}"]
    parts += [worked_examples(name, found) for name, found in summary.notes.get("shots", {}).items()]
    return f"{'; '.join(parts)}. Intervals are 95%."


def worked_examples(name: str, found: dict[str, Any]) -> str:
    """`base-fewshot is shown 5 rows of tickets (of 1, 3, 5 and 8 the best by ROUGE-L on 40 others)`."""
    text = f"{name} is shown {counted(found['shots'], 'row')} of {found['data']}"
    if not found["metric"]:
        return text
    tried = listed([str(count) for count in found["scores"]])
    return f"{text} (of {tried} the best by {metric_info(found['metric']).title} on {found['n']} others)"


def family_plots(grouped: dict[str, list[tables.Panel]], deciding: str | None) -> list[tables.Panel]:
    """One panel for each kind of measure that ranks, without the kind that has the deciding metric."""
    kinds = [own for own in grouped.values() if deciding not in [panel.metric for panel in own]]
    return [next((panel for panel in own if panel.metric_info.better), own[0]) for own in kinds]


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
