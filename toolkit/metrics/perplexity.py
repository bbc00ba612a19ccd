"""Perplexity of reference answers: how surprised a contestant is by what it should have said.

exp of the mean negative log-likelihood per token of the reference, given the prompt in the chat template and
the contestant's own prompt; the end token counts. Bits per byte divide the same nats by the reference's
UTF-8 bytes, so that models with different tokenizers can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from toolkit.data.chat import answer_ids, prompt_ids
from toolkit.metrics.measurement import Measurement
from toolkit.models import Loaded
from toolkit.types import Example, Message

BATCH_TOKENS = 4096
"""Tokens in one padded batch."""


def measure_perplexity(
    loaded: Loaded,
    examples: Sequence[Example],
    *,
    contestant: str,
    adapter: str | None = None,
    prompt: Sequence[Message] = (),
) -> list[Measurement]:
    """Perplexity and bits per byte of the examples' references.

    Args:
        loaded: the model, with `adapter` attached.
        examples: those without a reference are left out.
        contestant: name in the measurements.
        adapter: the adapter to switch on; `None` is the bare base.
        prompt: the contestant's own messages, put before every example's.
    """
    known = [example for example in examples if example.reference is not None]
    if not known:
        return []
    pairs = []
    for example in known:
        asked = (*prompt, *example.messages)
        reference = example.reference or ""
        pairs.append((prompt_ids(loaded.tokenizer, asked), answer_ids(loaded.tokenizer, asked, reference)))
    with loaded.using(adapter) as model, torch.inference_mode():
        nats = negative_log_likelihoods(model, pairs, loaded.tokenizer.pad_token_id)
    ids = tuple(example.id for example in known)
    tokens = tuple((surprise, float(len(answer))) for surprise, (_, answer) in zip(nats, pairs, strict=True))
    sizes = [len((example.reference or "").encode()) for example in known]
    bits = tuple((surprise / math.log(2), float(size)) for surprise, size in zip(nats, sizes, strict=True))
    return [
        Measurement(
            contestant=contestant, metric="perplexity", kind="exp_ratio", example_ids=ids, rows=tokens
        ),
        Measurement(contestant=contestant, metric="bits_per_byte", kind="ratio", example_ids=ids, rows=bits),
    ]


def negative_log_likelihoods(
    model: Any, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], pad: int
) -> list[float]:
    """Nats of each answer given its prompt, in the order of `pairs` (prompt ids, answer ids).

    Logits are made only where an answer is predicted, one row at a time, so memory does not grow with the
    vocabulary times the text.
    """
    nats = [0.0] * len(pairs)
    for batch in _batches(pairs):
        rows = [[*pairs[i][0], *pairs[i][1]] for i in batch]
        width = max(len(row) for row in rows)
        ids = torch.tensor([[*row, *[pad] * (width - len(row))] for row in rows], device=model.device)
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=model.device)
        hidden = _body(model)(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        head = model.get_output_embeddings()
        for place, i in enumerate(batch):
            start, answer = len(pairs[i][0]), torch.tensor(pairs[i][1], device=model.device)
            logits = head(hidden[place, start - 1 : start - 1 + len(answer)]).float()
            nats[i] = float(torch.nn.functional.cross_entropy(logits, answer, reduction="sum"))
    return nats


def _body(model: Any) -> Any:
    """The transformer without its head, whatever wraps it."""
    whole = model.get_base_model() if hasattr(model, "get_base_model") else model
    return whole.base_model


def _batches(pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> Iterator[list[int]]:
    """Rows of like length together, `BATCH_TOKENS` padded tokens at most."""
    lengths = [len(prompt) + len(answer) for prompt, answer in pairs]
    batch: list[int] = []
    for index in sorted(range(len(pairs)), key=lengths.__getitem__, reverse=True):
        if batch and lengths[batch[0]] * (len(batch) + 1) > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
