"""Negative log-likelihood of chosen tokens given those before them, in nats.

The last hidden states go through the output layer in chunks, so peak memory depends on the batch, not on the
number or length of texts. A common prefix (system turn, worked examples) is read once.
"""

import copy
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import DynamicCache

from toolkit.models import batch_size
from toolkit.models.loading import unwrapped
from toolkit.models.prefix_tree import common_prefix
from toolkit.models.supported_types import supports_fast_paths, supports_split_head
from toolkit.progress import log_progress

logger = logging.getLogger(__name__)

CHUNK_LOGITS = 2**24  # logits made at a time: 64 MB in float32


@dataclass(frozen=True)
class Span:
    """Some tokens, of which the last `scored` are measured, each given all before it in the span."""

    ids: Sequence[int]
    scored: int

    @property
    def targets(self) -> Sequence[int]:
        return self.ids[len(self.ids) - self.scored :]


class SplitModel:
    """A supported model as tokens -> hidden states -> logits; elsewhere the states are the logits."""

    def __init__(self, model: Any) -> None:
        self.model, self.proven = model, supports_fast_paths(model)
        self.transformer, self.head = unwrapped(model).base_model, model.get_output_embeddings()
        self.in_parts = supports_split_head(model)

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """Of states (n, width): (n, vocabulary)."""
        made: torch.Tensor = self.head(states) if self.in_parts else states
        return made

    def batches(self, spans: Sequence[Span]) -> Iterator[tuple[list[int], torch.Tensor]]:
        """Spans of like length together, padded on the right, where causal attention does not look.

        Yields:
            The spans' places in `spans`, and the states before each of their scored tokens, one span after
            the other, shape (sum of scored, width).
        """
        common: Sequence[int] = ()
        if len(spans) > 1 and self.in_parts:
            unscored = min(len(span.ids) - 1 - span.scored for span in spans)
            common = common_prefix([span.ids for span in spans], unscored)
        prefix_cache = self._read(common) if common else None
        most = batch_size.tokens(self.model) if self.proven else 1
        waiting = sorted(range(len(spans)), key=lambda i: len(spans[i].ids))
        while waiting:
            size = max(1, most // len(spans[waiting[-1]].ids))
            batch = waiting[-size:][::-1]
            chosen = [spans[i] for i in batch]
            failed: Exception | None = None
            try:
                states = self._states(_padded(chosen, len(common), self.model.device), prefix_cache)
            except (RuntimeError, MemoryError) as error:
                failed = error
            if failed is not None:
                most = batch_size.halve(len(batch), "likelihoods", failed) * len(chosen[0].ids)
                continue
            del waiting[-len(batch) :]
            ends = [len(span.ids) - 1 - len(common) for span in chosen]
            rows = zip(states, ends, chosen, strict=True)
            yield batch, torch.cat([row[end - span.scored : end] for row, end, span in rows])

    @torch.inference_mode()
    def _read(self, common: Sequence[int]) -> DynamicCache:
        """Keys and values of the common prefix."""
        prefix_cache = DynamicCache(config=self.model.config)
        ids = torch.tensor([list(common)], device=self.model.device)
        self.transformer(input_ids=ids, past_key_values=prefix_cache, use_cache=True)
        return prefix_cache

    def _states(self, ids: torch.Tensor, prefix_cache: DynamicCache | None) -> torch.Tensor:
        """Last hidden states (or logits) of ids (n, length), which go on from what was read before."""
        if not self.in_parts:
            logits: torch.Tensor = self.model(input_ids=ids, use_cache=False).logits
            return logits[:, -ids.shape[1] :]  # virtual tokens come first
        kwargs: dict[str, Any] = {"use_cache": False}
        if prefix_cache is not None:
            cache = copy.deepcopy(prefix_cache)
            cache.batch_repeat_interleave(len(ids))
            kwargs = {"use_cache": True, "past_key_values": cache}
        hidden: torch.Tensor = self.transformer(input_ids=ids, **kwargs).last_hidden_state
        return hidden


@torch.inference_mode()
def sum_nll(model: Any, spans: Sequence[Span], what: str = "likelihoods") -> list[float]:
    """Summed negative log-likelihood of each span's scored tokens, in nats; progress is logged as `what`."""
    found, done = [0.0] * len(spans), 0
    if not spans:
        return found
    reader = SplitModel(model)
    for batch, states in reader.batches(spans):
        targets = torch.tensor([token for i in batch for token in spans[i].targets], device=states.device)
        size = max(1, CHUNK_LOGITS // int(reader.logits(states[:1]).shape[-1]))
        pieces = zip(torch.split(states, size), torch.split(targets, size), strict=True)
        each = torch.cat([cross_entropy(reader.logits(s).float(), w, reduction="none") for s, w in pieces])
        for i, part in zip(batch, torch.split(each, [spans[i].scored for i in batch]), strict=True):
            found[i] = float(part.double().sum())
        done += len(batch)
        log_progress(logger, what, done, len(spans))
    return found


def _padded(spans: Sequence[Span], start: int, device: torch.device) -> torch.Tensor:
    """Ids of all spans from `start` on, but their last token, which nothing is predicted from."""
    width = max(len(span.ids) for span in spans) - 1 - start
    ids = torch.zeros(len(spans), width, dtype=torch.long)
    for row, span in enumerate(spans):
        ids[row, : len(span.ids) - 1 - start] = torch.tensor(list(span.ids)[start:-1])
    return ids.to(device)
