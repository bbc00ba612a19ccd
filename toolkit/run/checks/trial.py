"""One training step of each stage on a tiny model: what TRL and transformers refuse only once they train."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from toolkit import distributed
from toolkit.data import Row
from toolkit.recipe import ONLINE, Recipe, Stage
from toolkit.run.checks.findings import error, info
from toolkit.run.checks.rows import Seen
from toolkit.types import Finding

SHORTEST = 3
"""Rows that are trained on: the shortest, in the smallest batch that a stage's checks let through."""

PLAIN = {
    *("learning_rate", "num_train_epochs", "max_steps", "per_device_train_batch_size", "max_length", "seed"),
    *("per_device_eval_batch_size", "gradient_accumulation_steps", "beta", "warmup_steps", "logging_steps"),
}
"""Fields of numbers that are looked at elsewhere: a stage with no others needs no trial."""

OF_THE_HARDWARE = ("bf16", "fp16", "tf32", "optim", "torch_compile", "deepspeed", "fsdp", "report_to")
"""Fields that a CPU may refuse where a GPU takes them; their values are looked at elsewhere."""


def first_steps(
    recipe: Recipe, sets: dict[str, Seen], tokenizer: Any, found: list[Finding], *, here: bool
) -> list[Finding]:
    """What stops a stage's trainer at its start or in its first step.

    Args:
        recipe: to be run; online methods, which answer while they train, are left out.
        sets: sampled rows by data set.
        tokenizer: the base's.
        found: what else was found: stages and data with an error are left out.
        here: the recipe is to be run on this machine.
    """
    bad = [finding.place for finding in found if finding.severity == "error"]
    findings = []
    for stage in recipe.stages if distributed.count() == 1 else ():
        parts = (f"stages.{stage.name}", f"data.{stage.data}", recipe.data[stage.data].source)
        tried = stage.data in sets and stage.method not in ONLINE and not stage.trainer.keys() <= PLAIN
        if not tried or any(place.startswith(parts) for place in bad):
            continue
        rows = sorted(sets[stage.data].rows, key=lambda row: len(row.model_dump_json()))[:SHORTEST]
        problem = _first_step(stage, rows, tokenizer)
        if problem:
            text = f"training would stop at its first step: {problem}"
            fix = f"mend one of {', '.join(stage.trainer)}"
            findings.append(
                (error if here else info)("first-step", f"stages.{stage.name}.trainer", text, fix)
            )
    return findings


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Without the progress bars, logs and warnings of a training that nobody asked for."""
    before = logging.root.manager.disable
    logging.disable()
    try:
        with warnings.catch_warnings(action="ignore"), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def _first_step(stage: Stage, rows: list[Row], tokenizer: Any) -> str | None:
    """Train a step on the CPU; why it cannot be done."""
    import torch
    from accelerate.state import AcceleratorState
    from peft import LoraConfig
    from transformers import LlamaConfig, LlamaForCausalLM, PrinterCallback

    from toolkit.models.hardware import Hardware
    from toolkit.train.base import Base
    from toolkit.train.methods import build_trainer

    kept = {name: value for name, value in stage.trainer.items() if name not in OF_THE_HARDWARE}
    tried = stage.model_copy(update={"trainer": kept | {"max_steps": 1, "save_strategy": "no"}})
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    shape = LlamaConfig(
        vocab_size=len(tokenizer), num_key_value_heads=2, pad_token_id=tokenizer.pad_token_id, **sizes
    )
    hardware = Hardware(torch.device("cpu"), torch.float32, "eager")
    try:
        with torch.random.fork_rng(devices=()), tempfile.TemporaryDirectory() as folder, _silence():
            task = "SEQ_CLS" if stage.method == "reward" else "CAUSAL_LM"
            adapter = (
                None
                if stage.adapter == "none"
                else LoraConfig(r=2, target_modules="all-linear", task_type=task)
            )
            model = LlamaForCausalLM(shape)
            path = Path(folder)
            base = Base(
                "",
                path,
                "",
                model,
                copy.deepcopy(tokenizer),
                hardware,
                hardware,
                "none",
                adapter,
                None,
                False,
            )
            trainer = build_trainer(tried)(
                base, tried, rows, rows, {"output_dir": folder, "report_to": "none"}
            )
            base.start(trainer.model)
            trainer.remove_callback(PrinterCallback)
            trainer.train()
            trainer.evaluate()
    except Exception as problem:  # noqa: BLE001 - of libraries, on any of their fields
        return f"{type(problem).__name__}: {' '.join(str(problem).split())[:300]}"
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
    return None
