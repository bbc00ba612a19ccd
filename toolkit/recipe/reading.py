"""A YAML file -> a checked `Recipe`, and back."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from toolkit.errors import RecipeError
from toolkit.recipe.mistakes import explain, loose_ends
from toolkit.recipe.sections import Recipe

PACKAGED = Path(__file__).parents[1] / "recipes"
"""Recipes and data sets that come with the package; `run demo` finds `demo.yaml` here."""

DATA_FILES = {".json", ".jsonl", ".csv", ".parquet", ".txt"}


def load(source: str | Path, overrides: dict[str, Any] | None = None) -> Recipe:
    """Read a recipe from a YAML file or by the name of a packaged one.

    Args:
        source: path of a file, or a packaged name such as `demo`.
        overrides: dotted keys -> values, set before checking (`{"stages.0.trainer.max_steps": 5}`).

    Raises:
        RecipeError: with every mistake in the file, one per line.
    """
    path = find(source)
    raw = _inherited(path, ())
    for key, value in (overrides or {}).items():
        _set(raw, key, value, path)
    return parse(raw, path)


def _inherited(path: Path, children: tuple[Path, ...]) -> dict[str, Any]:
    """A recipe file's plain values, on top of those of the recipe it extends."""
    if path.resolve() in children:
        raise RecipeError(f"{path}: extends itself")
    raw = _read(path)
    parent = raw.get("extends")
    if not isinstance(parent, str):  # what else it may be, `parse` tells
        return raw
    beside = path.parent / parent
    try:
        file = beside if beside.is_file() else find(parent)
    except RecipeError as error:
        raise RecipeError(f"{path}: extends: {error}") from None
    inherited = _inherited(file, (*children, path.resolve()))
    _make_absolute(inherited, file.parent)
    return _merged(inherited, raw)


def _read(path: Path) -> dict[str, Any]:
    try:
        raw = read_yaml(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise RecipeError(f"{path}{line}: not valid YAML: {problem}") from None
    except RecursionError:
        raise RecipeError(f"{path}: too deeply nested for a recipe") from None
    if not isinstance(raw, dict):
        raise RecipeError(f"{path}: a recipe is a mapping of keys (name, base, data, stages ...)")
    return raw


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Mappings key by key; anything else is what `above` says."""
    both = {
        key: _merged(below[key], value)
        for key, value in above.items()
        if isinstance(value, dict) and isinstance(below.get(key), dict)
    }
    return below | above | both


def _make_absolute(raw: dict[str, Any], folder: Path) -> None:
    """Let the data files of an extended recipe be found from another folder."""
    data, scoring = raw.get("data"), raw.get("scoring")
    tasks = scoring.get("benchmarks") if isinstance(scoring, dict) else None
    holders = [(part, "source") for part in data.values()] if isinstance(data, dict) else []
    files = [task.get("files") for task in tasks or () if isinstance(task, dict)]
    holders += [(named, split) for named in files if isinstance(named, dict) for split in named]
    holders.append((scoring, "bertscore_rescale"))
    for holder, key in holders:
        if isinstance(holder, dict) and isinstance(holder.get(key), str) and "${" not in holder[key]:
            holder[key] = _beside(folder, holder[key])


def _beside(folder: Path, source: str) -> str:
    """The absolute path of a file named beside a recipe; hub ids and packaged data as they are."""
    path = folder / Path(source).expanduser()
    is_file = Path(source).suffix in DATA_FILES or path.exists()
    return str(path.resolve()) if is_file and not source.startswith("package:") else source


class _Loader(yaml.SafeLoader):
    """Reads `1e-3` as a number, as YAML 1.2 does; PyYAML's YAML 1.1 makes it a text."""


class _Dumper(yaml.SafeDumper):
    """Writes what `_Loader` reads back the same: quotes texts such as `1e3` or with odd line breaks."""


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = '"' if re.search("[\x85\u2028\u2029]", text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)
for _side in (_Loader, _Dumper):
    _side.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
        list("-+.0123456789"),
    )


