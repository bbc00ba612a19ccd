"""Executing a recipe: `results/<name>/`, its ledger of finished steps, and the steps themselves."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from toolkit import processes, records
from toolkit.errors import RecipeError
from toolkit.judge import check_votes
from toolkit.recipe import Recipe, dump
from toolkit.run import steps
from toolkit.run.execution import Execution
from toolkit.run.folder import RunFolder
from toolkit.run.ledger import Ledger
from toolkit.run.outcome import finish, summarise, trained
from toolkit.types import StageResult, Summary

__all__ = ["run", "train"]

Place = Literal["here", "ray"]


def run(recipe: Recipe, results: Path, *, on: Place = "here") -> Summary:
    """Carry out a recipe in `results/<name>/`; what is done there and unchanged is skipped.

    Args:
        recipe: what to do.
        results: folder of runs.
        on: `here`: one step after the other in this process; `ray`: on a Ray cluster, side by side, with the
            same files in `results`, which every machine of it must see under the same path.

    Returns:
        The summary, as in `summary.json`; its `skipped` tells what was done before.

    Raises:
        RecipeError: several processes were started, or the judge could cast no votes; nothing was written.
        BusyError: another process works in the folder.
        ToolkitError: a step failed; the next call continues from there.
    """
    if processes.count() > 1:
        raise RecipeError(
            f"{recipe.name}: `run` is for one process; train with several by `accelerate launch ... train`, "
            "then `run` the recipe: it takes the trained stages up"
        )
    if recipe.judge:
        check_votes(recipe.judge.members(), base=recipe.base)
    folder = RunFolder(results / recipe.name)
    with folder.locked():
        records.write_text(folder.recipe, dump(recipe))
        ledger, execution = Ledger(folder), Execution(recipe, folder)
        if on == "ray":
            from toolkit.run.cluster import carry_out

            carry_out(execution, ledger)
        else:
            for step in steps.plan(execution):
                ledger.do(step)
            execution.release()
        summary = summarise(execution, ledger)
        command = " ".join(["adapter-arena", *sys.argv[1:]])
        finish(execution, ledger, summary, command)
        return summary.model_copy(update={"skipped": tuple(ledger.skipped)})


def train(recipe: Recipe, results: Path, only: Sequence[str] = ()) -> tuple[StageResult, ...]:
    """Train a recipe's stages in `results/<name>/`, and nothing else; what is trained is skipped.

    Several processes (`accelerate launch`) may call this together: they train as one, and one writes.

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
        ledger, execution = Ledger(folder), Execution(recipe, folder)
        processes.wait()  # all have read what is done before one writes
        if processes.is_main():
            records.write_text(folder.recipe, dump(recipe))
        chosen = [stage for stage in recipe.stages if not only or stage.name in needed]
        for step in steps.training(execution, chosen):
            ledger.do(step)
        return trained(folder, chosen)
