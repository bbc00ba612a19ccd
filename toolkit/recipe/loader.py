"""A YAML file -> a checked `Recipe`, and back."""

import copy
import difflib
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from toolkit import io
from toolkit.errors import RecipeError
from toolkit.metric_info import METRICS
from toolkit.recipe.external_stages import add_stages_of_other_runs
from toolkit.recipe.files import PACKAGED, existing, fill_in, locate
from toolkit.recipe.schema import Recipe, answered_data, contestants, unknown, with_fewshot_baseline


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
    add_stages_of_other_runs(raw, path, load)
    return parse(raw, path)


def _inherited(path: Path, children: tuple[Path, ...]) -> dict[str, Any]:
    """A recipe file's plain values, on top of those of the recipe it extends."""
    if path.resolve() in children:
        raise RecipeError(f"{path}: extends itself")
    raw = _read(path)
    parent = raw.get("extends")
    if not isinstance(parent, str):  # `parse` raises for anything else
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
    merged = below | above
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(key), dict):
            merged[key] = _merged(below[key], value)
    return merged


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
        "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
    )


def read_yaml(text: str, loader: type[yaml.SafeLoader] = _Loader) -> Any:
    """The value of a YAML text of plain values, strictly; a `yaml.YAMLError` where it does not parse.

    Refused, since readers differ on them: keys that are there twice, `010` (8 for some), `1:30` (90), `no`
    and the like (false), numbers that are not finite, halves of surrogate pairs.
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


DEEPEST = 50  # levels of nesting; no recipe, prompt or task file has as many
LARGEST = 100_000  # values, with those that aliases repeat


class Ambiguous(yaml.MarkedYAMLError):
    """Valid YAML that readers understand differently."""


def _check_node(node: yaml.Node, key: str, done: dict[int, int], depth: int) -> int:
    """The values in a node, itself too; `done`: nodes looked at -> their values, 0 until all were."""
    problem = None
    if id(node) in done:  # an alias
        if done[id(node)]:
            return done[id(node)]
        problem = "holds itself by an alias"
    elif depth > DEEPEST:
        key, problem = key[:60], "nested too deeply"
    elif isinstance(node, yaml.ScalarNode):
        problem = _odd_scalar(node)
    if problem:
        raise Ambiguous(problem=f"{key}: {problem}".removeprefix(": "), problem_mark=node.start_mark)
    done[id(node)], count = 0, 1
    for inner, part in _parts(node, key):
        count += _check_node(part, inner, done, depth + 1)
        if count > LARGEST:
            text = f"{key[:60]}: more than {LARGEST:,} values, with those that aliases repeat"
            raise Ambiguous(problem=text.removeprefix(": "), problem_mark=node.start_mark)
    done[id(node)] = count
    return count


def _parts(node: yaml.Node, key: str) -> Iterator[tuple[str, yaml.Node]]:
    """The nodes inside one, each with its key; keys are distinct."""
    if isinstance(node, yaml.SequenceNode):
        yield from ((f"{key}.{position}".lstrip("."), item) for position, item in enumerate(node.value))
    names: set[tuple[str, str]] = set()
    for name, value in node.value if isinstance(node, yaml.MappingNode) else ():
        inner = f"{key}.{name.value}".lstrip(".") if isinstance(name, yaml.ScalarNode) else key
        if isinstance(name, yaml.ScalarNode) and not name.tag.endswith(":merge"):
            if (name.tag, name.value) in names:
                text = f"{inner}: this key is there twice; keep one of them"
                raise Ambiguous(problem=text, problem_mark=name.start_mark)
            names.add((name.tag, name.value))
        yield from ((key, name), (inner, value))


ODD_NUMBERS = {
    "_": "should be without `_`, or text in quotes; YAML 1.2 reads {} as text",
    ":": "should be a plain number, or text in quotes; YAML 1.1 reads {} in base 60",
    r"^[-+]?0\d+$": "should be without leading zeros, or text in quotes; YAML 1.1 reads {} in base 8",
    "(?i)inf|nan": "should be a finite number, not {}",
}
"""What numbers hold that readers of YAML understand differently -> the finding's text."""


def _odd_scalar(node: yaml.ScalarNode) -> str | None:
    kind, text = node.tag.rpartition(":")[2], node.value
    if kind == "bool" and text.lower() not in ("true", "false"):
        return f"should be text in quotes, or true or false; {text} is a truth value in YAML 1.1"
    if kind == "binary":
        return "should be text; `!!binary` is none"
    if kind in ("int", "float") and node.style is None:
        for pattern, problem in ODD_NUMBERS.items():
            if re.search(pattern, text):
                return problem.format(text)
        if kind == "float" and math.isinf(float(text)):
            return ODD_NUMBERS["(?i)inf|nan"].format(text)
    if io.SURROGATE.search(text):
        return "half of a surrogate pair stands for a character; write UTF-8"
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


