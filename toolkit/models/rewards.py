"""Reward models: a sequence classifier with one output, which scores an answer to a conversation.

Saved as TRL's `RewardTrainer` does: a model folder, or an adapter folder on its base.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification

from toolkit.data import chat
from toolkit.errors import ModelError
from toolkit.models import bases, batch_size, hardware, loading
from toolkit.models.loading import context_window, load_tokenizer, loaded_fingerprint
from toolkit.recipe import ModelOptions, adapter_base
from toolkit.types import Message, digest


class RewardModel:
    """A reward model in memory, in evaluation mode."""

    def __init__(self, folder: Path, options: ModelOptions = ModelOptions()) -> None:
        """Load the reward model in `folder`; a `ModelError` where there is none, or its base differs."""
        name, folder = folder.name, located(folder)
        self.chosen = hardware.choose(options)
        self.model, base = _load(folder, self.chosen, options.quantization)
        tokenizer = load_tokenizer(base)  # its own template is the one that it was trained with
        self.tokenizer = tokenizer if tokenizer.chat_template else load_tokenizer(base, options.chat_template)
        self.name = f"{name}@{reward_fingerprint(folder, options)[:6]}"
        self.model.config.get_text_config().pad_token_id = self.tokenizer.pad_token_id
        self.window = context_window(self.model.config)

    def encode(self, prompt: Sequence[Message], answer: str) -> list[int]:
        """Token ids of a conversation and its answer, ending with the answer's end token."""
        return rated_ids(self.tokenizer, prompt, answer)

    @torch.inference_mode()
    def rewards(self, answers: Sequence[list[int]]) -> list[float | None]:
        """The reward of each answer as `encode` gives it; `None`: longer than the model can read."""
        rewards: list[float | None] = [None] * len(answers)
        fitting = [number for number, ids in enumerate(answers) if len(ids) <= self.window]
        fitting.sort(key=lambda number: len(answers[number]))

        def score(size: int) -> None:
            for start in range(0, len(fitting), size):
                batch = fitting[start : start + size]
                padded = self.tokenizer.pad({"input_ids": [answers[n] for n in batch]}, return_tensors="pt")
                scores = self.model(**padded.to(self.chosen.device)).logits[:, 0].float().tolist()
                for number, value in zip(batch, scores, strict=True):
                    rewards[number] = value

        batch_size.with_halving(score, batch_size.REWARDS.on(self.chosen.device), self.name)
        return rewards


def located(folder: Path) -> Path:
    """A reward model's folder, by its path or hub id."""
    return folder if folder.is_dir() else bases.resolve_base(str(folder))


def reward_fingerprint(folder: Path, options: ModelOptions) -> str:
    """16 hex digits of a reward model as these options load it, with the base of an adapter."""
    folder = located(folder)
    adapter = (folder / "adapter_config.json").is_file()
    below = bases.content_fingerprint(bases.resolve_base(adapter_base(folder))) if adapter else ""
    return digest(loaded_fingerprint(folder, options), below)


def rated_ids(tokenizer: Any, prompt: Sequence[Message], answer: str) -> list[int]:
    """Token ids of what a reward model reads: its score is taken at the last one, the answer's end token."""
    before, after = chat.encode_answers(tokenizer, prompt, answer)
    return before + after


def _load(folder: Path, chosen: hardware.Hardware, quantization: str) -> tuple[Any, Path]:
    """The reward model, and the folder of its tokenizer."""
    adapter = (folder / "adapter_config.json").is_file()
    name = adapter_base(folder) if adapter else str(folder)
    below = bases.resolve_base(name)
    options = {"num_labels": 1} if adapter else {}
    model = loading.load_weights(below, chosen, quantization, AutoModelForSequenceClassification, **options)
    if adapter:
        loading.check_lineage(folder, name, below)
        model = loading.load_adapter(model, folder)
    if model.config.num_labels != 1:
        raise ModelError(f"{folder}: not a reward model: it has {model.config.num_labels} outputs, not one")
    return model.eval(), folder if (folder / "tokenizer_config.json").is_file() else below
