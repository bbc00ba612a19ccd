"""Supervised fine-tuning: learn the answers of conversations (`sft`), or every token of plain text (`text`).

Loss: mean negative log-likelihood of the learned tokens, the end token included (TRL's `SFTTrainer`).
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any

import torch
from datasets import Dataset
from torch.utils.data import Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices
from trl import SFTTrainer, pack_dataset

from toolkit.data import Conversation, Row, Text
from toolkit.data.chat import encode_turns
from toolkit.recipe import Stage
from toolkit.train.base import Base
from toolkit.train.fast_paths import IGNORED, install_hidden_state_cache, install_target_logprob_head
from toolkit.train.methods import configuration


def trainer(
    base: Base, stage: Stage, train: list[Row], heldout: list[Row], trainer_args: dict[str, Any]
) -> SFTTrainer:
    """A TRL trainer ready to run on conversations, or on texts."""
    prepared = {"dataset_kwargs": {"skip_prepare_dataset": True}}
    config = configuration(base, stage, trainer_args | prepared)
    rows_of: Callable[..., Dataset] = text_dataset if stage.method == "text" else dataset
    longest = config.max_length
    if config.padding_free and not config.packing:
        config.max_length = None  # TRL takes no limit there; rows are cut here

    def encode(rows: list[Row]) -> Dataset:
        encoded = rows_of(base, rows, longest)
        packs = config.packing if rows is train or config.eval_packing is None else config.eval_packing
        return pack_dataset(encoded, config.max_length, config.packing_strategy) if packs else encoded

    made = _Trainer(**base.trainer_inputs(config, encode, train, heldout))
    install_hidden_state_cache(made.model)
    install_target_logprob_head(made.model)
    return made


def dataset(base: Base, rows: list[Row], max_length: int | None) -> Dataset:
    """Columns `input_ids` and `labels` (-100 where nothing is learned): conversations, or parts of them."""
    conversations = [row for row in rows if isinstance(row, Conversation)]
    parts = (encode_turns(base.tokenizer, row.messages, row.unlearned, max_length) for row in conversations)
    encoded = list(chain.from_iterable(parts))
    masked = (zip(part.input_ids, part.completion_mask, strict=True) for part in encoded)
    labels = [[token if learned else IGNORED for token, learned in row] for row in masked]
    return Dataset.from_dict({"input_ids": [part.input_ids for part in encoded], "labels": labels})


def text_dataset(base: Base, rows: list[Row], max_length: int | None) -> Dataset:
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


class LengthGrouped(Sampler[int]):
    """A random order of rows for each epoch that groups rows of like length; depends on seed and epoch alone.

    transformers' sampler draws from the global generator, so a resumed epoch would have another order.
    """

    def __init__(self, lengths: Sequence[int], batch: int, seed: int, epoch: Callable[[], int]) -> None:
        self.lengths, self.batch, self.seed, self.epoch = lengths, batch, seed, epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch())
        return iter(get_length_grouped_indices(self.lengths, self.batch, generator=generator))


class GroupsByLength:
    """Of a trainer: `train_sampling_strategy: group_by_length` in the order above, for any tokenised rows."""

    def _get_train_sampler(self: Any, train_dataset: Any = None) -> Any:
        rows = self.train_dataset if train_dataset is None else train_dataset
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(train_dataset)  # type: ignore[misc]
        batch = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        return LengthGrouped(lengths(rows), batch, self.args.seed, lambda: int(self.state.epoch or 0))


def lengths(rows: Any) -> list[int]:
    """Tokens of each row, all its parts together."""
    parts = [name for name in rows.column_names if name.endswith("ids")]
    return [sum(map(len, row)) for row in zip(*(rows[name] for name in parts), strict=True)]


class _Trainer(GroupsByLength, SFTTrainer):  # type: ignore[misc]  # TRL is untyped here
    pass