def with_keys(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """The recipe with other values of some keys; a `RecipeError` where a key or value does not fit."""
    raw = recipe.model_dump(mode="json")
    for key, value in values.items():
        _set(raw, key, value, Path(recipe.name), "sweep:")
    return parse(raw, Path(recipe.name))


def _set(raw: dict[str, Any], key: str, value: Any, path: Path, by: str = "--set") -> None:
    """Set a value by its dotted key; stages may be called by number or name."""
    *parents, last = key.split(".")
    if parents[:1] == ["sweep"]:  # its keys are dotted themselves
        parents, last = parents[:1], key.removeprefix("sweep.")
    place: Any = raw
    try:
        for part in parents:
            if isinstance(place, dict) and place.get(part) is None:
                place[part] = {}
            place = place[_index(place, part) if isinstance(place, list) else part]
        place[_index(place, last) if isinstance(place, list) else last] = value
    except (ValueError, IndexError, TypeError, AttributeError):
        raise RecipeError(f"{path}: {by} {key}: there is no such place in the recipe") from None


def _index(parts: list[Any], name: str) -> int:
    named = [place for place, part in enumerate(parts) if isinstance(part, dict) and part.get("name") == name]
    return named[0] if named else int(name)


PLAIN = {
    "missing": "is required",
    "tuple_type": "should be a list",
    "dict_type": "should be a mapping of keys to values",
    "model_type": "should be a mapping of keys to values",
    "string_type": "should be text; put it in quotes",
}
"""Kind of pydantic problem -> what is wrong, in the words of YAML."""

OWN_NAMES = ("data", "contestants", "scoring.benchmarks.files")
"""Sections whose keys are names of the user's own."""

UNION_MEMBERS = ("LoraOptions", "Metric", "Function", "Check", "[key]")
"""What pydantic puts into the place of a problem, and no user wrote."""

NAMES = "a name is letters, digits, `.`, `_`, `-`, at most 64, and starts with a letter or digit"


HUB = re.compile(r"hub_.*|.*_hub_repo|push_to_hub.*|output_dir|trackio_.*_id|trust_remote_code")
"""Keys by which TRL and PEFT would send a model away, write elsewhere, or run code of the hub."""

SECRET = re.compile(
    r".*api[_-]?key|.*password|passwd|.*authorization|(?:.*[_-])?(?:auth|access|hf|api|bearer|github)[_-]?token"
    r"|token|.*secret|.*private[_-]key|cookie|credentials?",
    re.I,
)
"""Keys whose values no recipe may hold: it is copied into the run, and shown."""

KEYS = re.compile(
    r"""\bsk-[A-Za-z0-9_-]{20,} | \bhf_[A-Za-z0-9]{25,} | \bA[KS]IA[0-9A-Z]{16}\b
    | \bgh[pousr]_[A-Za-z0-9]{30,} | \bgithub_pat_\w{20,} | \bxox[abprs]-[\w-]{10,} | \bAIza[\w-]{35}
    | \bglpat-[\w-]{20} | \b[rs]k_live_\w{20,}
    | \bnpm_\w{30,} | \bpypi-Ag[\w-]{16,} | \bSG\.[\w-]{16,}\.[\w-]{16,} | hooks\.slack\.com/services/T\w+/
    | -----BEGIN\ [A-Z ]*PRIVATE\ KEY----- | \beyJ[\w-]{15,}\.eyJ[\w-]{15,}\. | \bBearer\ [\w.~+/-]{20,}
    | ://[^/\s:@]{1,40}:(?!pass|pwd|secret|[<${*])[^/\s@:]{4,}@\w""",
    re.VERBOSE,
)
"""What keys of well-known services look like, and passwords in addresses."""

KEY_SIGNS = (
    *"sk- hf_ AKIA ASIA ghp_ gho_ ghu_ ghs_ _pat_ xox AIza glpat k_live_ npm_ pypi- SG. hooks.slack".split(),
    *("PRIVATE", "eyJ", "Bearer ", "://"),
)
"""Texts without one of them need not be searched."""

CREDENTIALS = re.compile(
    r"\w+://[^/\s@]*@|[?&#](?:api[_-]?key|key|(?:access_)?token|password|secret|sig"
    r"|(?:x-(?:amz|goog)-)?(?:signature|credential))=[^&\s]",
    re.I,
)


def forbidden(raw: Any, key: str = "") -> list[str]:
    """What a recipe may not hold, wherever it stands: secrets, and settings that reach beyond the run."""
    if isinstance(raw, (dict, list)):
        parts = raw.items() if isinstance(raw, dict) else enumerate(raw)
        return [problem for name, part in parts for problem in _forbidden(part, str(name), key)]
    written = "would be written into the run; name an environment variable"
    if isinstance(raw, str) and CREDENTIALS.search(raw):
        return [f"{key}: a user, key or password in a URL {written}"]
    if isinstance(raw, str) and KEYS.search(raw):
        return [f"{key}: what looks like a key {written}"]
    return []


def _forbidden(value: Any, name: str, above: str) -> list[str]:
    key = f"{above}.{name}" if above else name
    own_name = above.endswith(("messages", "rename")) or above in OWN_NAMES
    if value in (None, False, ""):
        return []
    if HUB.fullmatch(name) and not own_name:
        text = "not in a recipe; a run writes to its own folder, and only `adapter-arena push` sends it"
        return [f"{key}: {text}"]
    if SECRET.fullmatch(name) and not own_name and not isinstance(value, (dict, list)):
        mend = "put it into an environment variable (`key_env`)"
        return [f"{key}: a secret would be written into the run; {mend}"]
    return forbidden(value, key)


def explain(problem: Any) -> str:
    """One pydantic problem in one line: key, what is wrong, what to do."""
    *parents, last = problem["loc"]
    key = ".".join(str(part) for part in problem["loc"] if part not in UNION_MEMBERS)
    if last == "Function" and problem["type"] == "string_pattern_mismatch":
        return f"{key}: a metric of your own is `FILE.py:FUNCTION`, not `{problem['input']}`"
    if last == "Metric" and problem["type"] == "literal_error":
        near = difflib.get_close_matches(str(problem["input"]), METRICS, n=1)
        mend = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(METRICS)}, `FILE.py:FUNCTION`"
        return f"{key}: unknown metric `{problem['input']}`; {mend}"
    if last in ("[key]", "name") and problem["type"] == "string_pattern_mismatch":
        return f"{key}: {NAMES}"
    if last == "LoraOptions":
        return f"{key}: should be options such as `{{r: 16}}`, or `none` to train all weights"
    if problem["type"] != "extra_forbidden":
        return f"{key}: {PLAIN.get(problem['type'], problem['msg'].removeprefix('Value error, '))}"
    known = _keys_at(tuple(parents))
    close = difflib.get_close_matches(str(last), known, n=1)
    advice = f"; did you mean `{close[0]}`?" if close else f"; known keys: {', '.join(sorted(known))}"
    return f"{key}: unknown key{advice}"


