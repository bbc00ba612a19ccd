"""Executing a recipe: `results/<name>/`, its cache of finished steps, and the steps themselves."""

import itertools
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from toolkit import distributed, io
from toolkit.errors import RecipeError
from toolkit.generate.base import engine_command
from toolkit.judge.factory import validate_judges
from toolkit.judge.verdicts import import_old_log
from toolkit.metrics.intervals import score
from toolkit.metrics.measurement import Measurement, seed_folder
from toolkit.recipe import Contestant, Recipe, contestants, dump, fingerprint, load, with_keys
from toolkit.recipe.schema import with_fewshot_baseline
from toolkit.run.cache import StepCache
from toolkit.run.folder import IDENTITY, NAME, RunFolder, select_version, versions
from toolkit.run.plan import check_recipe, plan_steps, training_steps
from toolkit.run.resolve import Execution
from toolkit.run.summary import build_summary, finish, load_stage_results
from toolkit.types import Completion, StageResult, Summary, Verdict

__all__ = ["run", "train"]

logger = logging.getLogger(__name__)

Place = Literal["here", "ray"]


def run(recipe: Recipe, results: Path, *, on: Place = "here", anyway: bool = False) -> Summary:
    """Carry out a recipe in `results/<name>/`; what is done there and unchanged is skipped.

    Args:
        recipe: what to do.
        results: folder of runs.
        on: `here`: one step after the other in this process; `ray`: on a Ray cluster, side by side, with the
            same files in `results`, which every machine of it must see under the same path.
        anyway: go on in spite of errors that the check finds.

    Returns:
        The summary, as in `summary.json`; its `skipped` names the steps done before.

    Raises:
        RecipeError: several processes were started, or the judge could cast no votes: nothing was written; or
            the check found an error.
        BusyError: another process works in the folder.
        ToolkitError: a step failed; the next call continues from there.
    """
    if distributed.count() > 1:
        mend = "set `processes` in the recipe, and it starts several"
        raise RecipeError(f"{recipe.name}: `run` is for one process; {mend}")
    recipe = with_fewshot_baseline(recipe)
    if recipe.judge:
        validate_judges(recipe.judge.members(), base=recipe.base)
    if recipe.scoring:
        engine_command(recipe.scoring.generation)  # refuses one that is not here before anything is trained
    swept: dict[str, Any] = {}
    variants: Sequence[RunFolder] = ()
    executed = list[str]()

    def carry_out(execution: Execution, cache: StepCache) -> None:
        _carry_out(execution, cache, on)
        executed.extend(cache.executed)

    if recipe.sweep:
        check_recipe(recipe, anyway)
        recipe, swept, variants = choose_variant(recipe, results, carry_out)
    folder, identity = _folder(recipe, results)
    with folder.locked():
        cache, execution = _opened(recipe, results, folder, identity)
        cache.versions = [*cache.versions, *variants]
        execution.anyway, execution.swept = anyway, swept
        _carry_out(execution, cache, on)
        for number in range(2, recipe.seeds + 1):
            again = recipe.trained_again(number)
            logger.info("training seed %d of %d", number, recipe.seeds)
            part = RunFolder(seed_folder(folder.path, number))
            io.write_text(part.recipe, dump(again))
            same = Execution(again, part)
            same.checked = True
            carry_out(same, StepCache(part))
        summary = build_summary(execution, cache)
        command = " ".join(["adapter-arena", *sys.argv[1:]])
        finish(execution, cache, summary, command)
        executed += cache.executed
        return summary.model_copy(update={"skipped": tuple(cache.skipped), "executed": tuple(executed)})


def _carry_out(execution: Execution, cache: StepCache, on: Place) -> None:
    try:
        if on == "ray":
            from toolkit.run.launch import run_on_ray

            run_on_ray(execution, cache)
        else:
            for step in plan_steps(execution):
                cache.do(step)
    finally:
        execution.release()  # an engine is stopped also when the work is interrupted


