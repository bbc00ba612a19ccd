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


@dataclasses.dataclass(frozen=True)
class Way:
    """How a method is done."""

    module: str
    """Has `trainer(base, stage, train, heldout, shared)`."""
    config: str
    """TRL's configuration class: the fields of a stage's `trainer`."""
    rows: tuple[type[Row], ...]
    max_length: int | None = 1024
    """Tokens of a row that are kept, by default; `None`: rows are not cut."""


METHODS: dict[Method, Way] = {
    "text": Way("toolkit.train.text", "trl.SFTConfig", (Text,), max_length=None),
    "sft": Way("toolkit.train.sft", "trl.SFTConfig", (Conversation,)),
    "dpo": Way("toolkit.train.dpo", "trl.DPOConfig", (Preference,)),
    "orpo": Way("toolkit.train.orpo", "trl.experimental.orpo.ORPOConfig", (Preference,)),
    "kto": Way("toolkit.train.kto", "trl.KTOConfig", (Rated, Preference)),
    "reward": Way("toolkit.train.reward", "trl.RewardConfig", (Preference,)),
    "rloo": Way("toolkit.train.online", "trl.RLOOConfig", (Conversation, Preference, Rated), None),
    "grpo": Way("toolkit.train.online", "trl.GRPOConfig", (Conversation, Preference, Rated), None),
}


def trainer_module(stage: Stage) -> Any:
    """The module whose `trainer` trains this stage."""
    return importlib.import_module(METHODS[stage.method].module)


def config_fields(stage: Stage) -> set[str]:
    """The names that a stage's `trainer` may have."""
    module, _, name = METHODS[stage.method].config.rpartition(".")
    return {field.name for field in dataclasses.fields(getattr(importlib.import_module(module), name))}


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
