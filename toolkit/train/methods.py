"""Registry of training methods: module, TRL configuration class, accepted row types and defaults."""

from __future__ import annotations

import dataclasses
import importlib
import os
from typing import Any

from toolkit.data import Conversation, Preference, Rated, Row, Text
from toolkit.errors import DataError
from toolkit.recipe import Method, Stage

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # TRL says at every import that a part may change


COMMON_DEFAULTS: dict[str, Any] = {
    "save_steps": 0.25,  # a share of all steps
    "save_total_limit": 2,
    "logging_steps": 1,
    "logging_nan_inf_filter": False,  # it hides a loss that is no number
    "report_to": "none",
    "disable_tqdm": True,
    "gradient_checkpointing": False,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 0.05,
    "num_train_epochs": 1,
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 1,
    "per_device_eval_batch_size": 8,
    "dataloader_pin_memory": False,
}
"""Defaults of every method."""

SFT_DEFAULTS = {"learning_rate": 5e-4, "num_train_epochs": 2, "train_sampling_strategy": "group_by_length"}

PAIR_DEFAULTS = {"max_length": 1024, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
"""A batch of pairs holds twice as many sequences."""

RL_DEFAULTS = {"learning_rate": 5e-5, "num_generations": 4, "max_completion_length": 256, "beta": 0.05}


@dataclasses.dataclass(frozen=True)
class MethodSpec:
    """Specification of one training method."""

    module: str
    """Has `trainer(base, stage, train, heldout, trainer_args)`."""
    config: str
    """TRL's configuration class: the fields of a stage's `trainer`."""
    rows: tuple[type[Row], ...]
    defaults: dict[str, Any]
    """Fields, over `COMMON_DEFAULTS`; a stage's own go over both."""


CONVERSATIONAL = (Conversation, Preference, Rated)

METHODS: dict[Method, MethodSpec] = {
    "text": MethodSpec("text", "trl.SFTConfig", (Text,), SFT_DEFAULTS | {"max_length": 1024}),
    "sft": MethodSpec("sft", "trl.SFTConfig", (Conversation,), SFT_DEFAULTS | {"max_length": 1024}),
    "dpo": MethodSpec(
        "dpo",
        "trl.DPOConfig",
        (Preference,),
        PAIR_DEFAULTS | {"learning_rate": 1e-4, "precompute_ref_log_probs": True},
    ),
    "orpo": MethodSpec(
        "orpo",
        "trl.experimental.orpo.ORPOConfig",
        (Preference,),
        PAIR_DEFAULTS | {"learning_rate": 2e-4, "remove_unused_columns": False},
    ),
    "kto": MethodSpec(
        "kto", "trl.KTOConfig", (Rated, Preference), {"learning_rate": 1e-4, "max_length": 1024}
    ),
    "reward": MethodSpec(
        "reward", "trl.RewardConfig", (Preference,), PAIR_DEFAULTS | {"learning_rate": 2e-4}
    ),
    "rloo": MethodSpec("rl", "trl.RLOOConfig", CONVERSATIONAL, RL_DEFAULTS),
    "grpo": MethodSpec("rl", "trl.GRPOConfig", CONVERSATIONAL, RL_DEFAULTS),
}


def settings(stage: Stage) -> dict[str, Any]:
    """The fields of a stage's configuration class: its own, over those of its method."""
    return COMMON_DEFAULTS | METHODS[stage.method].defaults | stage.trainer


def trainer_module(stage: Stage) -> Any:
    """The module whose `trainer` trains this stage."""
    return importlib.import_module(f"toolkit.train.{METHODS[stage.method].module}")


def config_class(stage: Stage) -> Any:
    """TRL's configuration class of a stage."""
    module, _, name = METHODS[stage.method].config.rpartition(".")
    return getattr(importlib.import_module(module), name)


def config_fields(stage: Stage) -> set[str]:
    """The names that a stage's `trainer` may have."""
    return {field.name for field in dataclasses.fields(config_class(stage))}


def row_mismatch(stage: Stage, rows: list[Row]) -> str | None:
    """The first row that this stage cannot learn from, and which kind it needs."""
    kinds = METHODS[stage.method].rows
    wanted = " or ".join(kind.__name__.lower() for kind in kinds)
    for row in rows:
        if not isinstance(row, kinds):
            return f"{stage.method} needs {wanted} rows, but {row.id} is a {type(row).__name__.lower()}"
    return None


def validate_rows(stage: Stage, rows: list[Row]) -> None:
    """Check that a stage can learn from all rows.

    Raises:
        DataError: naming the first row of another kind.
    """
    problem = row_mismatch(stage, rows)
    if problem:
        raise DataError(f"stage {stage.name}: {problem}")
