"""Kahneman-Tversky optimisation: learns from single answers that are wanted or not, no pairs needed.

Loss: 1 - sigmoid of how far an answer's log-ratio is on its right side of the batch's KL to the frozen
reference (Ethayarajh et al. 2024; TRL's `KTOTrainer`).
"""

from __future__ import annotations

from typing import Any

from datasets import Dataset
from trl import KTOTrainer

from toolkit.data import Preference, Rated, Row
from toolkit.data.chat import encode_answers
from toolkit.recipe import Stage
from toolkit.train.base import Base
from toolkit.train.dpo import with_room
from toolkit.train.fast_paths import install_target_logprob_head
from toolkit.train.reference import StartIsReference
from toolkit.train.settings import configuration


def trainer(
    base: Base, stage: Stage, train: list[Row], heldout: list[Row], trainer_args: dict[str, Any]
) -> KTOTrainer:
    """A TRL trainer ready to run on rated answers; a preference is taken as one wanted and one unwanted.

    The reference is the model the stage starts from.
    """
    config = configuration(base, stage, trainer_args)
    return _Trainer(
        base,
        model=base.model,
        args=config,
        # KTO's batches are fixed; a pair's two answers are apart
        train_dataset=dataset(base, train, config.max_length).shuffle(config.seed),
        eval_dataset=dataset(base, heldout, config.max_length).shuffle(config.seed) if heldout else None,
        processing_class=base.tokenizer,
        peft_config=base.adapter,
    )


class _Trainer(StartIsReference, KTOTrainer):  # type: ignore[misc]  # TRL is untyped here
    """With our output layer, and the right reference."""

    def _prepare_dataset(self, dataset: Dataset, _: Any, args: Any, *__: Any) -> Dataset:
        """Rows are tokens already; for the KL term each gets the answer of the one before, by batches."""
        if not self.calculate_KL:
            return dataset
        answers, size = dataset["completion_ids"], args.per_device_train_batch_size
        batches = [answers[start : start + size] for start in range(0, len(answers), size)]
        others = [answer for batch in batches for answer in (batch[-1], *batch[:-1])]
        return dataset.add_column("KL_completion_ids", others)

    def prepare_fast_paths(self) -> None:
        install_target_logprob_head(self.model)


def dataset(base: Base, rows: list[Row], max_length: int | None) -> Dataset:
    """Columns `prompt_ids`, `completion_ids` and `label`, rendered and tokenised as for every method."""
    rated = [answer for row in rows for answer in _answers(row)]
    encoded = [[*encode_answers(base.tokenizer, row.prompt, row.completion), row.wanted] for row in rated]
    names = ("prompt_ids", "completion_ids", "label")
    return Dataset.from_list([dict(zip(names, row, strict=True)) for row in with_room(encoded, max_length)])


def _answers(row: Row) -> list[Rated]:
    if isinstance(row, Rated):
        return [row]
    if isinstance(row, Preference):
        return [
            Rated(id=row.id, prompt=row.prompt, completion=row.chosen, wanted=True),
            Rated(id=row.id, prompt=row.prompt, completion=row.rejected, wanted=False),
        ]
    return []
