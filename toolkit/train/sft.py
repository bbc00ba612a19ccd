"""Supervised fine-tuning: learn the answers of conversations, and only the answers.

Loss: mean negative log-likelihood of the assistant's tokens, the end token included (TRL's `SFTTrainer`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from datasets import Dataset
from trl import SFTTrainer

from toolkit.data import Conversation, Row
from toolkit.data.chat import encode_turns
from toolkit.recipe import Stage
from toolkit.train.base import Base
from toolkit.train.fast_paths import IGNORED, install_hidden_state_cache, install_target_logprob_head
from toolkit.train.sampling import GroupsByLength
from toolkit.train.settings import configuration


def trainer(
    base: Base, stage: Stage, train: list[Row], heldout: list[Row], trainer_args: dict[str, Any]
) -> SFTTrainer:
    """A TRL trainer ready to run on conversations."""
    return learner(base, stage, dataset, train, heldout, trainer_args)


def learner(
    base: Base,
    stage: Stage,
    encode: Callable[[Base, list[Row], int | None], Dataset],
    train: list[Row],
    heldout: list[Row],
    trainer_args: dict[str, Any],
) -> SFTTrainer:
    """A TRL trainer that learns the tokens whose labels `encode` gives."""
    prepared = {"dataset_kwargs": {"skip_prepare_dataset": True}}
    config = configuration(base, stage, trainer_args | prepared)
    made = _Trainer(
        model=base.model,
        args=config,
        train_dataset=encode(base, train, config.max_length),
        eval_dataset=encode(base, heldout, config.max_length) if heldout else None,
        processing_class=base.tokenizer,
        peft_config=base.adapter,
    )
    install_hidden_state_cache(made.model)
    install_target_logprob_head(made.model)
    return made


class _Trainer(GroupsByLength, SFTTrainer):  # type: ignore[misc]  # TRL is untyped here
    """TRL's, with an order of rows that can be continued."""


def dataset(base: Base, rows: list[Row], max_length: int | None) -> Dataset:
    """Columns `input_ids` and `labels` (-100 where nothing is learned): conversations, or parts of them."""
    encoded = [
        part
        for row in rows
        if isinstance(row, Conversation)
        for part in encode_turns(base.tokenizer, row.messages, row.unlearned, max_length)
    ]
    labels = [
        [
            token if learned else IGNORED
            for token, learned in zip(row.input_ids, row.completion_mask, strict=True)
        ]
        for row in encoded
    ]
    return Dataset.from_dict({"input_ids": [row.input_ids for row in encoded], "labels": labels})
