"""The methods of training: the module that does one, its configuration class, and the rows it learns."""

from __future__ import annotations

import dataclasses
import importlib
import os
from typing import Any

from toolkit.data import Conversation, Preference, Rated, Row, Text
from toolkit.errors import DataError
from toolkit.recipe import Method, Stage

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # TRL says at every import that a part may change


SHARED: dict[str, Any] = {
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

LEARN = {"learning_rate": 5e-4, "num_train_epochs": 2, "train_sampling_strategy": "group_by_length"}

PAIRS = {"max_length": 1024, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
"""A batch of pairs holds twice as many sequences."""

ANSWER = {"learning_rate": 5e-5, "num_generations": 4, "max_completion_length": 256, "beta": 0.05}


@dataclasses.dataclass(frozen=True)
class Way:
    """How a method is done."""

    module: str
    """Has `trainer(base, stage, train, heldout, shared)`."""
    config: str
    """TRL's configuration class: the fields of a stage's `trainer`."""
    rows: tuple[type[Row], ...]
    defaults: dict[str, Any]
    """Fields, over `SHARED`; a stage's own go over both."""


TALK = (Conversation, Preference, Rated)

METHODS: dict[Method, Way] = {
    "text": Way("text", "trl.SFTConfig", (Text,), LEARN | {"max_length": 1024}),
    "sft": Way("sft", "trl.SFTConfig", (Conversation,), LEARN | {"max_length": 1024}),
    "dpo": Way(
        "dpo",
        "trl.DPOConfig",
        (Preference,),
        PAIRS | {"learning_rate": 1e-4, "precompute_ref_log_probs": True},
    ),
    "orpo": Way(
        "orpo",
        "trl.experimental.orpo.ORPOConfig",
        (Preference,),
        PAIRS | {"learning_rate": 2e-4, "remove_unused_columns": False},
    ),
    "kto": Way("kto", "trl.KTOConfig", (Rated, Preference), {"learning_rate": 1e-4, "max_length": 1024}),
    "reward": Way("reward", "trl.RewardConfig", (Preference,), PAIRS | {"learning_rate": 2e-4}),
    "rloo": Way("online", "trl.RLOOConfig", TALK, ANSWER),
    "grpo": Way("online", "trl.GRPOConfig", TALK, ANSWER),
}


def settings(stage: Stage) -> dict[str, Any]:
    """The fields of a stage's configuration class: its own, over those of its method."""
    return SHARED | METHODS[stage.method].defaults | stage.trainer


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


def stranger(stage: Stage, rows: list[Row]) -> str | None:
    """The first row that this stage cannot learn from, and which kind it needs."""
    kinds = METHODS[stage.method].rows
    wanted = " or ".join(kind.__name__.lower() for kind in kinds)
    for row in rows:
        if not isinstance(row, kinds):
            return f"{stage.method} needs {wanted} rows, but {row.id} is a {type(row).__name__.lower()}"
    return None


def must_fit(stage: Stage, rows: list[Row]) -> None:
    """Check that a stage can learn from all rows.

    Raises:
        DataError: naming the first row of another kind.
    """
    problem = stranger(stage, rows)
    if problem:
        raise DataError(f"stage {stage.name}: {problem}")
