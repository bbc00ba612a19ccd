"""How surprised a model is: nats of chosen tokens given those before them.

No logits of whole texts are ever held. The transformer's last hidden states go through the output layer a
piece at a time, so peak memory depends on the batch and not on how long the texts are or how many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import cross_entropy

BATCH_TOKENS = 8192
"""Padded tokens in one batch."""

PIECE = 2**24
"""Logits made at a time: 64 MB in float32."""

TOLERANCE = 0.05
"""Two ways to the same logits may differ by this share of their standard deviation, by rounding alone."""

Logits = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Span:
    """Some tokens, of which the last `scored` are measured, each given all before it in the span."""

    ids: Sequence[int]
    scored: int


@torch.inference_mode()
def nats(model: Any, spans: Sequence[Span]) -> list[float]:
    """Negative log-likelihood of each span's scored tokens, in nats, summed; in the order of `spans`.

    Spans of like length share a batch, padded on the right, where causal attention does not look.
    """
    found = [0.0] * len(spans)
    if not spans:
        return found
    body, logits = _parts(model, min(spans, key=lambda span: len(span.ids)))
    for batch in _batches(spans):
        chosen = [spans[i] for i in batch]
        hidden = body(_padded(chosen, model.device))
        kept = [hidden[row, len(s.ids) - 1 - s.scored : len(s.ids) - 1] for row, s in enumerate(chosen)]
        wanted = [torch.tensor(list(s.ids)[len(s.ids) - s.scored :]) for s in chosen]
        each = _token_nats(logits, torch.cat(kept), torch.cat(wanted).to(model.device))
        for i, part in zip(batch, torch.split(each, [s.scored for s in chosen]), strict=True):
            found[i] = float(part.double().sum())
    return found


def _token_nats(logits: Logits, hidden: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Nats of each wanted token (n,) from the hidden state before it (n, width), a piece at a time."""
    size = max(1, PIECE // int(logits(hidden[:1]).shape[-1]))
    pieces = zip(torch.split(hidden, size), torch.split(wanted, size), strict=True)
    return torch.cat([cross_entropy(logits(h).float(), w, reduction="none") for h, w in pieces])


def _parts(model: Any, probe: Span) -> tuple[Callable[[torch.Tensor], torch.Tensor], Logits]:
    """(ids -> hidden states, hidden states -> logits) of a model.

    The output layer alone is not always enough: some models scale or cap their logits after it, and learned
    virtual tokens are added outside the transformer. So the two parts are tried on some tokens against the
    model's own logits, and where they do not agree the model gives its logits whole, as "hidden states".
    """
    whole = model.get_base_model() if hasattr(model, "get_base_model") else model
    transformer, head = whole.base_model, model.get_output_embeddings()

    def body(ids: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = transformer(input_ids=ids, use_cache=False).last_hidden_state
        return hidden

    def everything(ids: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = model(input_ids=ids, use_cache=False).logits
        return made[:, -ids.shape[1] :]  # virtual tokens come first

    ids = torch.tensor([list(probe.ids)[:32]], device=model.device)
    own = everything(ids).float()
    if head is not None and (head(body(ids)).float() - own).abs().max() <= TOLERANCE * own.std():
        return body, head
    return everything, lambda logits: logits


def _padded(spans: Sequence[Span], device: torch.device) -> torch.Tensor:
    """Ids of all spans but their last token, which nothing is predicted from."""
    width = max(len(span.ids) for span in spans) - 1
    ids = torch.zeros(len(spans), width, dtype=torch.long)
    for row, span in enumerate(spans):
        ids[row, : len(span.ids) - 1] = torch.tensor(list(span.ids)[:-1])
    return ids.to(device)


def _batches(spans: Sequence[Span]) -> Iterator[list[int]]:
    """Indices of spans of like length, `BATCH_TOKENS` padded tokens a batch at most."""
    batch: list[int] = []
    for index in sorted(range(len(spans)), key=lambda i: len(spans[i].ids), reverse=True):
        if batch and len(spans[batch[0]].ids) * (len(batch) + 1) > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
