"""Stages of other runs: `start: results/round1:sft` puts that stage and those below it into a recipe."""

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from toolkit.errors import RecipeError
from toolkit.recipe.schema import Recipe, Stage

HOW = "write RUN:STAGE, such as results/round1:sft"


def add_stages_of_other_runs(raw: dict[str, Any], path: Path, load: Callable[[Path], Recipe]) -> None:
    """Replace `start: RUN:STAGE` by the chain of that run; a `RecipeError` where it is not trained."""
    stages = raw.get("stages")
    if not isinstance(stages, list):
        return
    found: list[Any] = []
    for index, stage in enumerate(stages):
        start = stage.get("start") if isinstance(stage, dict) else None
        if isinstance(start, str) and ":" in start:
            place = f"{path}: stages.{index}.start: {start}"
            run, _, name = start.rpartition(":")
            places = (Path(run), path.parent / run)
            folder = next((each for each in places if (each / "recipe.yaml").is_file()), None)
            if folder is None:
                raise RecipeError(f"{place}: no run is in {run} (no recipe.yaml); {HOW}")
            chain = _chain(folder.resolve(), name, load(folder / "recipe.yaml"), place)
            stage["start"] = _add(raw, [*found, *stages[index:]], chain, found, folder.resolve().name)
        found.append(stage)
    raw["stages"] = found


def _chain(run: Path, name: str, recipe: Recipe, place: str) -> list[tuple[Stage, Recipe]]:
    """The stages of a run up to one of its own, each with where its adapter lies."""
    names = [stage.name for stage in recipe.stages]
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1) or names
        raise RecipeError(f"{place}: {run.name} has no stage `{name}`; it has {', '.join(close) or 'none'}")
    taken = []
    for stage in recipe.chain(name):
        folder = run / "adapters" / stage.name
        if not any((folder / file).is_file() for file in ("adapter_config.json", "config.json")):
            raise RecipeError(f"{place}: {stage.name} is not trained in {run}; run its recipe first")
        update: dict[str, Any] = {"taken_from": str(folder), "rewards": {}, "select": None}
        taken.append((stage.model_copy(update=update), recipe))
    return taken


def _add(
    raw: dict[str, Any], others: list[Any], chain: list[tuple[Stage, Recipe]], found: list[Any], run: str
) -> str:
    """Put a chain into the recipe, under names that are free; gives the last one's."""
    start = "base"
    for stage, recipe in chain:
        plain = stage.model_dump(mode="json") | {"start": start}
        known = next((each for each in found if each.get("taken_from") == stage.taken_from), None)
        if known is None:
            used = {each.get("name") for each in others if isinstance(each, dict)}
            plain["name"] = stage.name if stage.name not in used else f"{run}-{stage.name}"
            for key in ("data", "heldout"):
                if plain[key]:
                    plain[key] = _add_data(raw, plain[key], recipe, run)
            found.append(plain)
        start = (known or plain)["name"]
    return start


def _add_data(raw: dict[str, Any], name: str, recipe: Recipe, run: str) -> str:
    """Put a data set of another run into the recipe; under another name, where its own is taken."""
    data, source = raw.setdefault("data", {}), recipe.data[name].model_dump(mode="json")
    own = data.get(name, source)
    free = name if isinstance(own, dict) and source | own == source else f"{run}-{name}"
    data[free] = source
    return free
