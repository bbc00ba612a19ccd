"""Odds-ratio preference optimisation: SFT and preference in one stage, without a reference model.

Loss: negative log-likelihood of the chosen answer - beta * log sigmoid(log odds ratio of chosen to rejected)
(Hong et al. 2024; TRL's experimental `ORPOTrainer`).
"""

from __future__ import annotations

from typing import Any

from datasets import Dataset
from trl.experimental.orpo import ORPOTrainer

from toolkit.data import Preference, Row
from toolkit.recipe import Stage
from toolkit.train.base import Base
from toolkit.train.dpo import encode_pairs
from toolkit.train.fast_paths import IGNORED
from toolkit.train.settings import configuration


def trainer(
    base: Base, stage: Stage, train: list[Row], heldout: list[Row], trainer_args: dict[str, Any]
) -> ORPOTrainer:
    """A TRL trainer ready to run on preferences."""
    config = configuration(base, stage, trainer_args)
    return _Trainer(
        model=base.model,
        args=config,
        train_dataset=dataset(base, train, config.max_length),
        eval_dataset=dataset(base, heldout, config.max_length) if heldout else None,
        processing_class=base.tokenizer,
        peft_config=base.adapter,
    )


class _Trainer(ORPOTrainer):  # type: ignore[misc]  # TRL is untyped here
    """On rows that are tokens already: TRL would put a second begin token before some templates' own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._tokens = 0
        super().__init__(*args, **kwargs)

    def get_batch_loss_metrics(self, model: Any, batch: dict[str, Any], train_eval: str = "train") -> Any:
        if train_eval == "train":
            seen = batch["chosen_attention_mask"].sum() + batch["rejected_attention_mask"].sum()
            self._tokens += int(self.accelerator.gather(seen).sum())
        return super().get_batch_loss_metrics(model, batch, train_eval)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """TRL's other trainers log how many tokens were seen."""
        super().log(logs | {"num_tokens": self._tokens} if "loss" in logs else logs, start_time)

    def tokenize_row(self, feature: dict[str, Any], model: Any = None) -> dict[str, Any]:
        return feature


def dataset(base: Base, rows: list[Row], max_length: int | None) -> Dataset:
    """For the prompt and both answers `<part>_input_ids`, `_attention_mask`, and for answers `_labels`."""
    pairs = [row for row in rows if isinstance(row, Preference)]
    return Dataset.from_list([_columns(row, max_length) for row in encode_pairs(base, pairs, max_length)])


def _columns(pair: list[list[int]], max_length: int | None) -> dict[str, list[int]]:
    prompt, chosen, rejected = pair
    row = {"prompt_input_ids": prompt, "prompt_attention_mask": [1] * len(prompt)}
    for side, answer in (("chosen", chosen), ("rejected", rejected)):
        ids = [*prompt, *answer][:max_length]
        labels = [*([IGNORED] * len(prompt)), *answer][:max_length]
        row |= {f"{side}_input_ids": ids, f"{side}_attention_mask": [1] * len(ids), f"{side}_labels": labels}
    return row
