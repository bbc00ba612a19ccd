"""Rows of like length in one batch, so that little of it is padding."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices


class LengthGrouped(Sampler[int]):
    """An order of rows for each epoch: random, with rows of like length together.

    The order depends on seed and epoch alone. transformers' own draws from the global generator, so an epoch
    that is continued would be in another order than it was begun in, and a row learned twice or never.
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
