"""A run folder from files of answers, which the arena and the report open like any other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from toolkit import io
from toolkit.errors import DataError
from toolkit.metrics import score
from toolkit.ratings import bradley_terry
from toolkit.report import write_report
from toolkit.run.folder import RunFolder
from toolkit.run.summary import paired_differences, write_summary
from toolkit.types import Completion, Ratings, Summary, Vote

METRICS = ("rouge", "chrf", "exact_match", "length")
"""What needs no model; those that need references are left out where there are none."""


def write_run(
    path: Path,
    answers: Mapping[str, Sequence[Completion]],
    votes: Sequence[Vote] = (),
    notes: Mapping[str, Any] | None = None,
) -> RunFolder:
    """Write completions, measurements, summary and report of contestants whose answers are in files.

    Args:
        path: the folder; completions of the same contestants in it are replaced.
        answers: contestant -> its completions.
        votes: of judges.
        notes: statistics of the judges.

    Raises:
        DataError: the folder holds a run of a recipe.
    """
    folder = RunFolder(path)
    if folder.recipe.exists():
        raise DataError(f"{path}: the run of a recipe is here; name another folder with --out")
    from toolkit.metrics.registry import measure_texts  # imports evaluate

    measured = []
    for name, rows in answers.items():
        io.write(folder.completions(name), rows)
        found = measure_texts(rows, METRICS)
        io.write(folder.measurements(name), found)
        measured += found
    summary = Summary(
        run=path.resolve().name,
        contestants=tuple(answers),
        scores=tuple(score(each) for each in measured),
        differences=tuple(paired_differences(measured, list(answers))),
        ratings=Ratings(judge=bradley_terry(votes).ratings if votes else ()),
        stages=(),
        skipped=(),
        seconds=0.0,
        notes=dict(notes or {}),
    )
    write_summary(folder, summary)
    write_report(path)
    return folder
