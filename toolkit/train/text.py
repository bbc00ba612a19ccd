"""Language modelling on plain text: every token is learned, the end token after each text too.

Loss: mean negative log-likelihood of all tokens (TRL's `SFTTrainer`). A text longer than `max_length` is cut
into pieces, and nothing of it is lost.
"""

from __future__ import annotations

from typing import Any

from datasets import Dataset
from trl import SFTTrainer

from toolkit.data import Row, Text
from toolkit.recipe import Stage
from toolkit.train.base import Base
from toolkit.train.sft import learner


def trainer(
    base: Base, stage: Stage, train: list[Row], heldout: list[Row], trainer_args: dict[str, Any]
) -> SFTTrainer:
    """A TRL trainer ready to run on texts."""
    return learner(base, stage, dataset, train, heldout, trainer_args)


def dataset(base: Base, rows: list[Row], max_length: int | None) -> Dataset:
    """Columns `input_ids` and `labels`, one row for each piece of at most `max_length` tokens."""
    pieces = []
    for row in rows:
        if not isinstance(row, Text):
            continue
        ids = [*base.tokenizer(row.text)["input_ids"], base.tokenizer.eos_token_id]
        length = max_length or len(ids)
        pieces += [ids[start : start + length] for start in range(0, len(ids), length)]
    learnable = [piece for piece in pieces if len(piece) > 1]  # the first token of a row is not predicted
    return Dataset.from_dict({"input_ids": learnable, "labels": learnable})
