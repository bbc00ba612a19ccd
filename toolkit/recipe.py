"""One YAML file -> a frozen `Recipe`: base model, data, stages, contestants, how to score, judge and arena.

All mistakes are listed at once, each with its key and, for unknown keys, the nearest known one. Where a
recipe is silent the defaults below hold; their docstrings are the reference of recipe keys.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from toolkit.errors import RecipeError
from toolkit.types import Message

PACKAGED = Path(__file__).parent / "recipes"
"""Recipes and data sets that come with the package; `run demo` finds `demo.yaml` here."""

DATA_FILES = {".json", ".jsonl", ".csv", ".parquet", ".txt"}

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
"""Names become file names: letters, digits, `.`, `_`, `-`; at most 64."""

Method = Literal["text", "sft", "dpo", "orpo", "kto", "reward", "rloo", "grpo"]

ONLINE = ("rloo", "grpo")
"""Methods that answer prompts while they train, and learn from the rewards of their answers."""

Format = Literal[
    "auto", "messages", "sharegpt", "alpaca", "prompt_completion", "preference", "unpaired", "text"
]

Metric = Literal["perplexity", "rouge", "bleu", "chrf", "ter", "bertscore", "exact_match", "length"]


class Section(BaseModel):
    """Base of every part of a recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class ModelOptions(Section):
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps`."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto`: bfloat16 where the hardware is fast at it, else float16 on CUDA, else float32."""
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2"] = "auto"
    quantization: Literal["none", "nf4", "int8"] = "none"
    """`nf4`: 4-bit weights with double quantisation, as QLoRA."""
    revision: str | None = None
    """Commit or tag of a hub model."""
    chat_template: str | None = None
    """For a base without one: a Jinja file, or the model (hub id or folder) whose template to use."""


class DataSource(Section):
    source: str
    """A file (`.json`, `.jsonl`, `.csv`, `.parquet`), a hub data set id, or `package:...` for data shipped
    with the package. Relative files are looked for beside the recipe; `${VARIABLE}` is taken from the
    environment."""
    subset: str | None = None
    """Configuration name of a hub data set."""
    split: str = "train"
    format: Format = "auto"
    filter: str | None = None
    """Rows to keep, e.g. `status != "tie" and chosen_score >= 8`. Parsed, never evaluated as code."""
    rename: dict[str, str] = {}
    """Column names of the data -> the names expected."""
    shuffle: bool = False
    """Shuffle with the recipe's seed, before `limit`."""
    limit: int | None = Field(default=None, ge=1)
    """Use at most this many rows."""
    skip_bad_rows: bool = False
    """Leave out rows that do not fit and count them, instead of stopping at the first."""


class LoraOptions(Section):
    """Fields of the PEFT configuration class; unknown ones are passed through to it."""

    model_config = ConfigDict(frozen=True, extra="allow", use_attribute_docstrings=True)

    type: Literal["lora", "ia3", "adalora", "adaption_prompt", "prompt", "prefix"] = "lora"
    r: int = Field(default=16, ge=1)
    alpha: int | None = None
    """Scaling numerator; twice `r` when left out."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: str | list[str] = "all-linear"


class Stage(Section):
    name: Name
    method: Method
    data: str
    """A name from `data`."""
    heldout: str | None = None
    """A name from `data` to measure on; without it `heldout_share` of the rows are held out."""
    heldout_share: float = Field(default=0.05, ge=0, lt=1)
    start: str = "base"
    """`base`, or the name of an earlier stage to train on top of."""
    adapter: LoraOptions | Literal["none"] = LoraOptions()
    """`none`: train all weights."""
    trainer: dict[str, Any] = {}
    """Fields of the TRL configuration class of the method, passed through (`learning_rate`, `beta` ...)."""
    rewards: dict[str, float] = {}
    """Of `rloo` and `grpo`: reward model -> weight. A reward model is an earlier `reward` stage, or a folder
    or hub id of a sequence classifier with one output."""

    @model_validator(mode="after")
    def rewards_where_needed(self) -> Stage:
        if self.method in ONLINE and not self.rewards:
            raise ValueError(f"{self.method} needs `rewards`, such as {{helpful: 1.0, safe: 0.5}}")
        if self.rewards and self.method not in ONLINE:
            raise ValueError(f"`rewards` are for {' and '.join(ONLINE)}, not for {self.method}")
        return self


class Endpoint(Section):
    url: str = Field(pattern=r"^https?://")
    """Base URL of an OpenAI-compatible server, up to and including `/v1`."""
    model: str
    key_env: str | None = None
    """Name of the environment variable that holds the API key."""
    concurrency: int = Field(default=8, ge=1, le=512)
    timeout: float = Field(default=120.0, gt=0)
    """Seconds for one request."""
    parameters: dict[str, Any] = {}
    """Further fields of every request, in place of ours where they have the same name; `null` leaves one out
    (`{max_tokens: null, max_completion_tokens: 512}`)."""


class Contestant(Section):
    stage: str | None = None
    """Name of a stage: base + its chain of adapters. Left out, with `model` and `endpoint`: the bare base."""
    model: str | None = None
    """Another model: hub id, folder, GGUF file or packaged name."""
    endpoint: Endpoint | None = None
    prompt: tuple[Message, ...] = ()
    """Messages put before every example: a system turn, worked examples."""

    @model_validator(mode="after")
    def one_kind(self) -> Contestant:
        if sum(part is not None for part in (self.stage, self.model, self.endpoint)) > 1:
            raise ValueError("give only one of stage, model, endpoint")
        return self


class Generation(Section):
    max_new_tokens: int = Field(default=256, ge=1)
    temperature: float = Field(default=0.0, ge=0)
    """0: greedy."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    stop: tuple[str, ...] = ()
    batch_size: int = Field(default=16, ge=1)


