"""Compare two runs on the same examples, and list the settings that differ.

The contestants that both have by name are compared, paired, on the examples whose prompt and reference are
the same in both and on which neither was trained; over groups, where a recipe of the two names a column.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from toolkit import io
from toolkit.data import load_rows
from toolkit.data.formats import prompt_of
from toolkit.errors import DataError
from toolkit.metrics import Measurement, difference, score
from toolkit.metrics.compare import Comparison
from toolkit.metrics.intervals import clustered, examples_needed, restricted
from toolkit.report.headline import ComparisonPair
from toolkit.report.load import RunView, load_run
from toolkit.report.page import PAGES, build_context, render
from toolkit.report.tables import Table, words
from toolkit.statistics import holm
from toolkit.types import Completion, Message, Ratings, Summary

ROLE = "the same contestant of the other run"

Measurements = dict[str, dict[str, Measurement]]
"""Contestant -> metric -> measurement."""


def write_comparison(run: Path, other: Path) -> Path:
    """Write `against-<other>.html`, `.md` and examples into `run`; returns the path of the HTML page.

    It shows the contestants of `run` minus those of `other`; errors as of `compare_runs`.
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
    return build_context(view, pairs) | {"changes": settings_diff(run, other)}


def _merged(run: RunView, other: RunView) -> tuple[RunView, list[ComparisonPair]]:
    """Both runs on their shared examples, contestants labelled by their run, and the pairs to compare."""
    names = [name for name in reversed(run.summary.contestants) if name in other.summary.contestants]
    place = f"{run.folder} and {other.folder}"
    if not names:
        raise DataError(f"{place}: no contestant is in both")
    mine, theirs = (
        {
            answer.example_id: (answer.messages, answer.reference)
            for answers in view.completions.values()
            for answer in answers
        }
        for view in (run, other)
    )
    same = {example for example, prompt in mine.items() if theirs.get(example) == prompt}
    if not same:
        raise DataError(f"{place}: no example is in both with the same prompt")
    fair = same - trained_examples(run, other)
    if not fair:
        raise DataError(f"{place}: one was trained on every prompt that both answered")
    new, old = labels(run, other)
    measured: Measurements = {}
    answers: dict[str, list[Completion]] = {}
    stages = []
    for view, label in ((run, new), (other, old)):
        for name in names:
            full = f"{name} ({label})"
            answers[full] = [a for a in view.completions.get(name, []) if a.example_id in fair]
            found = [restricted(m, fair) for m in view.measurements.get(name, [])]
            measured[full] = {m.metric: m.model_copy(update={"contestant": full}) for m in found if m.rows}
        stages += [
            stage.model_copy(update={"name": f"{stage.name} ({label})"}) for stage in view.summary.stages
        ]
    pairs = [ComparisonPair(f"{name} ({new})", f"{name} ({old})", ROLE) for name in names]
    title = f"{new} against {old}"
    if left_out := len(same) - len(fair):
        title += f", without {left_out} examples that one of them was trained on"
    summary = _summary(run if run.groups else other, measured, pairs)
    return RunView(
        folder=run.folder,
        summary=summary.model_copy(update={"run": title, "stages": tuple(stages)}),
        completions={name: found for name, found in answers.items() if found},
        measurements={name: list(found.values()) for name, found in measured.items()},
    ), pairs


def _summary(grouped: RunView, measured: Measurements, pairs: list[ComparisonPair]) -> Summary:
    """Scores of both runs and their differences, over the groups of `grouped` where it has any."""
    if grouped.groups:
        measured = {
            name: {metric: clustered(each, grouped.groups) for metric, each in own.items()}
            for name, own in measured.items()
        }
    apart = [
        difference(mine, before)
        for pair in pairs
        for metric, mine in measured[pair.contestant].items()
        if (before := measured[pair.against].get(metric)) and before.kind == mine.kind
    ]
    return Summary(
        run="",
        contestants=tuple(name for pair in pairs for name in (pair.against, pair.contestant)),
        scores=tuple(score(each) for own in measured.values() for each in own.values()),
        differences=tuple(row for row in apart if row),
        ratings=Ratings(),
        stages=(),
        skipped=(),
        seconds=0.0,
        notes={key: value for key, value in grouped.summary.notes.items() if key == "groups"},
    )


def trained_examples(run: RunView, other: RunView) -> set[str]:
    """Ids of the examples whose last question a stage of either run was trained on, by files still there."""
    trained: set[str] = set()
    for recipe in (view.recipe for view in (run, other) if view.recipe):
        names = dict.fromkeys(stage.data for stage in recipe.stages if stage.data in recipe.data)
        for source in (recipe.data[name] for name in names):
            if Path(source.source).is_file():
                with suppress(DataError):  # another file by now
                    rows = load_rows(source, seed=recipe.seed).rows
                    trained |= {_last_question(prompt_of(row)) for row in rows}
    answers = [answer for answers in run.completions.values() for answer in answers]
    return {each.example_id for each in answers if _last_question(each.messages) in trained - {""}}


def _last_question(messages: Sequence[Message]) -> str:
    turns = [message.content for message in messages if message.role == "user"]
    return " ".join(turns[-1].casefold().split()) if turns else ""


def labels(run: RunView, other: RunView) -> tuple[str, str]:
    """Two different names for the two runs."""
    folders = run.folder.resolve().name, other.folder.resolve().name
    for one, two in ((run.summary.run, other.summary.run), folders):
        if one != two:
            return one, two
    return "first", "second"


def settings_diff(run: RunView, other: RunView) -> Table | None:
    """Recipe keys, versions, hardware and data that are not the same in both runs."""
    mine, theirs = _settings(run), _settings(other)
    keys = [key for key in dict.fromkeys([*mine, *theirs]) if mine.get(key) != theirs.get(key)]
    values = {key: [own.get(key) for own in (mine, theirs)] for key in keys}
    rows = [(key, *(words("not set" if v is None else v) for v in both)) for key, both in values.items()]
    return Table.of("What is not the same in both runs", ("key", *labels(run, other)), rows) if rows else None


def _settings(run: RunView) -> dict[str, Any]:
    recipe = run.recipe.model_dump(mode="json", exclude={"name"}) if run.recipe else {}
    made = {part: run.manifest.get(part, {}) for part in ("versions", "hardware", "data")}
    return flatten(recipe) | {f"run {key}": value for key, value in flatten(made).items()}


def flatten(value: Any, key: str = "") -> dict[str, Any]:
    """Nested dicts and lists -> dotted key -> value."""
    if not isinstance(value, dict | list):
        return {key: value}
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    found: dict[str, Any] = {}
    for name, part in parts:
        found |= flatten(part, f"{key}.{name}" if key else str(name))
    return found
