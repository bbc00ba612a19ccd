"""lm-eval behind one function, on a model that is already in memory."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import evaluate
import lm_eval
from lm_eval.tasks import TaskManager
from lm_eval.utils import handle_non_serializable, sanitize_list

from toolkit import compat, io, sandbox
from toolkit.benchmarks.lm_eval_model import LoadedLM
from toolkit.benchmarks.results import scores_of
from toolkit.benchmarks.task_files import (
    OWN,
    check_leave,
    has_local_rows,
    lm_eval_tasks,
    needs_leave,
    task_name,
    write_local_tasks,
)
from toolkit.errors import DataError, ModelError
from toolkit.models import Loaded
from toolkit.recipe import Benchmark
from toolkit.types import Score

logger = logging.getLogger(__name__)

BOOTSTRAP = 1000
"""Resamples for the standard errors that lm-eval has no formula for (f1, mcc)."""

LM_EVALS = 1234
"""lm-eval's own seed of few-shot examples; seed 0 stands for it, and asks what its command asks."""

OF_THE_MACHINE = ("pretty_env_info", "git_hash", "upper_git_hash")
"""Fields of lm-eval's results that are left out."""


def run_benchmarks(
    loaded: Loaded,
    benchmarks: Sequence[Benchmark],
    *,
    contestant: str,
    adapter: str | None = None,
    out: Path,
    seed: int = 0,
) -> list[Score]:
    """Run lm-eval's tasks on a contestant and keep its results in lm-eval's own JSON format.

    Every answer is logged in lm-eval's format too, `samples_<task>.jsonl` in a folder beside `out`.

    Args:
        loaded: the model, with `adapter` attached.
        benchmarks: tasks, from local files where they are named, else from the hub.
        contestant: name in the scores.
        adapter: the adapter to switch on; `None` is the bare base.
        out: file of the results, one lm-eval result with all tasks.
        seed: for sampling few-shot examples and answers.

    Raises:
        DataError: a task or a file is not there or unreadable, or a task would run code and may not.
        ModelError: the hub was needed and could not be reached.
    """
    for benchmark in benchmarks:
        check_leave(benchmark)
    merged: dict[str, Any] = {}
    with loaded.using(adapter), tempfile.TemporaryDirectory() as folder:
        lm = LoadedLM(loaded, seed=seed)
        for number, benchmark in enumerate(benchmarks):
            lm.work = f"{contestant}: benchmark {benchmark.task}"
            logger.info(lm.work)
            found = _evaluate(lm, benchmark, Path(folder) / str(number), seed)
            _log_samples(found.pop("samples", {}), out.with_suffix(""))
            _merge(merged, _without_machine(found, Path(folder) / str(number)), benchmark)
    merged["model_name"] = contestant
    merged["config"]["model"] = loaded.name
    io.write_json(out, merged)
    return scores_of(out, contestant)


def _check_code(benchmark: Benchmark, tasks: Mapping[str, Any]) -> None:
    """Refuse tasks that run the model's code without leave, or elsewhere than in our sandbox.

    Raises:
        DataError: one does.
    """
    for name, task in tasks.items():
        if not getattr(task, "UNSAFE_CODE", False):
            continue
        if not benchmark.allow_code_execution:
            raise needs_leave(benchmark)
        metrics = [each.get("metric") for each in task.config.metric_list or ()]
        scoring = [getattr(part, "__globals__", {}) for part in (*metrics, task.config.process_results)]
        known = [value for each in scoring for value in each.values()]
        if not any(value is sandbox or isinstance(value, sandbox.CodeEval) for value in known):
            raise DataError(
                f"benchmark {benchmark.task}: {name} runs the model's code by means of its own, outside of "
                "the sandbox; leave it out"
            )