class Benchmark(Section):
    task: str
    """An lm-eval task or group, one of the names with local files (`gsm8k`, `hellaswag`, `mmlu` ...), or a
    task file (`.yaml`) of your own, found beside the recipe."""
    files: dict[str, str] = {}
    """Split -> local file with the hub set's columns; with none the hub is asked."""
    num_fewshot: int | None = Field(default=None, ge=0)
    limit: int | None = Field(default=None, ge=1)
    chat_template: bool = False
    """Wrap the prompts in the model's chat template."""
    allow_code_execution: bool = False
    """For tasks such as `humaneval`: run the code the model writes, in a sandbox."""


class Scoring(Section):
    examples: str
    """A name from `data`: the held-out prompts with references."""
    generation: Generation = Generation()
    metrics: tuple[Metric, ...] = ("perplexity", "rouge", "bleu", "chrf", "bertscore")
    bertscore_model: str = "all-minilm-l6-v2"
    """Encoder of BERTScore: the packaged one, a folder, or a hub id such as `roberta-large`."""
    benchmarks: tuple[Benchmark, ...] = ()


class Judge(Section):
    model: str | None = None
    """Hub id, folder, GGUF file or packaged name; left out, the recipe's base judges."""
    endpoint: Endpoint | None = None
    method: Literal["logits", "written", "reward"] = "logits"
    """`logits`: read the verdict from the next-token probabilities; `written`: parse a reply, the one method
    of an endpoint; `reward`: `model` is a reward model's folder, and the higher reward wins."""
    prompt: str = "pairwise"
    """A packaged judge prompt, or a file of your own."""
    pairs: Literal["all", "baseline"] = "all"
    baseline: str | None = None
    """With `pairs: baseline`: the contestant every other one is compared with."""
    reference: bool = False
    """Show the judge the reference answer."""
    rule: Literal["agreement", "average"] = "agreement"
    """How two orders make a vote. `agreement`: the same winner in both, else a tie. `average`: the mean of
    the probabilities decides, which also hears a judge that always leans to one side."""
    limit: int | None = Field(default=None, ge=1)
    """Judge at most this many examples per pair."""
    budget: int | None = Field(default=None, ge=1)
    """Judge at most this many battles in all, spread evenly over pairs and categories."""


class ArenaOptions(Section):
    contestants: tuple[str, ...] = ()
    """Who takes part; left out, everyone."""
    pairing: Literal["uniform", "active"] = "active"
    goal: int = Field(default=100, ge=1)
    """Votes wanted per pair."""


