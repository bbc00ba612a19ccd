"""Steps and estimated memory of each stage; a trial of the first step."""

import contextlib
import copy
import io
import logging
import re
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from toolkit import compat, distributed
from toolkit.data import Row
from toolkit.errors import DataError
from toolkit.recipe import Recipe, Stage
from toolkit.run.checks import error, info, warning
from toolkit.run.checks.rows import Seen
from toolkit.run.checks.template import Tokens
from toolkit.run.checks.trainer_fields import steps
from toolkit.train.memory import TIGHT, Machine, estimate, needs_checkpointing, this_machine
from toolkit.train.methods import settings
from toolkit.types import Finding

GPUS = {
    "t4": 16, "v100": 32, "l4": 24, "a10": 24, "3090": 24, "4090": 24, "5090": 32, "l40s": 48, "a6000": 48,
    "a100-40": 40, "a100": 80, "h100": 80, "h200": 141, "b200": 180,
}  # fmt: skip
"""Name -> GB that it has."""


def machine(name: str | None) -> Machine:
    """A GPU by name (`a100`) or size (`24GB`), by default what is here; a `DataError` for other names."""
    if name is None:
        return this_machine()
    size = re.fullmatch(r"(\d+)\s*(gb?)?", name.lower())
    if name.lower() in GPUS:
        return Machine(name, GPUS[name.lower()] * 1e9)
    if size:
        return Machine(f"a {size[1]} GB GPU", int(size[1]) * 1e9)
    raise DataError(f"--gpu {name}: not a GPU known here; use {', '.join(GPUS)}, or a size such as 24GB")


def memory(
    recipe: Recipe, sets: dict[str, Seen], tokens: Tokens, shape: Any, target: Machine
) -> Iterator[Finding]:
    """Steps and memory of every stage; `shape` as `dry_run.shape_of` gives it."""
    for stage in recipe.stages:
        if stage.taken_from:
            continue
        place, about = f"stages.{stage.name}", []
        if stage.data in sets:
            plan = steps(stage, sets[stage.data].count, recipe.processes)
            about.append("{rows} rows, {epochs:.3g} epochs, batches of {batch}: {steps} steps".format(**plan))
            yield from _plan_problems(stage, plan)
        if shape is not None:
            longest = max((len(row.input_ids) for _, row in tokens.get(stage.name, [])), default=None)
            needed = estimate(recipe, stage, shape, target, longest)
            size = f"about {needed / 1e9:.1f} GB"
            if needs_checkpointing(recipe, stage, shape, target, longest):
                size += " with gradient checkpointing"
            has, fits = f"{target.name} has {target.memory / 1e9:.0f} GB", needed <= target.memory * TIGHT
            about.append(f"{size} ({has})" + (": it fits" if fits else ""))
            if not fits:
                find = error if needed > target.memory else warning
                fix = "smaller batches with gradient_accumulation_steps, a smaller max_length, or nf4"
                yield find("memory", place, f"{size}; {has}", fix)
        if about:
            fix = "change num_train_epochs or the batch, if that is not what you want"
            yield info("plan", place, "; ".join(about), fix)


def _plan_problems(stage: Stage, plan: dict[str, Any]) -> Iterator[Finding]:
    place, warmup = f"stages.{stage.name}", settings(stage)["warmup_steps"]
    if isinstance(warmup, (int, float)) and warmup >= max(1, plan["steps"]):
        text = f"{warmup:g} warm-up steps of {plan['steps']}: the learning rate never gets to its full"
        fix = "a value below 1 is a share of all steps; 0.05 is usual"
        yield warning("warmup", f"{place}.trainer.warmup_steps", text, fix)
    every = stage.select.every if stage.select else None
    if stage.select and plan["steps"] <= (every or 1):
        text = f"the first evaluation is at step {every or 1} of {plan['steps']}, which leaves no choice"
        yield error("select", f"{place}.select", text, "lower `every`, or train for more steps")
    if not plan["rows"]:
        yield error("few-rows", place, "no row is left to train on", "lower heldout_share, or add rows")
    elif plan["rows"] < plan["batch"]:
        drop = settings(stage).get("dataloader_drop_last")
        text = f"{plan['rows']} rows are fewer than one batch"
        text += ", and dataloader_drop_last leaves it out" if drop else ""
        yield (error if drop else warning)("few-rows", place, text, "use smaller batches")


def context(shape: Any) -> int | None:
    """Tokens a model of this shape can see, where that is known."""
    if shape is None:
        return None
    return getattr(shape.config.get_text_config(), "max_position_embeddings", None)


SHORTEST = 3
"""Rows that are trained on: the shortest, in the smallest batch that a stage's checks let through."""

