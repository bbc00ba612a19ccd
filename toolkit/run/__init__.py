"""Executing a recipe: `results/<name>/`, its ledger of finished steps, and the steps themselves."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from toolkit import records
from toolkit.recipe import Recipe, dump, fingerprint
from toolkit.report import write_report
from toolkit.run import provenance, steps
from toolkit.run.execution import Execution
from toolkit.run.folder import RunFolder
from toolkit.run.ledger import Ledger
from toolkit.types import Difference, Ratings, Score, StageResult, Summary

__all__ = ["run", "train"]


def run(recipe: Recipe, results: Path) -> Summary:
    """Carry out a recipe in `results/<name>/`; what is done there and unchanged is skipped.

    Args:
        recipe: what to do.
        results: folder of runs.

    Returns:
        The summary, as in `summary.json`; its `skipped` tells what was done before.

    Raises:
        BusyError: another process works in the folder.
        ToolkitError: a step failed; the next call continues from there.
    """
    folder = RunFolder(results / recipe.name)
    with folder.locked():
        records.write_text(folder.recipe, dump(recipe))
        ledger = Ledger(folder)
        return _carry_out(Execution(recipe, folder, ledger))


def train(recipe: Recipe, results: Path, only: Sequence[str] = ()) -> tuple[StageResult, ...]:
    """Train a recipe's stages in `results/<name>/`, and nothing else; what is trained is skipped.

    Args:
        recipe: what to do.
        results: folder of runs.
        only: names of stages; they, and the stages they stand on and learn from, are trained. None: all.

    Raises:
        BusyError: another process works in the folder.
        ToolkitError: a stage failed, or there is none of that name; the next call continues from there.
    """
    needed = {part for name in only for part in recipe.needed(name)}
    folder = RunFolder(results / recipe.name)
    with folder.locked():
        records.write_text(folder.recipe, dump(recipe))
        chosen = [stage for stage in recipe.stages if not only or stage.name in needed]
        return steps.train(Execution(recipe, folder, Ledger(folder)), chosen)


def _carry_out(execution: Execution) -> Summary:
    recipe, ledger = execution.recipe, execution.ledger
    steps.check(execution)
    trained = steps.train(execution, recipe.stages)
    scores: list[Score] = []
    differences: list[Difference] = []
    notes: dict[str, Any] = {}
    ratings = Ratings()
    if recipe.scoring:
        answers = steps.answer(execution, recipe.scoring)
        found = steps.measure(execution, recipe.scoring, answers)
        scores, differences = steps.summarise(found, [player.name for player in execution.players])
        scores += steps.benchmark(execution, recipe.scoring)
        if recipe.judge:
            notes["judge"] = steps.judge(execution, recipe.judge, answers)
        ratings = steps.rate(execution)
    execution.release()
    summary = Summary(
        run=recipe.name,
        contestants=tuple(player.name for player in execution.players),
        scores=tuple(scores),
        differences=tuple(differences),
        ratings=ratings,
        stages=trained,
        skipped=tuple(ledger.skipped),
        seconds=round(ledger.seconds, 1),
        notes=notes,
    )
    _finish(execution, summary)
    return summary.model_copy(update={"skipped": tuple(ledger.skipped)})


def _finish(execution: Execution, summary: Summary) -> None:
    """Write the summary and the report, unless they are there and say the same."""
    folder, ledger = execution.folder, execution.ledger
    told = fingerprint(summary.model_dump(mode="json", exclude={"skipped", "seconds"}))

    def work() -> None:
        records.write_json(folder.scores, [score.model_dump() for score in summary.scores])
        records.write_json(folder.summary, summary)
        ledger.record(
            command=" ".join(["adapter-arena", *sys.argv[1:]]),
            seed=execution.recipe.seed,
            versions=provenance.versions(),
            hardware=provenance.hardware(),
            data=execution.data | {"examples": execution.questions}
            if execution.recipe.scoring
            else execution.data,
        )
        write_report(folder.path)

    ledger.step(
        "report", told, [folder.summary, folder.path / "report.html", folder.path / "report.md"], work
    )
