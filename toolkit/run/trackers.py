"""Send a run's scores and ratings to the experiment trackers that its stages report their loss to."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from toolkit.recipe import Recipe
from toolkit.types import Summary

logger = logging.getLogger(__name__)

Figures = Mapping[str, float]


def log_figures(recipe: Recipe, summary: Summary, run: Path) -> None:
    """Send all figures to the trackers that a stage's `report_to` names; one that fails is a warning."""
    named: list[str] = []
    for stage in recipe.stages:
        names = stage.trainer.get("report_to") or []
        named += [names] if isinstance(names, str) else names
    figures = flatten_figures(summary)
    for name in dict.fromkeys(named):
        if name in TRACKERS and figures:
            try:
                TRACKERS[name](recipe, figures, run)
            except Exception as error:  # noqa: BLE001 - of a server elsewhere, or of its settings
                logger.warning("%s: scores were not sent: %s", name, str(error).splitlines()[0][:300])


def flatten_figures(summary: Summary) -> dict[str, float]:
    """`scores/<metric>/<contestant>` and `ratings/<voters>/<contestant>` -> value, where there is one."""
    figures = {f"scores/{each.metric}/{each.contestant}": each.value for each in summary.scores}
    for voters, ratings in summary.ratings:
        figures |= {f"ratings/{voters}/{each.contestant}": each.value for each in ratings}
    return {name: float(value) for name, value in figures.items() if math.isfinite(value)}


def _tensorboard(recipe: Recipe, figures: Figures, run: Path) -> None:
    module = "torch.utils.tensorboard" if importlib.util.find_spec("tensorboard") else "tensorboardX"
    writer: Any = importlib.import_module(module).SummaryWriter(str(run / "tensorboard" / "scores"))
    for name, value in figures.items():
        writer.add_scalar(name, value)
    writer.close()


def _mlflow(recipe: Recipe, figures: Figures, run: Path) -> None:
    import mlflow

    with mlflow.start_run(run_name=f"{recipe.name}/scores"):
        mlflow.log_metrics(dict(figures))
        mlflow.log_artifact(str(run / "summary.json"))


TRACKERS: dict[str, Callable[[Recipe, Figures, Path], None]] = {
    "tensorboard": _tensorboard,
    "mlflow": _mlflow,
}
"""Name in `report_to` -> how it takes figures; others get training's loss alone."""
