"""Compare two runs on the same examples, and list the settings that differ.

The contestants that both have by name are compared, paired, on the examples whose prompt and reference are
the same in both and on which neither was trained; over groups, where a recipe of the two names a column.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from toolkit import io
from toolkit.data import load_rows
from toolkit.data.formats import prompt_of
from toolkit.errors import DataError
from toolkit.metrics import Measurement, difference, score
from toolkit.metrics.compare import Comparison
from toolkit.metrics.intervals import clustered, examples_needed
from toolkit.report.headline import ComparisonPair
from toolkit.report.load import RunView, load_run
from toolkit.report.page import PAGES, build_context, render
from toolkit.report.tables import Cell, Table
from toolkit.statistics import holm
from toolkit.types import Completion, Message, Ratings, Summary

ROLE = "the same contestant of the other run"

Measurements = dict[str, dict[str, Measurement]]
"""Contestant -> metric -> measurement."""

LabelledRun = tuple[RunView, str]
"""A run and its label."""


def write_comparison(run: Path, other: Path) -> Path:
    """Write `against-<other>.html`, `.md` and examples into `run`: its contestants minus those of `other`.

    Returns:
        The path of the HTML page.

    Raises:
        DataError: a folder holds no finished run, or the two have no contestant or no example in common.
    """
    context = build_comparison(load_run(run), load_run(other))
    page = run / f"against-{other.resolve().name}.html"
    examples = page.with_name(f"{page.stem}-examples.html")
    context |= {"report_page": page.name, "examples_page": examples.name}
    for path, name in zip((page, page.with_suffix(".md"), examples), PAGES, strict=True):
        io.write_text(path, render(f"{name}.jinja", context))
    return page


def compare_runs(run: Path, other: Path) -> Comparison:
    """Scores of two runs on their shared examples, and `run` minus `other` for each shared contestant.

    Raises:
        DataError: a folder holds no finished run, or the two have no contestant or no example in common.
    """
    view, _ = _merged(load_run(run), load_run(other))
    differences = list(view.summary.differences)
    return Comparison(
        scores=list(view.summary.scores),
        differences=differences,
        corrected=holm([each.p_value for each in differences]),
        examples_needed=[examples_needed(each) for each in differences],
    )


def build_comparison(run: RunView, other: RunView) -> dict[str, Any]:
    """Template context of a comparison of two runs; raises as `compare_runs` does."""
    view, pairs = _merged(run, other)
    return build_context(view, pairs) | {"changes": settings_diff(run, other, labels(run, other))}


def _merged(run: RunView, other: RunView) -> tuple[RunView, list[ComparisonPair]]:
    names = [name for name in reversed(run.summary.contestants) if name in other.summary.contestants]
    if not names:
        raise DataError(f"{run.folder} and {other.folder}: no contestant is in both")
    same = same_examples(run, other)
    if not same:
        raise DataError(f"{run.folder} and {other.folder}: no example is in both with the same prompt")
    fair = same - trained_examples(run, other)
    if not fair:
        raise DataError(
            f"{run.folder} and {other.folder}: one was trained on every prompt that both answered"
        )
    new, old = labels(run, other)
    pairs = [ComparisonPair(f"{name} ({new})", f"{name} ({old})", ROLE) for name in names]
    view = merge_views((run, new), (other, old), names, fair)
    if len(fair) < len(same):
        title = (
            f"{view.summary.run}, without {len(same) - len(fair)} examples that one of them was trained on"
        )
        view = replace(view, summary=view.summary.model_copy(update={"run": title}))
    return view, pairs


def same_examples(run: RunView, other: RunView) -> set[str]:
    """Ids of the examples whose prompt and reference are the same in both runs."""
    mine, theirs = _prompts(run), _prompts(other)
    return {example for example, prompt in mine.items() if theirs.get(example) == prompt}


def trained_examples(run: RunView, other: RunView) -> set[str]:
    """Ids of the examples whose last question a stage of either run was trained on, by files still there."""
    trained: set[str] = set()
    for recipe in (view.recipe for view in (run, other) if view.recipe):
        sources = {
            stage.data: recipe.data[stage.data] for stage in recipe.stages if stage.data in recipe.data
        }
        for source in sources.values():
            if Path(source.source).is_file():
                with suppress(DataError):  # another file by now
                    rows = load_rows(source, seed=recipe.seed).rows
                    trained |= {_last_question(prompt_of(row)) for row in rows}
    answers = [answer for answers in run.completions.values() for answer in answers]
    return {each.example_id for each in answers if _last_question(each.messages) in trained - {""}}


def _last_question(messages: Sequence[Message]) -> str:
    asked = [message.content for message in messages if message.role == "user"]
    return " ".join(asked[-1].casefold().split()) if asked else ""


def _prompts(run: RunView) -> dict[str, tuple[object, str | None]]:
    return {
        answer.example_id: (answer.messages, answer.reference)
        for answers in run.completions.values()
        for answer in answers
    }


def labels(run: RunView, other: RunView) -> tuple[str, str]:
    """Two different names for the two runs."""
    for one, two in (
        (run.summary.run, other.summary.run),
        (run.folder.resolve().name, other.folder.resolve().name),
    ):
        if one != two:
            return one, two
    return "first", "second"


def merge_views(run: LabelledRun, other: LabelledRun, names: list[str], same: set[str]) -> RunView:
    """Merge both runs on their shared examples; contestants carry the run's label."""
    measured: Measurements = {}
    answers: dict[str, list[Completion]] = {}
    for view, label in (run, other):
        for name in names:
            full = f"{name} ({label})"
            answers[full] = [a for a in view.completions.get(name, []) if a.example_id in same]
            found = [_restrict(m, same, full) for m in view.measurements.get(name, [])]
            measured[full] = {m.metric: m for m in found if m.rows}
    return RunView(
        folder=run[0].folder,
        summary=_summary(run, other, names, measured),
        completions={name: found for name, found in answers.items() if found},
        measurements={name: list(found.values()) for name, found in measured.items()},
    )


