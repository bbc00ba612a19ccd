"""What is published is what was trained: logits of a few rows, kept beside the weights and computed again.

After training, the trained model reads eight rows; its logits lie in `verification/` of the published folder.
Then the trainer is let go, base and published folder are loaded as anybody would, and read the same rows.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from toolkit.data import Row, Text, chat
from toolkit.data.rows import answer_of, prompt_of
from toolkit.errors import TrainingError
from toolkit.models.hardware import Hardware
from toolkit.models.loading import load_adapter, load_weights
from toolkit.models.rewards import rated_ids

FILE = Path("verification") / "logits.safetensors"
"""In a folder of its own: servers read every safetensors file beside a model's weights."""

ROWS = 8
POSITIONS = 8
"""Of a row, spread over its learned tokens: 12 MB in all at a vocabulary of 50,000."""
LENGTH = 512

LOGIT_TOL = 1e-4
"""In fp32, of logits up to 16; in proportion of larger ones, as their rounding is."""
KL_SHARE = 0.01
"""In 16 or 4 bit, of the KL divergence of what was trained from the base."""
KL_NOISE = 2e-3
"""Nats that rounding to 16 bit makes of the same sum, taken in another order."""


@dataclass(frozen=True)
class Kept:
    """Rows and what the trained model made of them."""

    ids: list[list[int]]
    positions: list[list[int]]
    """Places of each row whose next token is predicted; of a classifier none: it gives one logit a row."""
    logits: list[torch.Tensor]
    """For each row (positions, vocabulary) in fp32; of a classifier (1, 1)."""

    @classmethod
    def of(cls, model: Any, tokenizer: Any, rows: Sequence[Row]) -> Kept:
        """What `model` makes of the first rows."""
        rated = getattr(model.config, "num_labels", 2) == 1 and "SequenceClassification" in _kind(model)
        ids, positions = [], []
        for row in rows[:ROWS]:
            tokens, learned = _tokens(tokenizer, row)
            ids.append(tokens)
            positions.append([] if rated else _spread(learned))
        return cls(ids, positions, predict(model, ids, positions))

    @classmethod
    def read(cls, folder: Path) -> Kept | None:
        """What lies in a published folder; `None`: it was published before anything was kept."""
        if not (folder / FILE).is_file():
            return None
        kept = load_file(folder / FILE)
        rows = range(len(kept) // 3)
        ids, places = ([kept[f"{name}.{row}"].tolist() for row in rows] for name in ("ids", "positions"))
        return cls(ids, places, [kept[f"logits.{row}"] for row in rows])

    def write(self, folder: Path) -> None:
        (folder / FILE).parent.mkdir(exist_ok=True)
        tensors = {f"logits.{row}": logits.contiguous() for row, logits in enumerate(self.logits)}
        for name, lists in (("ids", self.ids), ("positions", self.positions)):
            tensors |= {
                f"{name}.{row}": torch.tensor(each, dtype=torch.int32) for row, each in enumerate(lists)
            }
        save_file(tensors, folder / FILE)

    def again(self, model: Any) -> list[torch.Tensor]:
        """What another model makes of the same rows."""
        return predict(model, self.ids, self.positions)


@dataclass(frozen=True)
class Place:
    """Where a stage was trained: how its base is loaded again to be as it was."""

    base: Path
    loaded: Hardware
    quantization: str
    reward: bool

    @property
    def exact(self) -> bool:
        """Whether everything is in fp32."""
        return self.quantization == "none" and self.loaded.dtype == torch.float32

    def load(self, folder: Path, *, whole: bool) -> Any:
        kind = AutoModelForSequenceClassification if self.reward else AutoModelForCausalLM
        extra = {"num_labels": 1} if self.reward and not whole else {}
        quantization = "none" if whole else self.quantization
        return load_weights(folder, self.loaded, quantization, kind, **extra).eval()


def verify(kept: Kept, folder: Path, place: Place, *, whole: bool) -> float:
    """Load what was published, and compare it with what was trained.

    Args:
        kept: the trained model's logits.
        folder: what was published.
        place: how the stage was trained.
        whole: `folder` is a model, not an adapter.

    Returns:
        The difference: of logits in fp32 and of rewards, else the KL divergence in nats.

    Raises:
        TrainingError: it is too large.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    own = float("inf") if whole else 0.0
    model = place.load(folder if whole else place.base, whole=whole)
    if not whole:
        if not (place.exact or place.reward):
            own = divergence(kept.logits, kept.again(model))
        model = load_adapter(model, folder).eval()
    found = kept.again(model)
    if place.exact or place.reward:
        scale = max(1.0, *(float(logits.abs().max()) / 16 for logits in kept.logits))
        tolerance, what = (LOGIT_TOL if place.exact else 2 * KL_SHARE) * scale, "logits"
        size = max(float((a - b).abs().max()) for a, b in zip(kept.logits, found, strict=True))
    else:
        tolerance, what = max(KL_NOISE, KL_SHARE * own if not whole else 0.0), "predictions (KL, nats)"
        size = divergence(kept.logits, found)
    if not size <= tolerance:
        raise TrainingError(
            f"what would be published is not what was trained: {what} differ by {size:.2g}, and "
            f"{tolerance:.2g} is the most; the checkpoints are kept. Train with another `adapter`"
        )
    return size


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
    prompt, answer = prompt_of(row), answer_of(row)
    learned = len(chat.answer_ids(tokenizer, prompt, answer))
    ids = rated_ids(tokenizer, prompt, answer)[-LENGTH:]
    return ids, list(range(max(0, len(ids) - learned - 1), len(ids) - 1))


def _spread(places: list[int]) -> list[int]:
    step = max(1, len(places) // POSITIONS)
    return places[::step][:POSITIONS]


def _kind(model: Any) -> str:
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return type(inner).__name__