def train(recipe: Recipe, results: Path, only: Sequence[str] = ()) -> tuple[StageResult, ...]:
    """Train a recipe's stages in `results/<name>/`, and nothing else; what is trained is skipped.

    Several processes (`accelerate launch`) may call this together: they train as one, and one writes.

    Args:
        recipe: what to do.
        results: folder of runs.
        only: names of stages; they, and the stages they stand on and learn from, are trained. None: all.

    Raises:
        RecipeError: the recipe has no stages.
        BusyError: another process works in the folder.
        ToolkitError: a stage failed, or there is none of that name; the next call continues from there.
    """
    if not recipe.stages:
        raise RecipeError(f"{recipe.name}: stages: there is none to train; `adapter-arena run` does the rest")
    needed = {part for name in only for part in recipe.needed(name)}
    folder, identity = _folder(recipe, results)
    distributed.wait()  # all have chosen the folder, before one makes it
    with folder.locked():
        cache, execution = _opened(recipe, results, folder, identity)
        chosen = [stage for stage in recipe.stages if not only or stage.name in needed]
        for step in training_steps(execution, chosen):
            cache.do(step)
        return load_stage_results(folder, chosen)


def _folder(recipe: Recipe, results: Path) -> tuple[RunFolder, dict[str, str]]:
    """The folder of this version of the run, and what makes it this version."""
    identity = Execution(recipe, RunFolder(results / recipe.name)).identity()
    return select_version(results, recipe.name, identity), identity


def _import_paid_answers(others: Sequence[RunFolder]) -> None:
    """Keep what endpoints answered in runs of version 0.1, which had no store."""
    from toolkit.generate.completions import import_completions

    for other in others:
        if IDENTITY in StepCache(other).manifest or not other.recipe.exists():
            continue
        old = load(other.recipe)
        for name, spec in contestants(old).items():
            if spec.endpoint and old.scoring and other.completions(name).exists():
                answers = io.read(other.completions(name), Completion)
                shaping: dict[str, Any] = {
                    "prompt": spec.prompt,
                    "options": old.scoring.generation,
                    "seed": old.seed,
                }
                import_completions(spec.endpoint, answers, store=other.answers, **shaping)


def _opened(
    recipe: Recipe, results: Path, folder: RunFolder, identity: dict[str, str]
) -> tuple[StepCache, Execution]:
    """The cache of steps and the execution of a run whose folder is locked."""
    others = [other for other in versions(results, recipe.name) if other.path != folder.path]
    cache, execution = StepCache(folder, others), Execution(recipe, folder)
    distributed.wait()  # all have read what is done before one writes
    if distributed.is_main():
        io.write_text(folder.recipe, dump(recipe))
        for each in (folder, *others):
            import_old_log(each.verdicts, folder.judgments, Verdict)
        for other in reversed(others):  # people's votes go by content: a version begins with the newest ones
            if other.arena.exists() and not folder.arena.exists():
                from toolkit.arena import copy_votes

                copy_votes(other.arena, folder.arena, folder.path.name)
        _import_paid_answers(others)
        cache.record(**{NAME: recipe.name, IDENTITY: cache.manifest.get(IDENTITY, {}) | identity})
    return cache, execution


def choose_variant(
    recipe: Recipe, results: Path, carry_out: Callable[[Execution, StepCache], None]
) -> tuple[Recipe, dict[str, Any], Sequence[RunFolder]]:
    """Train and score every variant of a recipe's grid on `scoring.validation`; the best one is run.

    The test set takes no part in the choice. Variants are kept in `results/<name>-sweep/`, so that a grid
    that grows trains its new points only, and the chosen one is not trained again.

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
    points = itertools.product(*recipe.sweep.values())
    grid = [dict(zip(recipe.sweep, values, strict=True)) for values in points]
    variants = [(settings, with_keys(plain, settings)) for settings in grid]
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
    best = max(range(len(found)), key=lambda at: found[at].direction * found[at].value)
    figures = [score(each).model_dump(include={"value", "low", "high", "n"}) for each in found]
    tried = [{"settings": own} | figure for (own, _), figure in zip(variants, figures, strict=True)]
    chosen, variant = variants[best]
    logger.info("sweep: chosen by %s on %s: %s", metric, scoring.validation, chosen)
    result = {"validation": scoring.validation, "metric": metric, "variants": tried, "chosen": chosen}
    return variant, result, places
