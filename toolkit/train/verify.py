"""Verify that the published model is the trained one, by logits on eight rows.

They are computed with the trained model and stored in `verification/` of the published folder; then base and
published folder are loaded afresh and compared on the same rows.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from toolkit import distributed
from toolkit.data import Row, Text, chat
from toolkit.data.formats import answer_of, prompt_of
from toolkit.errors import TrainingError
from toolkit.models.loading import adapter_weights, load_adapter, load_weights, unwrapped
from toolkit.train.base import Base

FILE = Path("verification") / "logits.safetensors"
"""In a folder of its own: servers read every safetensors file beside a model's weights."""

ROWS = 8
POSITIONS = 8  # of a row, spread over its learned tokens: 12 MB in all at a vocabulary of 50,000
LENGTH = 512

LOGIT_TOL = 1e-4  # in fp32, of logits up to 16; in proportion of larger ones, as their rounding is
KL_SHARE = 0.01  # in 16 or 4 bit, of the KL divergence of what was trained from the base
KL_NOISE = 0.01
"""Nats beyond what rounding does: the same kernels differ by 0 (SmolLM2-135M in bf16 and nf4), eager and sdpa
by 0.002 in bf16, bf16 and fp32 by 0.008 in nf4."""


@dataclass(frozen=True)
class TrainedLogits:
    """Rows and the logits of the trained model on them."""

    ids: list[list[int]]
    positions: list[list[int]]
    """Places of each row whose next token is predicted; of a classifier none: it gives one logit a row."""
    logits: list[torch.Tensor]  # for each row (positions, vocabulary) in fp32; of a classifier (1, 1)

    @classmethod
    def of(cls, model: Any, tokenizer: Any, rows: Sequence[Row]) -> TrainedLogits:
        """Compute the logits of `model` on the first rows."""
        rated = "SequenceClassification" in type(unwrapped(model)).__name__
        ids, positions = [], []
        for row in rows[:ROWS]:
            tokens, learned = _tokens(tokenizer, row)
            ids.append(tokens)
            positions.append([] if rated else _spread(learned))
        return cls(ids, positions, predict(model, ids, positions))

    @classmethod
    def read(cls, folder: Path) -> TrainedLogits | None:
        """What lies in a published folder; `None`: it was published before anything was kept."""
        if not (folder / FILE).is_file():
            return None
        expected = load_file(folder / FILE)
        rows = range(len(expected) // 3)
        ids, places = ([expected[f"{name}.{row}"].tolist() for row in rows] for name in ("ids", "positions"))
        return cls(ids, places, [expected[f"logits.{row}"] for row in rows])

    def write(self, folder: Path) -> None:
        (folder / FILE).parent.mkdir(exist_ok=True)
        tensors = {f"logits.{row}": logits.contiguous() for row, logits in enumerate(self.logits)}
        for name, lists in (("ids", self.ids), ("positions", self.positions)):
            numbers = (torch.tensor(each, dtype=torch.int32) for each in lists)
            tensors |= {f"{name}.{row}": each for row, each in enumerate(numbers)}
        save_file(tensors, folder / FILE)

    def again(self, model: Any) -> list[torch.Tensor]:
        """Logits of another model on the same rows."""
        return predict(model, self.ids, self.positions)


def verify(expected: TrainedLogits, folder: Path, base: Base, weights: Mapping[str, torch.Tensor]) -> float:
    """Load the published model and compare it with the trained one.

    In 16 or 4 bit logits show little of an adapter that has moved them less than rounding does; its tensors
    are compared besides, bit by bit, where they are published as they were trained. Gives the difference: of
    logits in fp32 and of rewards, else the KL divergence in nats.

    Raises:
        TrainingError: it is too large, or a tensor is another one.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    published = adapter_weights(folder) if weights else {}
    same = (name for name in weights if name in published and torch.equal(weights[name], published[name]))
    wrong = weights.keys() - set(same)
    if wrong:
        raise _refusal(f"{len(wrong)} of {len(weights)} tensors differ, such as {min(wrong)}")
    # FSDP's mixed precision reads what was trained in 16 bit, whatever its weights are
    exact = base.exact and not (distributed.share_weights() and base.hardware.dtype != torch.float32)
    reward, own = expected.logits[0].shape[-1] == 1, 0.0
    kind: dict[str, Any] = {"kind": AutoModelForSequenceClassification, "num_labels": 1} if reward else {}
    if base.adapter is None:
        model = load_weights(folder, base.loaded, **kind).eval()
    else:
        model = base.load(**kind).eval()
        if not (exact or reward):
            own = divergence(expected.logits, expected.again(model))
        model = load_adapter(model, folder).eval()
    if reward:  # as in training: a classifier reads the last token that is no padding
        model.config.get_text_config().pad_token_id = base.tokenizer.pad_token_id
    found = expected.again(model)
    if exact or reward:
        scale = max(1.0, *(float(logits.abs().max()) / 16 for logits in expected.logits))
        tolerance, what = (LOGIT_TOL if exact else 2 * KL_SHARE) * scale, "logits"
        size = max(float((a - b).abs().max()) for a, b in zip(expected.logits, found, strict=True))
    else:
        tolerance, what = max(KL_NOISE, KL_SHARE * own), "predictions (KL, nats)"
        size = divergence(expected.logits, found)
    if not size <= tolerance:
        raise _refusal(f"{what} differ by {size:.2g}, and {tolerance:.2g} is the most")
    return size


def _refusal(why: str) -> TrainingError:
    mend = "the checkpoints are kept. Train with another `adapter`"
    return TrainingError(f"what would be published is not what was trained: {why}; {mend}")


def divergence(trained: Sequence[torch.Tensor], other: Sequence[torch.Tensor]) -> float:
    """Mean KL divergence, in nats, of the other predictions from the trained ones."""
    p, q = (torch.cat(list(each)).log_softmax(-1) for each in (trained, other))
    return float((p.exp() * (p - q)).sum(-1).mean())


@torch.no_grad()
def predict(model: Any, ids: Sequence[list[int]], positions: Sequence[list[int]]) -> list[torch.Tensor]:
    """Logits at the given positions of each row, on the CPU, read row by row without dropout or autocast."""
    training = model.training
    model.eval()
    found = []
    for tokens, places in zip(ids, positions, strict=True):
        batch = torch.tensor([tokens], device=model.device)
        logits = model(batch, use_cache=False).logits[0]
        if places:
            logits = logits[-len(tokens) :][places]
        found.append(logits.float().cpu().reshape(max(1, len(places)), -1))
    model.train(training)
    return found


def _tokens(tokenizer: Any, row: Row) -> tuple[list[int], list[int]]:
    """A row's tokens, and the places whose next token is learned."""
    if isinstance(row, Text):
        ids = tokenizer(row.text)["input_ids"][:LENGTH]
        return ids, list(range(len(ids) - 1))
    prompt, answer = chat.encode_answers(tokenizer, prompt_of(row), answer_of(row))
    ids = (prompt + answer)[-LENGTH:]
    return ids, list(range(max(0, len(ids) - len(answer) - 1), len(ids) - 1))


def _spread(places: list[int]) -> list[int]:
    step = max(1, len(places) // POSITIONS)
    return places[::step][:POSITIONS]
