"""A stage's TRL configuration: defaults, its own fields, what is refused."""

import dataclasses
import difflib
import os
from collections.abc import Callable, Iterator
from pkgutil import resolve_name
from typing import Any

import torch
from transformers.integrations import (
    get_available_reporting_integrations,
    get_reporting_integration_callbacks,
)
from transformers.utils import is_liger_kernel_available

from toolkit.data import Row
from toolkit.errors import DataError, RecipeError, first_line
from toolkit.recipe import Stage
from toolkit.train.base import Base

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # TRL says at every import that a part may change


COMMON_DEFAULTS: dict[str, Any] = {
    "save_steps": 0.25,  # a share of all steps
    "save_total_limit": 2,
    "logging_steps": 1,
    "logging_nan_inf_filter": False,  # it hides a loss that is no number
    "report_to": "none",
    "disable_tqdm": True,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 0.05,
    "num_train_epochs": 1,
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 1,
    "per_device_eval_batch_size": 8,
    "dataloader_pin_memory": False,
}
"""Defaults of every method."""


def settings(stage: Stage) -> dict[str, Any]:
    """The fields of a stage's configuration class: its own, over those of its method."""
    return {**COMMON_DEFAULTS, **stage.spec.defaults, **stage.trainer}


def build_trainer(stage: Stage) -> Callable[..., Any]:
    """The function that builds this stage's trainer."""
    return resolve_name(stage.spec.trainer)  # type: ignore[no-any-return]


def config_class(stage: Stage) -> Any:
    """TRL's configuration class of a stage."""
    return resolve_name(stage.spec.config)


def config_fields(stage: Stage) -> set[str]:
    """The names that a stage's `trainer` may have."""
    return {field.name for field in dataclasses.fields(config_class(stage))}


def row_mismatch(stage: Stage, rows: list[Row]) -> str | None:
    """The first row that this stage cannot learn from, and which kind it needs."""
    for row in rows:
        kind = type(row).__name__.lower()
        if kind not in stage.spec.rows:
            return f"{stage.method} needs {' or '.join(stage.spec.rows)} rows, but {row.id} is a {kind}"
    return None


def validate_rows(stage: Stage, rows: list[Row]) -> None:
    """Raise a `DataError` naming the first row that a stage cannot learn from."""
    problem = row_mismatch(stage, rows)
    if problem:
        raise DataError(f"stage {stage.name}: {problem}")


def configuration(base: Base, stage: Stage, extra: dict[str, Any]) -> Any:
    """TRL's configuration: a stage's fields over the defaults over `extra`; a `RecipeError` where refused."""
    kind, known = config_class(stage), config_fields(stage)
    for name in stage.trainer:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean `{close[0]}`?" if close else ""
            raise RecipeError(f"stages.{stage.name}.trainer.{name}: {kind.__name__} has no such field{hint}")
    reported = report_to(stage)
    flash = has_flash_attention(base.hardware.attention)
    for name, _, what, mend in refused_fields(stage, flash=flash):
        raise RecipeError(f"stages.{stage.name}.trainer.{name}: {what}; {mend}")
    if flash and stage.spec.packs:  # the same rows in a batch, without padding between them
        extra = {"padding_free": True, **extra}
    precision = {  # matrix products in the hardware's fast 16-bit type (autocast), everything else in fp32
        "use_cpu": base.hardware.device.type == "cpu",
        "bf16": base.hardware.dtype == torch.bfloat16,
        "fp16": base.hardware.dtype == torch.float16,
    }
    try:
        return kind(**{**precision, **extra, **settings(stage), "report_to": reported})
    except (TypeError, ValueError) as error:
        raise RecipeError(f"stages.{stage.name}.trainer: {first_line(error)}") from None


def report_to(stage: Stage) -> str | list[str]:
    """Reporting integrations of a stage; raises before loading if one is not installed, or only in part."""
    integrations: str | list[str] = settings(stage)["report_to"] or "none"
    named, place = [integrations] if isinstance(integrations, str) else integrations, "trainer.report_to"
    here = get_available_reporting_integrations()
    for name in here if "all" in named else named:
        if name not in ("none", *here):
            raise RecipeError(f"stages.{stage.name}.{place}: {name} is not installed here")
        try:
            for kind in get_reporting_integration_callbacks(name):
                kind()
            if name == "mlflow" and resolve_name("mlflow:get_tracking_uri")().startswith("sqlite"):
                resolve_name("mlflow.store.tracking.sqlalchemy_store")  # mlflow-skinny has half of it
        except (ImportError, RuntimeError) as problem:
            raise RecipeError(f"stages.{stage.name}.{place}: {name} cannot be used here: {problem}") from None
    return integrations


def has_flash_attention(attention: str | None) -> bool:
    """Whether a value of `model.attention` is a kernel that keeps rows apart without padding."""
    return "flash" in (attention or "")


def refused_fields(stage: Stage, *, flash: bool) -> Iterator[tuple[str, str, str, str]]:
    """Fields that would have no effect, or a wrong one: name, code of the finding, text, the mend."""
    packed = ("packing", "eval_packing", "padding_free") if not flash or not stage.spec.packs else ()
    for name, (code, what, mend) in (REFUSED | dict.fromkeys(packed, _PACKED)).items():
        if stage.trainer.get(name):
            yield name, code, what, mend
    if stage.trainer.get("use_liger_kernel") and not is_liger_kernel_available():
        yield "use_liger_kernel", "liger", "liger-kernel is not installed here", "install it, or leave it out"


_PACKED = (
    "packing",
    "without flash attention rows that are packed would see each other",
    "set `model.attention: kernels-community/flash-attn2`, or leave it out: rows of like length go together",
)
_RENDERED = ("chat-template", "every step renders rows alike")
REFUSED = {
    "log_completions": ("stdout", "TRL prints answers where results are written", "leave it out"),
    "chat_template_path": (*_RENDERED, "name it as `model.chat_template`"),
    "chat_template_kwargs": (*_RENDERED, "name them as `model.chat_template_kwargs`"),
}
"""Fields without effect on rows that are tokenised here: code of the finding, what is wrong, the mend."""
