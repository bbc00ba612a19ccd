"""lm-eval task files: our own tasks, and official ones with only the place of their data changed.

A local task includes lm-eval's packaged YAML, so prompts, filters and metrics are untouched; what changes is
`dataset_path` (files instead of the hub) and the splits for which there is no file.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from toolkit import records
from toolkit.data.reading import raw_rows
from toolkit.errors import DataError
from toolkit.recipe import Benchmark, DataSource

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
"""Task -> lm-eval's own file for it, relative to its `tasks` folder."""

OWN = Path(__file__).parent
SPLITS = ("training_split", "validation_split", "test_split", "fewshot_split")


def write_local_task(benchmark: Benchmark, folder: Path) -> None:
    """Write `<task>.yaml` and its data files into `folder`, for lm-eval to find.

    Raises:
        DataError: no task of that name can read local files, or a file cannot be read.
    """
    own = OWN / f"{benchmark.task}.yaml"
    if not own.is_file() and benchmark.task not in OFFICIAL:
        known = ", ".join([*OFFICIAL, *(file.stem for file in OWN.glob("*.yaml"))])
        raise DataError(f"benchmark {benchmark.task}: no such task for local files; known: {known}")
    include = own if own.is_file() else _lm_eval_tasks() / OFFICIAL[benchmark.task]
    files = {split: str(_data_file(benchmark, split, folder)) for split in benchmark.files}
    task: dict[str, Any] = {
        "include": str(include),
        "task": benchmark.task,
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": files},
        **_missing_splits(include, set(files)),
    }
    records.write_text(folder / f"{benchmark.task}.yaml", yaml.safe_dump(task, sort_keys=False))


def _missing_splits(include: Path, there: set[str]) -> dict[str, None]:
    """Switch off the splits of the official task for which there is no file."""
    official: dict[str, Any] = {}
    for file in (include, *_included(include)):
        official = _plain(file) | official
    return {key: None for key in SPLITS if official.get(key) and official[key] not in there}


def _included(file: Path) -> list[Path]:
    parent = _plain(file).get("include")
    return [] if parent is None else [file.parent / parent, *_included(file.parent / parent)]


def _plain(file: Path) -> dict[str, Any]:
    """A task file's keys; lm-eval's `!function` values are left as text."""

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!function", lambda loader, node: str(node.value))
    value = yaml.load(file.read_text(encoding="utf-8"), Loader)
    return dict(value)


def _lm_eval_tasks() -> Path:
    spec = importlib.util.find_spec("lm_eval")
    if spec is None or spec.origin is None:
        raise DataError("lm-eval is not installed; run `pip install lm-eval`")
    return Path(spec.origin).parent / "tasks"


def _data_file(benchmark: Benchmark, split: str, folder: Path) -> Path:
    """The split's rows with the hub set's columns, as JSONL."""
    convert = HUB_COLUMNS.get(benchmark.task, dict)
    rows = [convert(row) for _, row in raw_rows(DataSource(source=benchmark.files[split]))]
    file = folder / f"{benchmark.task}-{split}.jsonl"
    records.write_text(file, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return file


def _hellaswag(row: dict[str, Any]) -> dict[str, Any]:
    """Rows that are already lm-eval's documents (query, choices, gold) -> the hub's columns."""
    if "query" not in row:
        return row
    activity, _, context = str(row["query"]).partition(": ")
    endings = [str(choice).strip() for choice in row["choices"]]
    return {
        "activity_label": activity,
        "ctx_a": context,
        "ctx_b": "",
        "endings": endings,
        "label": str(row["gold"]),
    }


HUB_COLUMNS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {"hellaswag": _hellaswag}
