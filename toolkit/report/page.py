"""Writing the report of a run: one self-contained HTML page, and the same in Markdown."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from toolkit import io
from toolkit.metric_info import BENCHMARKS, GROUPS, metric_info
from toolkit.printable import printable
from toolkit.report import charts, examples, headline, tables, votes
from toolkit.report.formatting import ABSENT, counted, duration, listed, size
from toolkit.report.load import RunView, load_run
from toolkit.report.tables import Cell, Table, facts, words
from toolkit.types import Finding

PAGES = ("report.html", "report.md", "examples.html")
"""What a report is written to; `examples.html` holds every example, and the script that filters them."""


def write_report(folder: Path) -> Path:
    """Write `report.html`, `report.md` and `examples.html` from the files of a run folder; returns the first.

    Raises:
        DataError: the folder holds no finished run, or one of its files does not parse.
    """
    context = build_context(load_run(folder))
    for name in PAGES:
        io.write_text(folder / name, render(f"{name}.jinja", context))
    return folder / "report.html"


def compare_pairs(
    view: RunView, pairs: Sequence[headline.ComparisonPair]
) -> tuple[list[headline.Comparison], list[headline.Comparison]]:
    """The comparisons of `pairs` with any claim, and those of all other pairs whose difference is known."""
    decided, less = votes.decisions(view), view.less_is_better
    compared = [headline.compare(view.summary, pair, less, decided) for pair in pairs]
    compared = [comparison for comparison in compared if comparison.claims]
    shown = {(each.pair.contestant, each.pair.against) for each in compared}
    others = dict.fromkeys((each.contestant, each.against) for each in view.summary.differences)
    rest = [headline.ComparisonPair(*pair, headline.OTHER) for pair in others if pair not in shown]
    return compared, [headline.compare(view.summary, pair, less, decided) for pair in rest]


def build_context(view: RunView, pairs: Sequence[headline.ComparisonPair] | None = None) -> dict[str, Any]:
    """Everything the templates show, by section; `pairs` in place of a run's own questions."""
    summary, names = view.summary, view.summary.contestants
    colours = {name: index for index, name in enumerate(names)}
    pairs = headline.headline_pairs(names, view.recipe) if pairs is None else pairs
    compared, others = compare_pairs(view, pairs)
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
        "others": others,
        "caution": headline.multiplicity_note(compared),
        "unknowns": headline.limitations(summary, compared, unusable, view.same_test_set),
        "over": headline.interval_unit(summary),
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
        "by_seed": tables.by_seed(summary, colours),
        "curves": {stage: charts.drawings(rows) for stage, rows in view.curves.items()},
        "answers": tables.answers(view.completions) if view.completions else None,
        "data": data_sets(view),
        "findings": findings_table(view.findings),
        "provenance": provenance_tables(view),
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


def data_sets(view: RunView) -> Table | None:
    """Data sets with their use and the fingerprint of their rows."""
    recipe, prints = view.recipe, view.manifest.get("data", {})
    if recipe is None or not recipe.data:
        return None
    uses: dict[str, list[str]] = {}
    for stage in recipe.stages:
        uses.setdefault(stage.data, []).append(f"trains {stage.name}")
        if stage.heldout:
            uses.setdefault(stage.heldout, []).append(f"held out from {stage.name}")
    if recipe.scoring:
        uses.setdefault(recipe.scoring.examples, []).append("the examples scored")
        prints = {recipe.scoring.examples: prints.get("examples"), **prints}
    rows = [
        (
            name,
            words(source.source),
            words(", ".join(uses.get(name, ["not used"]))),
            Cell(prints.get(name) or ABSENT, tone="code"),
        )
        for name, source in recipe.data.items()
    ]
    return Table.of("Data sets", ("name", "source", "use", "fingerprint of its rows"), rows)


def findings_table(found: list[Finding]) -> Table | None:
    """Findings of `adapter-arena check`."""
    rows = [(Cell(f.severity, f.code), words(f.place), words(f.message), words(f.fix)) for f in found]
    header = ("severity", "place", "what", "what to do")
    return Table.of("Findings of the check", header, rows) if rows else None


def provenance_tables(view: RunView) -> list[Table]:
    """Seed, hardware, versions, lineage of adapters, and the steps with their times and fingerprints."""
    manifest, hardware = view.manifest, view.manifest.get("hardware", {})
    named = {key.replace("_bytes", ""): value for key, value in hardware.items() if value is not None}
    if isinstance(hardware.get("memory_bytes"), int | float):
        named["memory"] = size(hardware["memory_bytes"])
    lineage, steps = [], []
    for stage, found in view.lineages.items():
        if found:
            method = "" if found.get("method") == stage else str(found.get("method", ""))
            parent = found.get("parent") or found.get("base") or ABSENT
            mark = found.get("parent_fingerprint") or found.get("base_fingerprint") or ABSENT
            lineage.append((Cell(stage, method), words(parent), Cell(str(mark), tone="code")))
    for name, step in manifest.get("steps", {}).items():
        seconds = duration(float(step.get("seconds", 0.0)))
        steps.append((name, seconds, Cell(str(step.get("inputs", "")), tone="code")))
    tables = [
        facts("Settings", _settings(view)),
        facts("Hardware", named),
        facts("Versions", manifest.get("versions", {})),
        Table.of("What each stage was trained on", ("stage", "on", "its fingerprint"), lineage),
        Table.of("Steps", ("step", "time", "fingerprint of its inputs"), steps),
    ]
    return [table for table in tables if table.rows]


def _settings(view: RunView) -> dict[str, Any]:
    recipe, manifest = view.recipe, view.manifest
    found: dict[str, Any] = {"seed": manifest.get("seed", recipe.seed if recipe else None)}
    if recipe:
        found |= {
            "base": recipe.base or None,
            "dtype": recipe.model.dtype,
            "quantisation": recipe.model.quantization,
        }
    if recipe and recipe.scoring:
        used = recipe.scoring.generation
        sampled = f"temperature {used.temperature:g}, top p {used.top_p:g}" if used.temperature else "greedy"
        found["answers"] = f"{sampled}, at most {used.max_new_tokens} new tokens"
    measured = (m for own in view.measurements.values() for m in own)
    found |= {f"{m.metric} signature": m.signature for m in measured if m.signature}
    return {key: value for key, value in found.items() if value is not None}


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
        "duration": duration,
        "lower_first": lambda text: text[:1].lower() + text[1:],
    }
    return printable(environment.get_template(name).render(**context))
