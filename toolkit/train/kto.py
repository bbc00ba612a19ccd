"""Kahneman-Tversky optimisation: learns from single answers that are wanted or not, no pairs needed.

Loss: 1 - sigmoid of how far an answer's log-ratio is on its right side of the batch's KL to the frozen
reference (Ethayarajh et al. 2024; TRL's `KTOTrainer`).
"""

from __future__ import annotations

from typing import Any

from datasets import Dataset
from trl import KTOTrainer

from toolkit.data import Preference, Rated, Row
from toolkit.recipe import Stage
from toolkit.train.base import Base
from toolkit.train.head import score_learned_tokens_only
from toolkit.train.reference import StartIsReference
from toolkit.train.settings import configuration


def trainer(
    base: Base, stage: Stage, train: list[Row], heldout: list[Row], shared: dict[str, Any]
) -> KTOTrainer:
    """A TRL trainer ready to run on rated answers; a preference is taken as one wanted and one unwanted.

    The reference is the model the stage starts from.
    """
    config = configuration(base, stage, shared)
    return _Trainer(
        base,
        model=base.model,
        args=config,
        train_dataset=dataset(train).shuffle(config.seed),  # KTO's batches are fixed; a pair's two are apart
        eval_dataset=dataset(heldout).shuffle(config.seed) if heldout else None,
        processing_class=base.tokenizer,
        peft_config=base.adapter,
    )


class _Trainer(StartIsReference, KTOTrainer):  # type: ignore[misc]  # TRL is untyped here
    """With our output layer, and the right reference."""

    def prepare_fast_paths(self) -> None:
        score_learned_tokens_only(self.model)


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
