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
from toolkit.run.shots import tuning_metric
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
    return [
        dict(zip(recipe.sweep, values, strict=True)) for values in itertools.product(*recipe.sweep.values())
    ]


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
    plain = recipe.model_copy(update={"sweep": {}})
    variants = [(settings, with_keys(plain, settings)) for settings in grid(recipe)]
    folder, found, places = results / f"{recipe.name}-sweep", list[Variant](), list[RunFolder]()
    for number, (settings, variant) in enumerate(variants, start=1):
        logger.info("sweep: variant %d of %d, %s", number, len(variants), settings)
        place = RunFolder(folder / fingerprint(settings))
        with place.locked():
            alone = _scored_on_validation(variant)
            io.write_text(place.recipe, dump(alone))
            execution = Execution(alone, place)
            execution.checked = True
            carry_out(execution, StepCache(place, places))
        found.append(_figure(alone, place, settings))
        places.append(place)
    assert recipe.scoring is not None
    assert recipe.scoring.validation is not None
    _, metric = tuning_metric(recipe.scoring)
    first = _measured(places[0], metric)
    lower = metric_info(metric, {metric} if first and first.lower_is_better else ()).better < 0
    best = min(range(len(found)), key=lambda place: found[place].value if lower else -found[place].value)
    chosen = found[best].settings
    result = SweepResult(
        validation=recipe.scoring.validation, metric=metric, variants=tuple(found), chosen=chosen
    )
    logger.info("sweep: chosen by %s on %s: %s", metric, result.validation, chosen)
    return variants[best][1], result, places


def _scored_on_validation(variant: Recipe) -> Recipe:
    """The last stage alone, on the evaluation split."""
    assert variant.scoring is not None
    assert variant.scoring.validation is not None
    last = next(stage.name for stage in reversed(variant.stages) if stage.method != "reward")
    metric, _ = tuning_metric(variant.scoring)
    less = {"examples": variant.scoring.validation, "metrics": (metric,), "slices": (), "benchmarks": ()}
    scoring = variant.scoring.model_copy(update={**less, "guard": None, "groups": None})
    trained = {last: Contestant(stage=last)}
    return variant.model_copy(update={"scoring": scoring, "contestants": trained, "judge": None, "seeds": 1})


def _measured(place: RunFolder, metric: str) -> Measurement | None:
    files = sorted((place.path / "measurements").glob("*.jsonl"))
    found = [each for file in files for each in io.read(file, Measurement)]
    return next((each for each in found if each.metric == metric), None)


def _figure(recipe: Recipe, place: RunFolder, settings: dict[str, Any]) -> Variant:
    assert recipe.scoring is not None
    _, metric = tuning_metric(recipe.scoring)
    measured = _measured(place, metric)
    if measured is None:
        raise RecipeError(f"sweep: no {metric} on `{recipe.scoring.examples}`; give its rows references")
    found = score(measured)
    return Variant(settings=settings, value=found.value, low=found.low, high=found.high, n=found.n)