def _keys_at(location: tuple[Any, ...]) -> list[str]:
    section: Any = Recipe
    for part in location:
        if isinstance(section, type) and issubclass(section, BaseModel) and part in section.model_fields:
            section = _section_of(section.model_fields[str(part)].annotation)
        elif isinstance(part, str) and part[:1].isupper():  # pydantic names the member of a union it tried
            continue
    return list(section.model_fields) if isinstance(section, type) and issubclass(section, BaseModel) else []


def _section_of(annotation: Any) -> Any:
    """The Section class inside an annotation such as `dict[str, DataSource]` or `Scoring | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _section_of(inner)
        if found is not None:
            return found
    return None


def loose_ends(recipe: Recipe) -> list[str]:
    """Names that point nowhere, and parts that need another part."""
    names, data = list(contestants(recipe)), list(recipe.data)
    problems = _loose_stages(recipe)
    needing = [f"stages.{stage.name}" for stage in recipe.stages]
    needing += [f"contestants.{name}" for name, one in contestants(recipe).items() if one.on_base]
    if needing and not recipe.base:
        problems.insert(0, f"base: is required, by {needing[0]}; name the model that it starts from")
    writers = [stage.name for stage in recipe.stages if not stage.spec.reward_model]
    for name, contestant in recipe.contestants.items():
        problems += unknown(f"contestants.{name}.stage", contestant.stage, writers, "stage")
        if contestant.shots and answered_data(recipe) is None:
            missing = "no stage learns from rows with answers, and worked examples are drawn from them"
            problems.append(f"contestants.{name}.shots: {missing}; write them into `prompt`")
    for key in ("examples", "guard", "validation") if recipe.scoring else ():
        problems += unknown(f"scoring.{key}", getattr(recipe.scoring, key), data, "data set")
    problems += _loose_validation(recipe)
    problems += _loose_sweep(recipe)
    problems += _loose_judge(recipe, names)
    return problems + _loose_arena(recipe, names)


def _loose_arena(recipe: Recipe, names: list[str]) -> list[str]:
    playing = recipe.arena.contestants
    problems = [each for name in playing for each in unknown("arena.contestants", name, names, "contestant")]
    if playing and len(set(playing)) < max(2, len(playing)):
        problems.append("arena.contestants: name two or more, each of them once")
    for pair in recipe.arena.claims:
        for name in pair:
            problems += unknown("arena.claims", name, list(playing or names), "contestant in the arena")
        if pair[0] == pair[1]:
            problems.append(f"arena.claims: {pair[0]} is against itself; name another one")
    return list(dict.fromkeys(problems))


def _loose_validation(recipe: Recipe) -> list[str]:
    """What the choices of a recipe are made on."""
    scoring = recipe.scoring
    named = scoring.validation if scoring else None
    choosing = [f"stages.{stage.name}.select" for stage in recipe.stages if stage.select]
    choosing += ["sweep"] if recipe.sweep else []
    if named is None:
        why = "the choice is made on `scoring.validation`; name a data set of examples there"
        return [f"{key}: {why}" for key in choosing]
    assert scoring is not None
    if choosing and named == scoring.examples:
        return ["scoring.validation: is the test set; choose by other examples than those reported"]
    return []


def _loose_sweep(recipe: Recipe) -> list[str]:
    """What a grid lacks, and keys of it that are none of the recipe."""
    if not recipe.sweep:
        return []
    problems = [] if recipe.stages else ["sweep: there is no stage to train; name one in `stages`"]
    for key, values in recipe.sweep.items():
        if not values:
            problems.append(f"sweep.{key}: has no value to try")
        elif any(value in values[:place] for place, value in enumerate(values)):
            problems.append(f"sweep.{key}: a value is there twice; keep one of them")
        elif not key.startswith("stages."):
            mend = "sweep keys of stages, such as stages.sft.trainer..."
            problems.append(f"sweep.{key}: is not trained; {mend}")
        for value in values if key.startswith("stages.") else ():
            try:
                with_keys(recipe.model_copy(update={"sweep": {}}), {key: value})
            except RecipeError as error:
                problems += [line.removeprefix(f"{recipe.name}: ") for line in str(error).splitlines()]
    count = math.prod(len(values) for values in recipe.sweep.values())
    if count > MOST_VARIANTS:
        problems.append(f"sweep: {count} combinations; try at most {MOST_VARIANTS}")
    return list(dict.fromkeys(problems))


MOST_VARIANTS = 64


def _loose_judge(recipe: Recipe, names: list[str]) -> list[str]:
    judge = recipe.judge
    if judge is None:
        return []
    added = list(contestants(with_fewshot_baseline(recipe)))
    problems = unknown("judge.baseline", judge.baseline, added, "contestant")
    if judge.pairs == "baseline" and judge.baseline is None:
        problems.append("judge.baseline: name the contestant that the others are compared with")
    if judge.pairs == "all" and judge.baseline in names:
        problems.append("judge.baseline: no part of `pairs: all`; say `pairs: baseline`, or leave it out")
    if len(names) == 1:
        alone = f"a battle takes two contestants, and there is only `{names[0]}`"
        problems.append(f"judge: {alone}; name another in `contestants`, or leave the judge out")
    if recipe.scoring is None:
        problems.append("judge: needs `scoring.examples`, the prompts to judge on")
    return problems


def _loose_stages(recipe: Recipe) -> list[str]:
    problems: list[str] = []
    earlier, rewarding, data = ["base"], list[str](), list(recipe.data)
    for index, stage in enumerate(recipe.stages):
        at = f"stages.{index}"
        problems += unknown(f"{at}.data", stage.data, data, "data set")
        problems += unknown(f"{at}.heldout", stage.heldout, data, "data set")
        problems += unknown(f"{at}.start", stage.start, earlier, "earlier stage")
        for name in stage.rewards:
            if "/" not in name and not existing(name):
                problems += unknown(f"{at}.rewards", name, rewarding, "earlier reward stage")
        # a reward model scores answers and writes none
        (rewarding if stage.spec.reward_model else earlier).append(stage.name)
    return problems