def read_yaml(text: str) -> Any:
    """The value of a YAML text of plain values.

    Raises:
        yaml.YAMLError: it does not parse.
    """
    return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader: it makes no objects


def find(source: str | Path) -> Path:
    """The file of a recipe: the path itself, or a packaged recipe of that name."""
    path, packaged = Path(source), PACKAGED / f"{source}.yaml"
    if path.is_file():
        return path
    if re.fullmatch(r"[\w.-]+", str(source)) and packaged.is_file():
        return packaged
    known = ", ".join(sorted(file.stem for file in PACKAGED.glob("*.yaml")))
    raise RecipeError(f"{source}: no such recipe file; packaged recipes: {known}")


def parse(raw: dict[str, Any], path: Path) -> Recipe:
    """Check a recipe given as plain values; `path` is its file, for messages and relative data files."""
    try:
        recipe = Recipe.model_validate(raw)
    except ValidationError as error:
        told = [problem for problem in error.errors() if problem["loc"][-1:] != ("literal['none']",)]
        problems = [explain(problem) for problem in told]
    else:
        problems = loose_ends(recipe)
        if not problems:
            return _with_files(recipe, path)
    raise RecipeError("\n".join(f"{path}: {problem}" for problem in problems))


def dump(recipe: Recipe) -> str:
    """The resolved recipe as YAML: every default written out."""
    plain = recipe.model_dump(mode="json")
    return yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def _with_files(recipe: Recipe, path: Path) -> Recipe:
    """The recipe with `${VARIABLE}`s filled in and relative files made absolute."""
    problems: list[str] = []

    def locate(key: str, source: str) -> str:
        missing = [name for name in re.findall(r"\$\{(\w+)\}", source) if name not in os.environ]
        if missing:
            problems.append(f"{path}: {key}: environment variable {missing[0]} is not set (in `{source}`)")
            return source
        if "${" in source:  # the environment's paths are the user's, from where the command is run
            return str(Path(os.path.expandvars(source)).resolve())
        return _beside(path.parent, source)

    data = {
        name: part.model_copy(update={"source": locate(f"data.{name}.source", part.source)})
        for name, part in recipe.data.items()
    }
    updates: dict[str, Any] = {"data": data}
    if recipe.scoring:
        tasks = []
        for index, task in enumerate(recipe.scoring.benchmarks):
            at = f"scoring.benchmarks.{index}.files"
            files = {split: locate(f"{at}.{split}", file) for split, file in task.files.items()}
            own = task.task.endswith((".yaml", ".yml"))
            name = str((path.parent / task.task).resolve()) if own else task.task
            tasks.append(task.model_copy(update={"task": name, "files": files}))
        rescale = recipe.scoring.bertscore_rescale
        if isinstance(rescale, str):
            key, rescale = "scoring.bertscore_rescale", locate("scoring.bertscore_rescale", rescale)
            if not Path(rescale).is_file():
                problems.append(
                    f"{path}: {key}: {rescale}: no such file; give a file of baselines, or `true`"
                )
        found = {"benchmarks": tuple(tasks), "bertscore_rescale": rescale}
        updates["scoring"] = recipe.scoring.model_copy(update=found)
    if problems:
        raise RecipeError("\n".join(problems))
    return recipe.model_copy(update=updates)


def packaged_file(source: str) -> Path:
    """The file behind a `package:...` source."""
    return PACKAGED / source.removeprefix("package:")


def _set(raw: dict[str, Any], key: str, value: Any, path: Path) -> None:
    """Set one dotted key; list positions are numbers."""
    *parents, last = key.split(".")
    place: Any = raw
    try:
        for part in parents:
            place = place[int(part)] if isinstance(place, list) else place.setdefault(part, {})
        place[int(last) if isinstance(place, list) else last] = value
    except (ValueError, IndexError, TypeError, AttributeError):
        raise RecipeError(f"{path}: --set {key}: there is no such place in the recipe") from None
