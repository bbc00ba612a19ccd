"""A stage of a run as one whole model, with what the run found out about it."""

from __future__ import annotations

from pathlib import Path

from toolkit import records
from toolkit.recipe import load
from toolkit.report.export import write_scores
from toolkit.run.folder import RunFolder
from toolkit.train.merge import Drift, Into, merge
from toolkit.types import Summary


def merge_stage(run: Path, stage: str, out: Path, *, into: Into, dtype: str) -> list[Drift]:
    """`toolkit.train.merge.merge` of a run's stage; the run's scores go into the card, where it has any.

    Raises:
        RecipeError: there is no such stage.
        ToolkitError: as merging does.
    """
    folder = RunFolder(run)
    recipe = load(folder.recipe)
    drifts = merge(recipe, recipe.stage(stage), run, out, into=into, dtype=dtype)
    if folder.summary.exists():
        summary = Summary.model_validate(records.read_json(folder.summary, finite=False))
        write_scores(out / "README.md", recipe, stage, summary)
    return drifts