class Recipe(Section):
    """Everything about a run: what is trained, who competes, how it is scored and judged."""

    extends: str | None = Field(default=None, exclude=True)
    """Another recipe to start from, a file beside this one or a packaged name. Mappings are merged key by
    key; lists and single values are replaced, and `null` takes a section away."""
    name: Name
    base: str
    """Hub id, local folder, GGUF file, or a packaged model's short name."""
    seed: int = 0
    model: ModelOptions = ModelOptions()
    data: dict[Name, DataSource] = {}
    stages: tuple[Stage, ...] = ()
    contestants: dict[Name, Contestant] = {}
    """Left out: `base` and one contestant per stage."""
    scoring: Scoring | None = None
    judge: Judge | None = None
    arena: ArenaOptions = ArenaOptions()

    @field_validator("stages")
    @classmethod
    def distinct_stages(cls, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
        names = [stage.name for stage in stages]
        twice = sorted({name for name in names if names.count(name) > 1 or name == "base"})
        if twice:
            raise ValueError(f"stage names must be distinct and not `base`: {', '.join(twice)}")
        return stages

    def stage(self, name: str) -> Stage:
        """The stage of this name.

        Raises:
            RecipeError: there is none; the nearest name is told.
        """
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise RecipeError(_unknown(self.name, name, [stage.name for stage in self.stages], "stage")[0])

    def chain(self, name: str) -> list[Stage]:
        """The stages from the base up to and including `name`, in training order."""
        stages: list[Stage] = []
        while name != "base":
            stages.insert(0, self.stage(name))
            name = stages[0].start
        return stages

    def needed(self, name: str) -> list[str]:
        """The stages to train for stage `name`: its chain, and the reward models that it learns from."""
        ours = {stage.name for stage in self.stages}
        chain = self.chain(name)
        rewards = [reward for part in chain for reward in part.rewards if reward in ours]
        return [part for reward in rewards for part in self.needed(reward)] + [part.name for part in chain]


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
        problems = [_explain(problem) for problem in told]
    else:
        problems = _loose_ends(recipe)
        if not problems:
            return _with_files(recipe, path)
    raise RecipeError("\n".join(f"{path}: {problem}" for problem in problems))


def dump(recipe: Recipe) -> str:
    """The resolved recipe as YAML: every default written out."""
    plain = recipe.model_dump(mode="json")
    return yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def fingerprint(*values: Any) -> str:
    """16 hex digits that change when any of the values (plain JSON values or recipe sections) does."""
    plain = [v.model_dump(mode="json") if isinstance(v, BaseModel) else v for v in values]
    text = json.dumps(plain, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


PLAIN = {
    "missing": "is required",
    "tuple_type": "should be a list",
    "dict_type": "should be a mapping of keys to values",
    "model_type": "should be a mapping of keys to values",
    "string_type": "should be text; put it in quotes",
}
"""Kind of pydantic problem -> what is wrong, in the words of YAML."""


def _explain(problem: Any) -> str:
    """One pydantic problem in one line: key, what is wrong, what to do."""
    *parents, last = problem["loc"]
    key = ".".join(str(part) for part in problem["loc"] if part not in ("LoraOptions", "[key]"))
    if last == "[key]":
        return (
            f"{key}: a name is letters, digits, `.`, `_`, `-`, at most 64, and starts with a letter or digit"
        )
    if last == "LoraOptions":
        return f"{key}: should be options such as `{{r: 16}}`, or `none` to train all weights"
    if problem["type"] != "extra_forbidden":
        return f"{key}: {PLAIN.get(problem['type'], problem['msg'].removeprefix('Value error, '))}"
    known = _keys_at(tuple(parents))
    close = difflib.get_close_matches(str(last), known, n=1)
    advice = f"; did you mean `{close[0]}`?" if close else f"; known keys: {', '.join(sorted(known))}"
    return f"{key}: unknown key{advice}"


def _keys_at(location: tuple[Any, ...]) -> list[str]:
    """The keys the section at this place of a recipe may have."""
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


def _loose_ends(recipe: Recipe) -> list[str]:
    """Names that point nowhere, and parts that need another part."""
    stages = [stage.name for stage in recipe.stages if stage.method != "reward"]
    players = list(contestants(recipe))
    problems = _loose_stages(recipe)
    for name, contestant in recipe.contestants.items():
        problems += _unknown(f"contestants.{name}.stage", contestant.stage, stages, "stage")
    if recipe.scoring:
        problems += _unknown("scoring.examples", recipe.scoring.examples, list(recipe.data), "data set")
    if recipe.judge:
        problems += _unknown("judge.baseline", recipe.judge.baseline, players, "contestant")
        if recipe.judge.pairs == "baseline" and recipe.judge.baseline is None:
            problems.append("judge.baseline: name the contestant that the others are compared with")
        if recipe.scoring is None:
            problems.append("judge: needs `scoring.examples`, the prompts to judge on")
    for name in recipe.arena.contestants:
        problems += _unknown("arena.contestants", name, players, "contestant")
    return problems


def _loose_stages(recipe: Recipe) -> list[str]:
    problems, earlier = [], ["base"]
    for index, stage in enumerate(recipe.stages):
        at = f"stages.{index}"
        problems += _unknown(f"{at}.data", stage.data, list(recipe.data), "data set")
        problems += _unknown(f"{at}.heldout", stage.heldout, list(recipe.data), "data set")
        problems += _unknown(f"{at}.start", stage.start, earlier, "earlier stage")
        if stage.method != "reward":  # a reward model scores answers and writes none
            earlier.append(stage.name)
    return problems


def _unknown(key: str, name: str | None, known: list[str], what: str) -> list[str]:
    """No problem, or one: the key names something that is not there."""
    if name is None or name in known:
        return []
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean `{close[0]}`?" if close else f"known: {', '.join(known) or 'none'}"
    return [f"{key}: no {what} is named `{name}`; {hint}"]


def contestants(recipe: Recipe) -> dict[str, Contestant]:
    """Who competes: as the recipe names them, or the base and every stage that writes answers."""
    if recipe.contestants:
        return dict(recipe.contestants)
    writers = [stage.name for stage in recipe.stages if stage.method != "reward"]
    return {"base": Contestant()} | {name: Contestant(stage=name) for name in writers}


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
        updates["scoring"] = recipe.scoring.model_copy(update={"benchmarks": tuple(tasks)})
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
