"""A stage's `trainer` fields -> TRL's configuration classes, over defaults that suit the hardware."""

from __future__ import annotations

import dataclasses
import difflib
from typing import Any

import torch

from toolkit.errors import RecipeError
from toolkit.recipe import Stage
from toolkit.train.base import Base

SHARED: dict[str, Any] = {
    "save_steps": 0.25,  # a share of all steps
    "save_total_limit": 2,
    "logging_steps": 1,
    "report_to": "none",
    "disable_tqdm": True,
    "gradient_checkpointing": False,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 0.05,
    "per_device_train_batch_size": 8,
    "per_device_eval_batch_size": 8,
    "dataloader_pin_memory": False,
}
"""Defaults of every method; a stage's `trainer` fields override them."""


def configuration(kind: type[Any], base: Base, stage: Stage, defaults: dict[str, Any]) -> Any:
    """The TRL configuration of a stage: its own fields over the defaults.

    Raises:
        RecipeError: TRL does not know a field (the nearest known one is named), or refuses a value.
    """
    known = {field.name for field in dataclasses.fields(kind)}
    for name in stage.trainer:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean `{close[0]}`?" if close else ""
            raise RecipeError(f"stages.{stage.name}.trainer.{name}: {kind.__name__} has no such field{hint}")
    fields = {**SHARED, **_precision(base), **defaults, **stage.trainer}
    try:
        return kind(**fields)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"stages.{stage.name}.trainer: {str(error).splitlines()[0]}") from None


def _precision(base: Base) -> dict[str, Any]:
    """Matrix products in the hardware's fast 16-bit type (autocast), everything else in fp32."""
    return {
        "use_cpu": base.hardware.device.type == "cpu",
        "bf16": base.hardware.dtype == torch.bfloat16,
        "fp16": base.hardware.dtype == torch.float16,
    }
