"""lm-eval behind one function, on a model that is already in memory."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import lm_eval
from lm_eval.tasks import TaskManager
from lm_eval.utils import handle_non_serializable, sanitize_list

from toolkit import compat, io, sandbox
from toolkit.benchmarks import task_files
from toolkit.benchmarks.lm_eval_model import LoadedLM
from toolkit.benchmarks.results import merge_results, scores_of
from toolkit.errors import DataError, ModelError, ToolkitError, first_line
from toolkit.metrics.checks import describe_error, importing_beside
from toolkit.models import Loaded
from toolkit.recipe import Benchmark
from toolkit.types import Score

logger = logging.getLogger(__name__)

BOOTSTRAP = 1000  # resamples for the standard errors that lm-eval has no formula for (f1, mcc)

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
    """Run lm-eval's tasks on a contestant and keep its results in lm-eval's own JSON format, in `out`.

    Every answer is logged in lm-eval's format too, `samples_<task>.jsonl` in a folder beside `out`. `seed` is
    that of few-shot examples and of answers.

    Raises:
        DataError: a task or a file is not there or unreadable, or a task would run code and may not.
        ModelError: the hub was needed and could not be reached.
    """
    for benchmark in benchmarks:
        task_files.check_leave(benchmark)
    merged: dict[str, Any] = {}
    with loaded.using(adapter), tempfile.TemporaryDirectory() as folder:
        lm = LoadedLM(loaded, seed=seed)
        for number, benchmark in enumerate(benchmarks):
            lm.work = f"{contestant}: benchmark {benchmark.task}"
            logger.info(lm.work)
            local = Path(folder) / str(number)
            found = _evaluate(lm, benchmark, local, seed)
            for task, rows in found.pop("samples", {}).items():  # as lm-eval's own `--log_samples`
                file = out.with_suffix("") / f"samples_{task}.jsonl"
                io.write_rows(file, map(_sample, rows), handle_non_serializable)
            found = _without_machine(found, local)
            for config in found.get("configs", {}).values():
                metadata = dict(config.get("metadata") or {})
                config["metadata"] = metadata | {"chat_template": benchmark.chat_template}
            merge_results(merged, found)
    merged["model_name"] = contestant
    merged["config"]["model"] = loaded.name
    io.write_json(out, merged)
    return scores_of(out, contestant)


def render_first(benchmark: Benchmark) -> None:
    """Load a task with local rows, build its first question's requests; a `DataError` where that fails."""
    with tempfile.TemporaryDirectory() as folder, _readable(benchmark), _quiet(benchmark):
        tasks = _manager(benchmark, Path(folder)).load([task_files.task_name(benchmark.task)])["tasks"]
        for name, task in tasks.items():
            doc = next(iter(task.eval_docs), None)
            if doc is None:
                raise DataError(f"benchmark {benchmark.task}: there is no question in its split")
            shown = task.config.num_fewshot if benchmark.num_fewshot is None else benchmark.num_fewshot
            prompt = task.fewshot_context(doc, num_fewshot=shown or 0, gen_prefix=task.doc_to_prefix(doc))
            task.construct_requests(doc=doc, ctx=prompt, metadata=(name, 0, 1))


@contextmanager
def _readable(benchmark: Benchmark) -> Iterator[None]:
    """Errors in a task's file, functions and rows in one line; its functions may import files beside it."""
    place = f"benchmark {benchmark.task}"
    try:
        if task_files.is_file(benchmark.task):
            with importing_beside(Path(benchmark.task)):
                yield
        else:
            yield
    except (ToolkitError, MemoryError):
        raise
    except OSError as error:
        if error.filename:  # a file of this machine: unreadable, or no room on the disk
            raise DataError(f"{place}: {error.filename}: {error.strerror}") from error
        reason = first_line(error)
        raise ModelError(f"{place}: the hub cannot be reached: {reason}; name local files") from error
    except Exception as error:
        if task_files.is_file(benchmark.task):
            raise DataError(f"{place}: {describe_error(error)}") from error
        if isinstance(error, KeyError):
            raise DataError(f"{place}: no such task, or a column is missing: {error}") from error
        raise


def _quiet(benchmark: Benchmark) -> AbstractContextManager[None]:
    """lm-eval without its output, and with `evaluate`'s metrics, `code_eval` in our sandbox."""

    def load_metric(load: Callable[..., Any], path: str, *args: Any, **options: Any) -> Any:
        if Path(path).stem != "code_eval":
            return load(path, *args, **options)
        if not benchmark.allow_code_execution:
            raise task_files.needs_leave(benchmark)
        return sandbox.CodeEval()

    return compat.quiet_lm_eval(load_metric)


def _manager(benchmark: Benchmark, folder: Path) -> _Tasks:
    if task_files.has_local_rows(benchmark):
        task_files.write_local_tasks(benchmark, folder)
        manager = _Tasks(include_path=str(folder), include_defaults=False)
    else:
        manager = _all_tasks()
    manager.benchmark = benchmark
    return manager


def _evaluate(lm: LoadedLM, benchmark: Benchmark, folder: Path, seed: int) -> dict[str, Any]:
    manager = _manager(benchmark, folder)
    with _readable(benchmark), _quiet(benchmark):
        found = lm_eval.simple_evaluate(
            model=lm,
            tasks=[task_files.task_name(benchmark.task)],
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
    return dict(found)


class _Tasks(TaskManager):  # type: ignore[misc]  # lm-eval is untyped
    """lm-eval's tasks; those that run the model's code need leave, and our sandbox."""

    benchmark: Benchmark

    def load(self, *args: Any, **options: Any) -> Any:
        """As lm-eval's own; a `DataError` where a task would run code and may not."""
        found = super().load(*args, **options)
        for name, task in found["tasks"].items():
            if not getattr(task, "UNSAFE_CODE", False):
                continue
            if not self.benchmark.allow_code_execution:
                raise task_files.needs_leave(self.benchmark)
            metrics = [each.get("metric") for each in task.config.metric_list or ()]
            scoring = [getattr(part, "__globals__", {}) for part in (*metrics, task.config.process_results)]
            known = [value for each in scoring for value in each.values()]
            if not any(value is sandbox or isinstance(value, sandbox.CodeEval) for value in known):
                text = f"benchmark {self.benchmark.task}: {name} runs the model's code by means of its own"
                raise DataError(f"{text}, outside of the sandbox; leave it out")
        return found


@cache
def _all_tasks() -> _Tasks:
    """lm-eval's index of all its tasks and ours; takes several seconds to make."""
    return _Tasks(include_path=str(task_files.OWN))


def _without_machine(found: dict[str, Any], folder: Path) -> dict[str, Any]:
    """As plain JSON, without paths, environment and git state of this machine."""
    kept = {key: value for key, value in found.items() if key not in OF_THE_MACHINE}
    text = json.dumps(kept, default=handle_non_serializable)
    for place, name in ((folder, ""), (task_files.lm_eval_tasks(), "lm_eval/tasks/"), (task_files.OWN, "")):
        text = text.replace(json.dumps(f"{place}{os.sep}")[1:-1], name)
    return dict(json.loads(text))


def _sample(row: dict[str, Any]) -> dict[str, Any]:
    calls = [{f"arg_{place}": part for place, part in enumerate(call)} for call in row["arguments"]]
    arguments = {f"gen_args_{number}": call for number, call in enumerate(calls)}
    replies = {key: sanitize_list(row[key]) for key in ("resps", "filtered_resps")}
    return row | replies | {"arguments": arguments, "target": str(row["target"])}
