"""Kahneman-Tversky optimisation: learns from single answers that are wanted or not, no pairs needed.

Loss: 1 - sigmoid of how far an answer's log-ratio is on its right side of the batch's KL to the frozen
reference (Ethayarajh et al. 2024; TRL's `KTOTrainer`).
"""

from __future__ import annotations

import copy
from typing import Any

from datasets import Dataset
from trl import KTOTrainer

from toolkit.data import Preference, Rated, Row
from toolkit.recipe import Stage
from toolkit.train.base import Base
from toolkit.train.head import score_learned_tokens_only
from toolkit.train.lora import adapter_config
from toolkit.train.settings import configuration


def trainer(
    base: Base, stage: Stage, train: list[Row], heldout: list[Row], shared: dict[str, Any]
) -> KTOTrainer:
    """A TRL trainer ready to run on rated answers; a preference is taken as one wanted and one unwanted.

    The reference is the model the stage starts from.
    """
    config = configuration(base, stage, shared)
    adapter = adapter_config(stage)
    made = KTOTrainer(
        model=base.model,
        ref_model=None if adapter else copy.deepcopy(base.model),
        args=config,
        train_dataset=dataset(train).shuffle(config.seed),  # KTO's batches are fixed; a pair's two are apart
        eval_dataset=dataset(heldout).shuffle(config.seed) if heldout else None,
        processing_class=base.tokenizer,
        peft_config=adapter,
    )
    score_learned_tokens_only(made.model)
    return made


def dataset(rows: list[Row]) -> Dataset:
    """Columns `prompt`, `completion` (messages) and `label`; TRL applies the chat template."""
    rated = [answer for row in rows for answer in _answers(row)]
    return Dataset.from_dict(
        {
            "prompt": [[turn.as_dict() for turn in row.prompt] for row in rated],
            "completion": [[{"role": "assistant", "content": row.completion}] for row in rated],
            "label": [row.wanted for row in rated],
        }
    )


def _answers(row: Row) -> list[Rated]:
    if isinstance(row, Rated):
        return [row]
    if isinstance(row, Preference):
        return [
            Rated(id=row.id, prompt=row.prompt, completion=row.chosen, wanted=True),
            Rated(id=row.id, prompt=row.prompt, completion=row.rejected, wanted=False),
        ]
    return []
