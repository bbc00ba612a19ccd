"""A YAML file -> a checked `Recipe`, and back."""

from __future__ import annotations

import copy
import math
import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from toolkit.errors import RecipeError
from toolkit.recipe.files import PACKAGED, fill_in, locate
from toolkit.recipe.mistakes import explain, forbidden, loose_ends
from toolkit.recipe.schema import Recipe


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
    locate(inherited, file.parent)
    return _merged(inherited, raw)


def _read(path: Path) -> dict[str, Any]:
    try:
        raw = read_yaml(path.read_text(encoding="utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise RecipeError(yaml_problem(path, error)) from None
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


def read_yaml(text: str, loader: type[yaml.SafeLoader] = _Loader) -> Any:
    """The value of a YAML text of plain values, strictly.

    Refused, since readers differ on them: keys that are there twice, `010` (8 for some), `1:30` (90), `no`
    and the like (false), numbers that are not finite, halves of surrogate pairs.

    Raises:
        yaml.YAMLError: it does not parse, or is ambiguous.
    """
    reader = loader(text)
    try:
        node = reader.get_single_node()
        if node is None:
            return None
        _check_node(node, "", {}, 0)
        return reader.construct_document(node)
    finally:
        reader.dispose()


def yaml_problem(path: Path, error: yaml.YAMLError | UnicodeDecodeError | RecursionError) -> str:
    """One line on a YAML file that cannot be read: file, line, what is wrong."""
    if isinstance(error, RecursionError):
        return f"{path}: nested too deeply"
    mark = getattr(error, "problem_mark", None)
    line = f":{mark.line + 1}" if mark else ""
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    return f"{path}{line}: {problem if isinstance(error, Ambiguous) else f'not valid YAML: {problem}'}"


DEEPEST = 50
"""Levels of nesting; no recipe, prompt or task file has as many."""


class Ambiguous(yaml.MarkedYAMLError):
    """Valid YAML that readers understand differently."""


def _check_node(node: yaml.Node, key: str, done: dict[int, bool], depth: int) -> None:
    """`done`: nodes looked at -> whether all that is inside them was."""
    if id(node) in done:  # an alias
        if not done[id(node)]:
            raise Ambiguous(problem=f"{key}: holds itself by an alias", problem_mark=node.start_mark)
        return
    if depth > DEEPEST:
        raise Ambiguous(problem=f"{key[:60]}: nested too deeply", problem_mark=node.start_mark)
    done[id(node)] = False
    if isinstance(node, yaml.ScalarNode):
        problem = _odd_scalar(node)
        if problem:
            raise Ambiguous(problem=f"{key}: {problem}" if key else problem, problem_mark=node.start_mark)
    elif isinstance(node, yaml.SequenceNode):
        for position, item in enumerate(node.value):
            _check_node(item, f"{key}.{position}".lstrip("."), done, depth + 1)
    elif isinstance(node, yaml.MappingNode):
        _check_keys(node, key)
        for name, value in node.value:
            _check_node(name, key, done, depth + 1)
            inner = f"{key}.{name.value}".lstrip(".") if isinstance(name, yaml.ScalarNode) else key
            _check_node(value, inner, done, depth + 1)
    done[id(node)] = True


def _check_keys(node: yaml.MappingNode, key: str) -> None:
    keys: set[tuple[str, str]] = set()
    for name, _ in node.value:
        if isinstance(name, yaml.ScalarNode) and not name.tag.endswith(":merge"):
            if (name.tag, name.value) in keys:
                text = f"{f'{key}.{name.value}'.lstrip('.')}: this key is there twice; keep one of them"
                raise Ambiguous(problem=text, problem_mark=name.start_mark)
            keys.add((name.tag, name.value))


def _odd_scalar(node: yaml.ScalarNode) -> str | None:
    kind, text = node.tag.rpartition(":")[2], node.value
    if kind == "bool" and text.lower() not in ("true", "false"):
        return (
            f"should be text in quotes, or true or false; {text} without quotes is a truth value in YAML 1.1"
        )
    if kind == "binary":
        return "should be text; `!!binary` is none"
    if kind in ("int", "float") and node.style is None and (problem := _odd_number(kind, text)):
        return problem
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        return "half of a surrogate pair stands for a character; write UTF-8"
    return None


def _odd_number(kind: str, text: str) -> str | None:
    if "_" in text:
        return f"should be without `_`, or text in quotes; YAML 1.2 reads {text} as text"
    if ":" in text:
        return f"should be a plain number, or text in quotes; YAML 1.1 reads {text} in base 60"
    if re.fullmatch(r"[-+]?0[\d_]+", text):
        return f"should be without leading zeros, or text in quotes; YAML 1.1 reads {text} in base 8"
    if re.search(r"(?i)inf|nan", text) or (kind == "float" and math.isinf(float(text.replace("_", "")))):
        return f"should be a finite number, not {text}"
    return None


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
    """Check a recipe given as plain values; `path` is its file, for messages and the files beside it."""
    raw = copy.deepcopy(raw)
    secrets = forbidden(raw)
    locate(raw, path.parent)
    absent = fill_in(raw)
    try:
        recipe = Recipe.model_validate(raw)
    except ValidationError as error:
        errors = [problem for problem in error.errors() if problem["loc"][-1:] != ("literal['none']",)]
        named = {problem.partition(":")[0] for problem in secrets}
        found = [problem for problem in map(explain, errors) if problem.partition(":")[0] not in named]
        problems = secrets + found + absent
    else:
        problems = secrets + loose_ends(recipe) + absent
        if not problems:
            return recipe
    raise RecipeError("\n".join(f"{path}: {problem}" for problem in problems))


def dump(recipe: Recipe) -> str:
    """The resolved recipe as YAML: every default written out."""
    plain = recipe.model_dump(mode="json")
    return yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


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
