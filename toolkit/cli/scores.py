"""Commands that score and compare contestants: metrics, score, leaderboard."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from toolkit.cli.options import PATH, add_options
from toolkit.cli.output import print_json, print_table, print_text, show_progress
from toolkit.metric_info import FUNCTION, Tokenizer, text_metrics

if TYPE_CHECKING:
    from toolkit.benchmarks.results import Cell, Row
    from toolkit.metrics import Measurement
    from toolkit.metrics.compare import Comparison
    from toolkit.metrics.registry import Encoding
    from toolkit.types import Difference, Score

DECIDED = 0.05  # corrected p-value below which nothing more is needed


class MetricName(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions only
    """A text metric's name, or a function of the user's own, `FILE.py:FUNCTION`."""

    name = "metric"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in text_metrics() and not FUNCTION.search(value):
            self.fail(f"{value!r} is none of {', '.join(text_metrics())}, FILE.py:FUNCTION", param, ctx)
        return value


metric_option = click.option(
    "--metric",
    "metrics",
    multiple=True,
    type=MetricName(),
    help=f"{', '.join(text_metrics())}, or FILE.py:FUNCTION of your own; may be repeated. "
    "Left out: the named ones.",
)
references_option = click.option(
    "--references",
    type=PATH,
    multiple=True,
    help="File of reference answers, besides those in the completions; may be repeated: several each.",
)
against_option = click.option(
    "--against",
    metavar="NAME",
    help="Compare all others with this contestant; left out, the first (of a run: the first of its recipe).",
)
encoding_options = add_options(
    click.option("--encoder", default="all-minilm-l6-v2", help="Of BERTScore: folder or hub id."),
    click.option("--layer", type=click.IntRange(1), help="Encoder layer; default: bert-score's choice."),
    click.option("--idf", is_flag=True, help="BERTScore weights tokens by their rarity."),
    click.option("--rescale", is_flag=True, help="BERTScore above bert-score's published baseline."),
    click.option("--baseline", type=PATH, help="Like --rescale, from a bert-score baseline file."),
    click.option(
        "--tokenizer",
        type=click.Choice(get_args(Tokenizer)),
        help="Of ROUGE and BLEU; auto: by the script of the references; left out, their own, for English.",
    ),
)
"""Options of commands that may make BERTScores: the fields of `Encoding`, whose `rescale` may be a file."""


@click.command("metrics")
@click.argument("files", nargs=-1, required=True, type=PATH)
@metric_option
@references_option
@encoding_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def metrics_command(
    files: tuple[Path, ...],
    metrics: tuple[str, ...],
    references: tuple[Path, ...],
    as_json: bool,
    **bertscore: Any,
) -> None:
    """Score the completions in FILES against their references, with no network.

    FILES are this package's completions, AlpacaEval outputs, MT-bench answers, lm-eval samples, or rows with
    a prompt and an answer.

    \b
    Example:
      adapter-arena metrics results/demo/completions/*.jsonl --metric rouge --metric bleu
    """
    show_progress()
    from toolkit.generate.importers import read_completions, read_references
    from toolkit.metrics import measure_texts, score
    from toolkit.metrics.compare import group_by_contestant

    encoding, known = _encoding(**bertscore), read_references(references)
    scores = []
    for file in files:
        for name, own in sorted(group_by_contestant(read_completions(file)).items()):
            found = measure_texts(own, metrics or _default_metrics(), encoding=encoding, references=known)
            _require_references(file, name, metrics, found)
            scores += [score(each) for each in found]
    if as_json:
        print_json({"scores": scores})
    else:
        print_scores(scores)


@click.command("score")
@click.argument("sources", nargs=-1, required=True, type=PATH)
@against_option
@metric_option
@references_option
@click.option(
    "--groups",
    type=PATH,
    help="File of `example_id` and `group` rows, where examples come in groups (one passage, one talk): "
    "intervals are then over groups; left out, the groups that run folders keep.",
)
@encoding_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def score_command(
    sources: tuple[Path, ...],
    against: str | None,
    metrics: tuple[str, ...],
    references: tuple[Path, ...],
    groups: Path | None,
    as_json: bool,
    **bertscore: Any,
) -> None:
    """Score the completions in SOURCES and compare the contestants, paired on the examples they share.

    SOURCES are run folders (their perplexities are taken over as they were measured, and so are the groups
    their examples come in), or files of completions as for `metrics`. Nothing is generated again.

    \b
    Example:
      adapter-arena score results/demo --against base
    """
    show_progress()
    from toolkit.errors import DataError
    from toolkit.metrics.compare import collect, compare, group_by_contestant, load_groups, read_groups

    members = read_groups(groups) if groups else load_groups(sources)
    if groups and not members:
        raise DataError(f"{groups}: no groups in it")
    found = collect(
        sources, metrics or _default_metrics(), references=references, encoding=_encoding(**bertscore)
    )
    for name, own in group_by_contestant(found).items():
        _require_references(sources[0], name, metrics, own)
    compared = compare(found, against=against, groups=members)
    if as_json:
        settle = {"examples_to_settle": compared.examples_needed}
        print_json({"scores": compared.scores} | _differences(compared) | settle)
        return
    print_scores(compared.scores)
    print_differences(compared)
    if members:
        print_text("\nintervals, p-values and n are over groups of examples")


def _default_metrics() -> tuple[str, ...]:
    """All; without BERTScore, and with a warning, where its packages are not installed."""
    if find_spec("bert_score"):
        return text_metrics()
    click.echo("warning: no BERTScore: it needs bert-score and torch; pip install adapter-arena", err=True)
    return tuple(name for name in text_metrics() if name != "bertscore")


def _encoding(rescale: bool, baseline: Path | None, **options: Any) -> Encoding:
    from toolkit.metrics.registry import Encoding

    return Encoding(rescale=baseline or rescale, **options)


def _require_references(
    source: Path, contestant: str, metrics: Sequence[str], found: Sequence[Measurement]
) -> None:
    """Refuse to go on where nothing but lengths could be measured, and more was requested."""
    from toolkit.errors import DataError

    forms = ("length", "distinct", "repetition")
    if set(metrics) != {"length"} and all(each.metric.startswith(forms) for each in found):
        raise DataError(
            f"{source}: no completion of {contestant} has a reference to be measured against; name a file of "
            "them with --references, or ask for `--metric length` alone"
        )


@click.command("leaderboard")
@click.argument("sources", nargs=-1, required=True, type=PATH)
@against_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def leaderboard_command(sources: tuple[Path, ...], against: str | None, as_json: bool) -> None:
    """Benchmark results of all contestants in one table, with averages and differences on the same questions.

    SOURCES are run folders, or lm-eval result files (one contestant's tasks may be in several). Of one run
    the primary measure is the first column, over all its training seeds; benchmarks are of the first. Notes
    say where a contestant gains on one benchmark and loses on most others, and (run folders) where it was
    trained on the questions.

    \b
    Example:
      adapter-arena leaderboard results/demo --against base
    """
    from toolkit.benchmarks.results import goodhart, leaderboard
    from toolkit.errors import DataError
    from toolkit.metrics.compare import compare, repeats
    from toolkit.run.checks.overlap import find_contamination

    primary, own = _read_primary(sources[0]) if len(sources) == 1 else ([], [])
    scores, by_question = _read_benchmarks(sources, needed=not primary)
    by_question = own + by_question
    board = leaderboard(scores, by_question, primary)
    if not board.tasks:
        raise DataError(f"{', '.join(map(str, sources))}: no benchmark figure could be read here")
    names = [row.contestant for row in board.rows]
    if against is not None and against not in names:
        raise DataError(f"no contestant is named {against}; there are {', '.join(names)}")
    compared = compare(by_question, against=against if by_question else None)
    notes = goodhart(compared.differences)
    notes += [note for source in sources if source.is_dir() for note in find_contamination(source)]
    seeds = {source.name: repeats(source)[0] for source in sources if source.is_dir() and scores}
    first_of = "{}: benchmarks are of the first of {} training seeds"
    notes += [first_of.format(run, count) for run, count in seeds.items() if count > 1]
    if as_json:
        whole = {"tasks": board.tasks, "rows": list(map(_plain, board.rows)), "notes": notes}
        print_json(whole | _differences(compared))
        return
    header = ["contestant", *board.tasks, "average", "above chance"]
    rows = [
        [row.contestant, *map(_cell, row.cells), _percent(row.average), _percent(row.above_chance)]
        for row in board.rows
    ]
    print_table(header, rows)
    print_text("~ not decided to be worse than the best; 95% intervals; averages: of percents that all have")
    print_differences(compared)
    for note in notes:
        print_text(f"\nnote: {note}")


def _read_primary(source: Path) -> tuple[list[Score], list[Measurement]]:
    """Scores of a run's primary measure and the values by example, over all training seeds."""
    from toolkit.report.headline import quoted_scores
    from toolkit.report.load import load_run

    if not (source / "summary.json").is_file():
        return [], []
    view = load_run(source)
    scores = quoted_scores(view.summary)
    metric = scores[0].metric if scores else ""
    return scores, [each for own in view.measurements.values() for each in own if each.metric == metric]


def _read_benchmarks(
    sources: tuple[Path, ...], *, needed: bool = True
) -> tuple[list[Score], list[Measurement]]:
    """Scores of all benchmark results in the sources, and the values by question where they are kept."""
    from toolkit.benchmarks.results import name_in, scores_of, values_of
    from toolkit.errors import DataError
    from toolkit.metrics.compare import sort_by_recipe
    from toolkit.metrics.measurement import measurement_from_values

    files: list[Path] = []
    for source in sources:
        found = sorted((source / "benchmarks").glob("*.json")) if source.is_dir() else [source]
        if needed and not found:
            raise DataError(f"{source}: no benchmark results here; name benchmarks in the recipe's scoring")
        by_name = {file.stem: file for file in found}
        files += [by_name[name] for name in sort_by_recipe(source, by_name)]
    scores: list[Score] = []
    by_question: list[Measurement] = []
    read_from: dict[tuple[str, str], Path] = {}
    for file in files:
        name = name_in(file)
        for score in scores_of(file, name):
            task = score.metric.partition("/")[0]
            first = read_from.setdefault((score.contestant, task), file)
            if first != file:
                raise DataError(f"{file}: {task} of {score.contestant} is in {first} already; leave one out")
            scores.append(score)
        values = values_of(file.with_suffix(""))
        by_question += [measurement_from_values(name, metric, each) for metric, each in values.items()]
    return scores, by_question


def _cell(cell: Cell | None) -> str:
    if cell is None:
        return "-"
    low, high = cell.score.low, cell.score.high
    scale, digits = (100, 1) if cell.share else (1, 2)
    margin = "" if low is None or high is None else f" +-{scale * (high - low) / 2:.{digits}f}"
    return f"{'~' if cell.within_noise else ''}{scale * cell.score.value:.{digits}f}{margin}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _plain(row: Row) -> dict[str, Any]:
    cells = [cell and {"score": cell.score, "within_noise": cell.within_noise} for cell in row.cells]
    figures = {"average": row.average, "above_chance": row.above_chance}
    return {"contestant": row.contestant, **figures, "cells": cells}


def _differences(found: Comparison) -> dict[str, Any]:
    return {"differences": found.differences, "p_holm": found.corrected}


def print_scores(scores: Sequence[Score]) -> None:
    """One line a figure: metric, contestant, value, 95% interval, n."""
    ordered = sorted(scores, key=lambda score: score.metric)
    rows = [[s.metric, s.contestant, number(s.value), _interval(s), str(s.n)] for s in ordered]
    print_table(["metric", "contestant", "value", "95% interval", "n"], rows)


def print_differences(found: Comparison) -> None:
    """One line a comparison: p-values, also corrected, and how many examples would settle it."""
    if not found.differences:
        return
    rows = []
    for each, holm, needed in zip(found.differences, found.corrected, found.examples_needed, strict=True):
        pair = f"{each.contestant} - {each.against}"
        settle = str(needed) if holm >= DECIDED and needed is not None and needed > each.n else ""
        p_values = [f"{p:.4f}" if p >= 0.0001 else "<0.0001" for p in (each.p_value, holm)]  # noqa: PLR2004
        rows.append([each.metric, pair, number(each.value), _interval(each), *p_values, str(each.n), settle])
    click.echo()
    print_table(["metric", "difference", "value", "95% interval", "p", "p (Holm)", "n", "n to settle"], rows)
    print_text(
        f"p (Holm): corrected for all differences here ({len(rows)}); a report corrects within a comparison"
    )


def _interval(figure: Score | Difference) -> str:
    if figure.low is None or figure.high is None:
        return ""
    return f"{number(figure.low)} .. {number(figure.high)}"


def number(value: float) -> str:
    """Four significant digits."""
    return f"{value:.4g}"
