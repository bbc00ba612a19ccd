"""A grid over keys of a recipe: all variants are trained and scored on an evaluation split, the best is run.

The test set takes no part in the choice. Variants are kept in `results/<name>-sweep/`, so that a grid that
grows trains its new points only, and the chosen one is not trained again.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from toolkit import io
from toolkit.errors import RecipeError
from toolkit.metric_info import metric_info
from toolkit.metrics import Measurement, score
from toolkit.recipe import Contestant, Recipe, dump, fingerprint, with_keys
from toolkit.run.cache import StepCache
from toolkit.run.folder import RunFolder
from toolkit.run.resolve import Execution
from toolkit.types import Record

logger = logging.getLogger(__name__)

CarryOut = Callable[[Execution, StepCache], None]


class Variant(Record):
    """One point of the grid and its figure on the evaluation split."""

    settings: dict[str, Any]
    value: float
    low: float | None
    high: float | None
    n: int


class SweepResult(Record):
    validation: str
    """The data set that the choice was made on."""
    metric: str
    variants: tuple[Variant, ...]
    chosen: dict[str, Any]


def grid(recipe: Recipe) -> list[dict[str, Any]]:
    """Every combination of the values of `sweep`, by key."""
    points = itertools.product(*recipe.sweep.values())
    return [dict(zip(recipe.sweep, values, strict=True)) for values in points]


def choose_variant(
    recipe: Recipe, results: Path, carry_out: CarryOut
) -> tuple[Recipe, SweepResult, Sequence[RunFolder]]:
    """Train and score every variant of a recipe's grid on `scoring.validation`.

    Returns:
        The recipe with the best settings and no grid, what was found, and the folders of the variants.

    Raises:
        RecipeError: a variant is no recipe, or has no figure to choose by.
        ToolkitError: a step failed; the next call continues from there.
    """
    scoring, plain = recipe.scoring, recipe.model_copy(update={"sweep": {}})
    assert scoring is not None
    assert scoring.validation is not None
    check, metric = scoring.tuning_metric
    less = {"examples": scoring.validation, "metrics": (check,), "slices": (), "benchmarks": ()}
    alone = scoring.model_copy(update={**less, "guard": None, "groups": None})
    variants = [(settings, with_keys(plain, settings)) for settings in grid(recipe)]
    found, places = list[Measurement](), list[RunFolder]()
    for number, (settings, variant) in enumerate(variants, start=1):
        logger.info("sweep: variant %d of %d, %s", number, len(variants), settings)
        place = RunFolder(results / f"{recipe.name}-sweep" / fingerprint(settings))
        last = next(stage.name for stage in reversed(variant.stages) if not stage.spec.reward_model)
        trained = {"contestants": {last: Contestant(stage=last)}, "judge": None, "seeds": 1}
        short = variant.model_copy(update={"scoring": alone} | trained)
        with place.locked():
            io.write_text(place.recipe, dump(short))
            execution = Execution(short, place)
            execution.checked = True
            carry_out(execution, StepCache(place, places))
        measured = {each.metric: each for each in io.read(place.measurements(last), Measurement)}
        if metric not in measured:
            raise RecipeError(f"sweep: no {metric} on `{scoring.validation}`; give its rows references")
        found.append(measured[metric])
        places.append(place)
    lower = metric_info(metric, {metric} if found[0].lower_is_better else ()).better < 0
    best = min(range(len(found)), key=lambda at: found[at].value if lower else -found[at].value)
    figures = tuple(
        Variant(settings=settings, **score(each).model_dump(include={"value", "low", "high", "n"}))
        for (settings, _), each in zip(variants, found, strict=True)
    )
    chosen, variant = variants[best]
    logger.info("sweep: chosen by %s on %s: %s", metric, scoring.validation, chosen)
    result = SweepResult(validation=scoring.validation, metric=metric, variants=figures, chosen=chosen)
    return variant, result, places