PLAIN = frozenset(
    """
    learning_rate num_train_epochs max_steps per_device_train_batch_size max_length seed beta warmup_steps
    per_device_eval_batch_size gradient_accumulation_steps logging_steps
    """.split()
)
"""Fields of numbers that are looked at elsewhere: a stage with no others needs no trial."""

OF_THE_HARDWARE = """
    bf16 fp16 tf32 optim packing padding_free use_liger_kernel torch_compile deepspeed fsdp report_to
    router_aux_loss_coef activation_offloading use_vllm use_transformers_continuous_batching
""".split()
"""Fields that a CPU or a tiny model may refuse where others take them; looked at elsewhere."""


def first_steps(
    recipe: Recipe, sets: dict[str, Seen], tokenizer: Any, found: list[Finding], *, here: bool
) -> list[Finding]:
    """What stops a stage's trainer at its start or in its first step."""
    bad = [finding.place for finding in found if finding.severity == "error"]
    findings = []
    for stage in recipe.stages if distributed.count() == 1 else ():
        parts = (f"stages.{stage.name}", f"data.{stage.data}", recipe.data[stage.data].source)
        plain = stage.trainer.keys() <= PLAIN or stage.taken_from
        tried = stage.data in sets and not plain
        if not tried or any(place.startswith(parts) for place in bad):
            continue
        rows = sorted(sets[stage.data].rows, key=lambda row: len(row.model_dump_json()))
        kinds = {getattr(row, "desirable", None): row for row in reversed(rows)}  # the shortest of each
        problem = _first_step(
            stage, [*{row.id: row for row in (*rows[:SHORTEST], *kinds.values())}.values()], tokenizer
        )
        if problem:
            place, text = f"stages.{stage.name}.trainer", f"training would stop at its first step: {problem}"
            find, fix = error if here else info, f"mend one of {', '.join(stage.trainer)}"
            findings.append(find("first-step", place, text, fix))
    return findings


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable()
    try:
        with warnings.catch_warnings(action="ignore"), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def _length(completion_ids: list[list[int]], **_: Any) -> list[float]:
    """What is rewarded in a trial."""
    return [float(len(ids)) for ids in completion_ids]


def _first_step(stage: Stage, rows: list[Row], tokenizer: Any) -> str | None:
    """Train a step on the CPU; why it cannot be done."""
    import torch
    from peft import LoraConfig
    from transformers import LlamaConfig, LlamaForCausalLM, PrinterCallback

    from toolkit.models.hardware import Hardware
    from toolkit.train.base import Base
    from toolkit.train.methods import build_trainer

    kept = {name: value for name, value in stage.trainer.items() if name not in OF_THE_HARDWARE}
    often = {name: 1 for name in ("eval_steps", "save_steps", "logging_steps") if name in kept}
    short = {"max_steps": 1, "warmup_steps": 0} | ({"max_completion_length": 4} if stage.spec.online else {})
    tried = stage.model_copy(update={"trainer": kept | short | often})
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes |= {"num_key_value_heads": 2, "vocab_size": len(tokenizer)}
    shape = LlamaConfig(pad_token_id=tokenizer.pad_token_id, **sizes)
    hardware = Hardware(torch.device("cpu"), torch.float32, "eager")
    try:
        with torch.random.fork_rng(devices=()), tempfile.TemporaryDirectory() as folder, _silence():
            task = "SEQ_CLS" if stage.spec.reward_model else "CAUSAL_LM"
            lora = LoraConfig(r=2, target_modules="all-linear", task_type=task)
            adapter = None if stage.adapter == "none" else lora
            model, read = LlamaForCausalLM(shape), copy.deepcopy(tokenizer)
            rewards = dict.fromkeys(stage.rewards, _length)
            machine = (hardware, hardware, "none")
            base = Base("", Path(folder), "", model, read, *machine, adapter, None, False, rewards)
            options = {"output_dir": folder, "report_to": "none"}
            heldout = rows if stage.heldout or stage.heldout_share else []
            trainer = build_trainer(tried)(base, tried, rows, heldout, options)
            base.start(trainer.model)
            trainer.remove_callback(PrinterCallback)
            trainer.train()
            norms = [logs["grad_norm"] for logs in trainer.state.log_history if "grad_norm" in logs]
            if norms and not any(norms) and not stage.spec.online:  # all answers may get the same reward
                return "no gradient arrives: the loss is the same whatever the weights"
            if heldout:
                trainer.evaluate()
    except Exception as problem:  # noqa: BLE001 - of libraries, on any of their fields
        return f"{type(problem).__name__}: {' '.join(str(problem).split())[:300]}"
    finally:
        compat.reset_accelerate()
    return None
