"""The files a recipe names: found beside it, or where variables of the environment say."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from toolkit import io
from toolkit.metric_info import FUNCTION

PACKAGED = Path(__file__).parents[1] / "recipes"
"""Recipes and data sets that come with the package; `run demo` finds `demo.yaml` here."""

DATA_FILES = {".json", ".jsonl", ".csv", ".tsv", ".parquet", ".txt"}

BASELINES = "scoring.bertscore_rescale"

VARIABLE = re.compile(r"\$\{(\w+)\}")


def source_file(source: str) -> Path:
    """The file that a data source names, `package:...` or not; it need not be there."""
    return PACKAGED / source.removeprefix("package:") if source.startswith("package:") else Path(source)


def existing(name: str) -> Path | None:
    """The file or folder of that name, if there is one."""
    try:
        path = Path(name).expanduser()
        return path if path.exists() else None
    except (OSError, RuntimeError, ValueError):  # no file has such a name: too long, a NUL, an unknown home
        return None


def completion_files(run: Path) -> dict[str, Path]:
    """Contestant -> its completions in a run's folder; none of those that a finished run left behind."""
    files = {path.stem: path for path in sorted((run / "completions").glob("*.jsonl"))}
    summary = run / "summary.json"
    there = io.read_json(summary, kind=dict, finite=False).get("contestants", ()) if summary.is_file() else ()
    return {name: path for name, path in files.items() if name in there} or files


def locate(raw: dict[str, Any], folder: Path) -> None:
    """Make files and models beside a recipe absolute, in its plain values; `${VARIABLE}`s are left."""
    for _, holder, name in file_keys(raw):
        if not VARIABLE.search(holder[name]):
            holder[name] = _beside(folder, holder[name])
    for holder, name in _models(raw):
        there = _beside(folder, holder[name])
        # Reports call a model what the recipe does, so a name that means the same from here is left as it is.
        if there != _beside(Path(), holder[name]):
            holder[name] = there


def fill_in(raw: dict[str, Any]) -> list[str]:
    """Put the environment's variables into the names of files; gives what is not set, or not there."""
    problems = []
    for key, holder, name in file_keys(raw):
        value = holder[name]
        unset = [variable for variable in VARIABLE.findall(value) if variable not in os.environ]
        if unset:
            problems.append(f"{key}: environment variable {unset[0]} is not set (in `{value}`)")
            continue
        if VARIABLE.search(value):  # the environment's paths are the user's, from where the command is run
            holder[name] = str(Path(os.path.expandvars(value)).resolve())
        if (key == BASELINES or value.endswith(".jinja")) and not Path(holder[name]).is_file():
            other = "give a file of baselines, or `true`" if key == BASELINES else "name one that is there"
            problems.append(f"{key}: {holder[name]}: no such file; {other}")
    return problems


def file_keys(raw: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Every place that names a file, or may: its key in the recipe, the mapping it is in, the key there."""
    scoring, tasks = io.mapping(raw, "scoring"), io.mapping(raw, "scoring").get("benchmarks")
    places: list[tuple[str, Any, Any]]
    places = [(f"data.{name}", part, "source") for name, part in io.mapping(raw, "data").items()]
    for index, task in enumerate(tasks if isinstance(tasks, (list, tuple)) else ()):
        at, files = f"scoring.benchmarks.{index}", io.mapping(task, "files")
        places += [(f"{at}.files", files, split) for split in files]
        places += [(at, task, "task")] if _is_yaml(task, "task") else []
    places += [("scoring", scoring, "bertscore_rescale")]
    metrics = scoring.get("metrics")
    for index, metric in enumerate(metrics if isinstance(metrics, list) else ()):
        at = f"scoring.metrics.{index}"
        own = ("function", "json_schema") if isinstance(metric, dict) else ()
        places += [(at, metric, name) for name in own]
        places += [("scoring.metrics", metrics, index)] if ".py:" in str(metric) and not own else []
    places += [("model", io.mapping(raw, "model"), "chat_template")]
    places += [
        (f"contestants.{name}", who, "answers") for name, who in io.mapping(raw, "contestants").items()
    ]
    places += [("judge", raw["judge"], "prompt")] if _is_yaml(raw.get("judge"), "prompt") else []
    for place, holder, name in places:
        there = isinstance(holder, dict) or isinstance(name, int)
        value = (holder.get(name) if isinstance(holder, dict) else holder[name]) if there else None
        if isinstance(value, str):
            yield f"{place}.{name}", holder, name


def file_of(name: str) -> str:
    """The file of what a recipe names: that of a function, `FILE.py:NAME`, too."""
    return FUNCTION.sub(r"\1", name)


def _models(raw: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Every place that names a model: the mapping it is in, the key there."""
    contestants, judge = io.mapping(raw, "contestants"), io.mapping(raw, "judge")
    jury = judge.get("jury")
    models = [*contestants.values(), judge, *(jury if isinstance(jury, (list, tuple)) else ())]
    places = [(model, key) for model in models for key in ("model", "adapter")]
    for holder, name in [(raw, "base"), *places]:
        if isinstance(holder, dict) and isinstance(holder.get(name), str):
            yield holder, name


def _is_yaml(raw: Any, key: str) -> bool:
    """Whether a file is named, and not something packaged."""
    return isinstance(raw, dict) and str(raw.get(key)).endswith((".yaml", ".yml"))


def _beside(folder: Path, source: str) -> str:
    """The absolute path of what is named beside a recipe; hub ids and packaged data as they are."""
    if source.startswith("package:"):
        return source
    file = file_of(source)
    if file != source:
        return f"{_beside(folder, file)}{source.removeprefix(file)}"
    try:
        path = folder / Path(source).expanduser()
        is_file = path.suffix in DATA_FILES | {".yaml", ".yml", ".py"} or path.exists()
        return str(path.resolve()) if is_file else source
    except (OSError, RuntimeError, ValueError):  # as above
        return source