def _summary(run: LabelledRun, other: LabelledRun, names: list[str], measured: Measurements) -> Summary:
    """Scores of both and their differences, over groups if one of the runs is."""
    grouped = run[0] if run[0].groups else other[0]

    def over(measurement: Measurement) -> Measurement:
        return clustered(measurement, grouped.groups) if grouped.groups else measurement

    pairs = _pairs(measured, names, run[1], other[1])
    apart = [difference(over(mine), over(theirs)) for mine, theirs in pairs]
    return Summary(
        run=f"{run[1]} against {other[1]}",
        contestants=tuple(f"{name} ({label})" for name in names for _, label in (other, run)),
        scores=tuple(score(over(m)) for found in measured.values() for m in found.values()),
        differences=tuple(row for row in apart if row),
        ratings=Ratings(),
        stages=tuple(
            stage.model_copy(update={"name": f"{stage.name} ({label})"})
            for view, label in (run, other)
            for stage in view.summary.stages
        ),
        skipped=(),
        seconds=0.0,
        notes={key: value for key, value in grouped.summary.notes.items() if key == "groups"},
    )


def _restrict(measurement: Measurement, examples: set[str], contestant: str) -> Measurement:
    """The part of a measurement that is on these examples, under another contestant's name."""
    shared = [i for i, example in enumerate(measurement.example_ids) if example in examples]
    return measurement.model_copy(
        update={
            "contestant": contestant,
            "example_ids": tuple(measurement.example_ids[i] for i in shared),
            "rows": tuple(measurement.rows[i] for i in shared),
        }
    )


def _pairs(
    measured: Measurements, names: list[str], new: str, old: str
) -> Iterator[tuple[Measurement, Measurement]]:
    """Every contestant's measurements in the new run, each with that in the old one."""
    for name in names:
        before = measured[f"{name} ({old})"]
        for metric, mine in measured[f"{name} ({new})"].items():
            theirs = before.get(metric)
            if theirs is not None and theirs.kind == mine.kind:
                yield mine, theirs


def settings_diff(run: RunView, other: RunView, names: tuple[str, str]) -> Table | None:
    """Recipe keys, versions, hardware and data that are not the same in both runs."""
    mine, theirs = _settings(run), _settings(other)
    keys = [key for key in dict.fromkeys([*mine, *theirs]) if mine.get(key) != theirs.get(key)]
    if not keys:
        return None
    rows = tuple((Cell(key), _value_cell(mine.get(key)), _value_cell(theirs.get(key))) for key in keys)
    return Table("What is not the same in both runs", ("key", *names), rows)


def _settings(run: RunView) -> dict[str, Any]:
    recipe = run.recipe.model_dump(mode="json", exclude={"name"}) if run.recipe else {}
    made = {part: run.manifest.get(part, {}) for part in ("versions", "hardware", "data")}
    return _flat(recipe) | {f"run {key}": value for key, value in _flat(made).items()}


def _flat(value: Any, key: str = "") -> dict[str, Any]:
    """Nested dicts and lists -> dotted key -> value."""
    parts = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    )
    if parts is None:
        return {key: value}
    return {
        k: v for name, part in parts for k, v in _flat(part, f"{key}.{name}" if key else str(name)).items()
    }


def _value_cell(value: Any) -> Cell:
    return Cell("not set" if value is None else str(value), tone="words")
