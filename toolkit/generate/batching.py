"""Continuous batching: a fixed number of slots, each with one conversation; a finished one is replaced.

The common prefix of all conversations is computed once and copied into every slot. The text of a
conversation does not depend on its batch where kernels compute rows independently (`docs/scoring.md`):

- Every conversation starts at position 0 of its slot, without left padding; what follows its end is masked
  and adds exact zeros.
- The attended length is rounded up to `BLOCK`, and no call has fewer than `MIN_ROWS` rows, because kernels
  change the order of summation at remainders and single rows.
"""

from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

from toolkit import compat
from toolkit.models.loading import unwrapped

BLOCK = 64
MIN_ROWS = 4


class BatchSlots:
    """Keys and values of several conversations in one model; `common` is their common prefix."""

    def __init__(self, model: Any, size: int, common: Sequence[int] = ()) -> None:
        self.model, self.size = model, max(size, MIN_ROWS)
        self.transformer = unwrapped(model).base_model
        self.lengths = torch.zeros(self.size, dtype=torch.long, device=model.device)
        self.layers = [_Layer(self) for _ in range(model.config.get_text_config().num_hidden_layers)]
        self.cache = Cache(layers=list(self.layers))
        self.rows = torch.empty(0, dtype=torch.long)
        self.attended = 0
        self.common = 0
        if common:
            self._read(list(common))

    @torch.inference_mode()
    def _read(self, common: list[int]) -> None:
        """Compute the common prefix and copy its keys and values into every slot."""
        ids = torch.tensor([common], device=self.model.device)
        self.rows = torch.arange(self.size, device=self.model.device)
        self._forward(self.transformer, ids, torch.arange(len(common), device=ids.device)[None], None)
        self.common = len(common)
        self.lengths[:] = self.common

    @torch.inference_mode()
    def fill(self, slots: Sequence[int], prompts: Sequence[Sequence[int]]) -> None:
        """Put prompts into slots, padded on the right, up to their last token, the first `step`'s."""
        device, start = self.model.device, self.common
        lengths = [len(prompt) - 1 for prompt in prompts]
        self.lengths[torch.tensor(slots, device=device)] = torch.tensor(lengths, device=device)
        width = _rounded(max(lengths) - start)
        ids = torch.zeros(len(slots), width, dtype=torch.long)
        for row, prompt in enumerate(prompts):
            ids[row, : len(prompt) - 1 - start] = torch.tensor(prompt[start:-1])
        self.rows = torch.tensor(slots, device=device)
        places = torch.arange(start, start + width, device=device)
        mask = None
        if start:
            seen = torch.arange(start + width, device=device) <= places[:, None]
            mask = self._mask(seen[None, None])
        self._forward(self.transformer, ids.to(device), places.expand(len(slots), width), mask)

    @torch.inference_mode()
    def step(self, tokens: Sequence[int]) -> torch.Tensor:
        """Feed every slot its next token. Returns logits, float32 (size, vocabulary); unused slots: noise."""
        device = self.model.device
        self.rows = torch.empty(0, dtype=torch.long)
        self.attended = _rounded(int(self.lengths.max()) + 1)
        seen = torch.arange(self.attended, device=device) <= self.lengths[:, None]
        ids = torch.tensor([*tokens, *[0] * (self.size - len(tokens))], device=device)[:, None]
        mask = self._mask(seen[:, None, None, :])
        logits: torch.Tensor = self._forward(self.model, ids, self.lengths[:, None], mask).logits
        self.lengths += 1
        return logits[:, -1].float()

    def free(self, slot: int) -> None:
        """Free a slot, so that its length no longer extends the attended range of all slots."""
        self.lengths[slot] = self.common

    def _mask(self, seen: torch.Tensor) -> torch.Tensor:
        """As the model's attention takes it: PyTorch's kernels a Boolean, the plain one something to add."""
        if compat.attention_kernel(self.model) != "eager":
            return seen
        least = torch.finfo(self.model.dtype).min
        return torch.zeros_like(seen, dtype=self.model.dtype).masked_fill(~seen, least)

    def _forward(
        self, model: Any, ids: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor | None
    ) -> Any:
        inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": positions}
        return model(**inputs, past_key_values=self.cache, use_cache=True)


class _Layer(CacheLayerMixin):  # type: ignore[misc]  # transformers is untyped here
    """One layer's keys and values, shaped (slots, heads, length, size)."""

    is_sliding = False
    keys: torch.Tensor | None
    values: torch.Tensor | None

    def __init__(self, slots: BatchSlots) -> None:
        super().__init__()
        self.slots = slots

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store what is new; return what is to be attended to."""
        rows, start = self.slots.rows, self.slots.common
        filling = len(rows) > 0
        length = start + key_states.shape[2] if filling else self.slots.attended
        self.keys = _grown(self.keys, key_states, self.slots.size, length)
        self.values = _grown(self.values, value_states, self.slots.size, length)
        if filling:
            self.keys[rows, :, start:length] = key_states
            self.values[rows, :, start:length] = value_states
            if not start:
                return key_states, value_states
            return self.keys[rows, :, :length], self.values[rows, :, :length]
        every = torch.arange(self.slots.size, device=key_states.device)
        self.keys[every, :, self.slots.lengths] = key_states[:, :, 0]
        self.values[every, :, self.slots.lengths] = value_states[:, :, 0]
        return self.keys[:, :, :length], self.values[:, :, :length]

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Nothing to do: `update` makes room."""

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return query_length, 0

    def get_seq_length(self) -> int:
        return 0

    def get_max_length(self) -> int:
        return -1


def _grown(held: torch.Tensor | None, like: torch.Tensor, size: int, length: int) -> torch.Tensor:
    """Room for `length` positions in every slot: what is held, or a larger copy of it."""
    if held is not None and held.shape[2] >= length:
        return held
    capacity = length if held is None else max(length, held.shape[2] + held.shape[2] // 2)
    room = like.new_zeros(size, like.shape[1], _rounded(capacity), like.shape[3])
    if held is not None:
        room[:, :, : held.shape[2]] = held
    return room


def _rounded(length: int) -> int:
    return max(BLOCK, -(-length // BLOCK) * BLOCK)
