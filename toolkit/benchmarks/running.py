"""lm-eval behind one function, on a model that is already in memory."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lm_eval
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from toolkit import records
from toolkit.benchmarks.results import scores_of
from toolkit.benchmarks.tasks import write_local_task
from toolkit.errors import ModelError
from toolkit.models import Loaded
from toolkit.recipe import Benchmark
from toolkit.types import Score

logger = logging.getLogger(__name__)

BATCH = 8


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

    Args:
        loaded: the model, with `adapter` attached.
        benchmarks: tasks, from local files where they are named, else from the hub.
        contestant: name in the scores.
        adapter: the adapter to switch on; `None` is the bare base.
        out: file of the results, one lm-eval result with all tasks.
        seed: for sampling few-shot examples.

    Raises:
        DataError: a task or a file is not there.
        ModelError: the hub was needed and could not be reached.
    """
    merged: dict[str, Any] = {}
    with loaded.using(adapter) as model, tempfile.TemporaryDirectory() as folder:
        lm = HFLM(pretrained=model, tokenizer=loaded.tokenizer, batch_size=BATCH)
        for benchmark in benchmarks:
            logger.info("%s: benchmark %s", contestant, benchmark.task)
            found = _evaluate(lm, benchmark, Path(folder), seed)
            found.pop("samples", None)
            for key, value in found.items():
                merged[key] = merged[key] | value if isinstance(merged.get(key), dict) else value
    merged["model_name"] = contestant
    records.write_json(out, json.loads(json.dumps(merged, default=str)))
    return scores_of(out, contestant)


def _evaluate(lm: HFLM, benchmark: Benchmark, folder: Path, seed: int) -> dict[str, Any]:
    if benchmark.files:
        write_local_task(benchmark, folder)
        manager = TaskManager(include_path=str(folder), include_defaults=False)
    else:
        manager = TaskManager()
    try:
        found = lm_eval.simple_evaluate(
            model=lm,
            tasks=[benchmark.task],
            task_manager=manager,
            num_fewshot=benchmark.num_fewshot,
            limit=benchmark.limit,
            apply_chat_template=benchmark.chat_template,
            random_seed=seed,
            numpy_random_seed=seed,
            torch_random_seed=seed,
            fewshot_random_seed=seed,
            log_samples=False,
        )
    except (ConnectionError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(
            f"benchmark {benchmark.task}: the hub cannot be reached: {reason}; name local files"
        ) from error
    return dict(found)