@contextmanager
def _code_in_sandbox(benchmark: Benchmark, manager: TaskManager) -> Iterator[None]:
    """Have `evaluate`'s metric `code_eval` run in our sandbox, and tasks checked as they are loaded."""
    load_metric, load_tasks = evaluate.load, manager.load

    def load(path: str, *args: Any, **options: Any) -> Any:
        if Path(path).stem != "code_eval":
            return load_metric(path, *args, **options)
        if not benchmark.allow_code_execution:
            raise needs_leave(benchmark)
        return sandbox.CodeEval()

    def load_checked(*args: Any, **options: Any) -> Any:
        found = load_tasks(*args, **options)
        _check_code(benchmark, found["tasks"])
        return found

    evaluate.load, manager.load = load, load_checked
    try:
        yield
    finally:
        evaluate.load, manager.load = load_metric, load_tasks


def _evaluate(lm: LoadedLM, benchmark: Benchmark, folder: Path, seed: int) -> dict[str, Any]:
    if has_local_rows(benchmark):
        write_local_tasks(benchmark, folder)
        manager = TaskManager(include_path=str(folder), include_defaults=False)
    else:
        manager = _all_tasks()
    try:
        with compat.quiet_lm_eval(), _code_in_sandbox(benchmark, manager):
            found = lm_eval.simple_evaluate(
                model=lm,
                tasks=[task_name(benchmark.task)],
                task_manager=manager,
                num_fewshot=benchmark.num_fewshot,
                limit=benchmark.limit,
                apply_chat_template=benchmark.chat_template,
                random_seed=seed,
                numpy_random_seed=seed + LM_EVALS,
                torch_random_seed=seed + LM_EVALS,
                fewshot_random_seed=seed + LM_EVALS,
                bootstrap_iters=BOOTSTRAP,
                confirm_run_unsafe_code=benchmark.allow_code_execution,
            )
    except OSError as error:
        if error.filename:  # a file of this machine: unreadable, or no room on the disk
            raise DataError(f"benchmark {benchmark.task}: {error.filename}: {error.strerror}") from error
        reason = str(error).splitlines()[0]
        raise ModelError(
            f"benchmark {benchmark.task}: the hub cannot be reached: {reason}; name local files"
        ) from error
    except KeyError as error:
        raise DataError(
            f"benchmark {benchmark.task}: no such task, or a column is missing: {error}"
        ) from error
    return dict(found)


@cache
def _all_tasks() -> TaskManager:
    """lm-eval's index of all its tasks and ours; takes several seconds to make."""
    return TaskManager(include_path=str(OWN))


def _without_machine(found: dict[str, Any], folder: Path) -> dict[str, Any]:
    """As plain JSON, without paths, environment and git state of this machine."""
    kept = {key: value for key, value in found.items() if key not in OF_THE_MACHINE}
    text = json.dumps(kept, default=handle_non_serializable)
    for place, name in ((folder, ""), (lm_eval_tasks(), "lm_eval/tasks/"), (OWN, "")):
        text = text.replace(json.dumps(f"{place}{os.sep}")[1:-1], name)
    return dict(json.loads(text))


def _merge(merged: dict[str, Any], found: dict[str, Any], benchmark: Benchmark) -> None:
    """Add one benchmark's result to those before it; `configs` says whether the chat template was on."""
    for config in found.get("configs", {}).values():
        config["metadata"] = dict(config.get("metadata") or {}) | {"chat_template": benchmark.chat_template}
    for key, value in found.items():
        whole = merged.get(key)
        merged[key] = whole | value if isinstance(whole, dict) and isinstance(value, dict) else value


def _log_samples(samples: dict[str, list[dict[str, Any]]], folder: Path) -> None:
    """One file a task, one line a question (and filter), as lm-eval's own `--log_samples` writes them."""
    for task, rows in samples.items():
        lines = [json.dumps(_plain(row), default=handle_non_serializable, ensure_ascii=False) for row in rows]
        io.write_text(folder / f"samples_{task}.jsonl", "".join(line + "\n" for line in lines))


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    asked = {
        f"gen_args_{i}": {f"arg_{j}": part for j, part in enumerate(arguments)}
        for i, arguments in enumerate(row["arguments"])
    }
    said = {key: sanitize_list(row[key]) for key in ("resps", "filtered_resps")}
    return row | said | {"arguments": asked, "target": str(row["target"])}
