"""`adapter-arena leaderboard`: all contestants on all benchmarks, in one table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from toolkit.cli.model_options import PATH
from toolkit.cli.output import print_json, print_table, print_text
from toolkit.cli.scores import print_differences

if TYPE_CHECKING:
    from toolkit.benchmarks.results import Cell, Leaderboard
    from toolkit.metrics import Measurement
    from toolkit.types import Score


@click.command("leaderboard")
@click.argument("sources", nargs=-1, required=True, type=PATH)
@click.option(
    "--against",
    metavar="NAME",
    help="Compare all others with this contestant; left out, the first (of a run: the first of its recipe).",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def command(sources: tuple[Path, ...], against: str | None, as_json: bool) -> None:
    """Set contestants' benchmark results side by side, with averages, and differences on the same questions.

    SOURCES are run folders, or lm-eval result files (one contestant's tasks may be in several). Notes
    say where a contestant gains on one benchmark and loses on most others, and (run folders) where it was
    trained on the questions.

    \b
    Example:
      adapter-arena leaderboard results/demo --against base
    """
    from toolkit.benchmarks import scores_of
    from toolkit.benchmarks.results import goodhart, leaderboard, name_in
    from toolkit.errors import DataError
    from toolkit.metrics.compare import compare
    from toolkit.run.checks.overlap import find_contamination

    files = [file for source in sources for file in _files(source)]
    scores: list[Score] = []
    found_in: dict[tuple[str, str], Path] = {}
    for file in files:
        for score in scores_of(file, name_in(file)):
            task = score.metric.partition("/")[0]
            twin = found_in.setdefault((score.contestant, task), file)
            if twin != file:
                raise DataError(
                    f"{file}: {task} of {score.contestant} is in {twin} already; leave one of them out"
                )
            scores.append(score)
    board = leaderboard(scores)
    if not board.tasks:
        raise DataError(f"{', '.join(map(str, sources))}: no benchmark figure could be read here")
    names = [row.contestant for row in board.rows]
    if against is not None and against not in names:
        raise DataError(f"no contestant is named {against}; there are {', '.join(names)}")
    answered = [each for file in files for each in _by_question(file, name_in(file))]
    compared = compare(answered, against=against if answered else None)
    notes = goodhart(compared.differences)
    notes += [note for source in sources if source.is_dir() for note in find_contamination(source)]
    if as_json:
        print_json(
            _plain(board)
            | {"differences": compared.differences, "p_holm": compared.corrected, "notes": notes}
        )
        return
    _print(board)
    if compared.differences:
        print_differences(compared)
    for note in notes:
        print_text(f"\nnote: {note}")


def _files(source: Path) -> list[Path]:
    from toolkit.errors import DataError
    from toolkit.metrics.compare import sort_by_recipe

    found = sorted((source / "benchmarks").glob("*.json")) if source.is_dir() else [source]
    if not found:
        raise DataError(f"{source}: no benchmark results here; name benchmarks in the recipe's scoring")
    files = {file.stem: file for file in found}
    return [files[name] for name in sort_by_recipe(source, files)]


def _by_question(file: Path, name: str) -> list[Measurement]:
    from toolkit.benchmarks import values_of
    from toolkit.metrics.measurement import measurement_from_values

    return [
        measurement_from_values(name, metric, values)
        for metric, values in values_of(file.with_suffix("")).items()
    ]


def _print(board: Leaderboard) -> None:
    header = ["contestant", *board.tasks, "average", "above chance"]
    rows = [
        [row.contestant, *map(_shown, row.cells), _percent(row.average), _percent(row.above_chance)]
        for row in board.rows
    ]
    print_table(header, rows)
    print_text(
        "~ within noise of the best; intervals are 95%; averages are over the shares (percents) that all have"
    )


def _shown(cell: Cell | None) -> str:
    if cell is None:
        return "-"
    low, high = cell.score.low, cell.score.high
    scale, digits = (100, 1) if cell.share else (1, 2)
    margin = "" if low is None or high is None else f" +-{scale * (high - low) / 2:.{digits}f}"
    return f"{'~' if cell.within_noise else ''}{scale * cell.score.value:.{digits}f}{margin}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _plain(board: Leaderboard) -> dict[str, Any]:
    def cells(row: Sequence[Cell | None]) -> list[Any]:
        return [
            None if cell is None else {"score": cell.score, "within_noise": cell.within_noise} for cell in row
        ]

    rows = [
        {
            "contestant": row.contestant,
            "average": row.average,
            "above_chance": row.above_chance,
            "cells": cells(row.cells),
        }
        for row in board.rows
    ]
    return {"tasks": board.tasks, "rows": rows}
