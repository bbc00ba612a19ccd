"""A reward model as a judge: it scores each answer by itself, and the higher score wins (Bradley-Terry).

The probability that one answer is better is the logistic of the difference of the two scores, which is what
reward models are trained for (Ouyang et al. 2022). It has no order to be biased by, and no prompt.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from toolkit import records
from toolkit.data import chat
from toolkit.errors import ModelError
from toolkit.judge.judging import REWARD, Ask
from toolkit.judge.logits import window
from toolkit.models import bases, hardware
from toolkit.models.loading import LINEAGE, load_tokenizer
from toolkit.recipe import ModelOptions
from toolkit.types import Message, Outcome, Verdict

BATCH = 8


class RewardJudge:
    """A sequence classifier with one output, as TRL's RewardTrainer saves it, as a judge of pairs."""

    prompt_key = REWARD

    def __init__(self, folder: Path, options: ModelOptions = ModelOptions()) -> None:
        """Load the reward model in `folder`: a model folder, or an adapter folder on its base.

        Raises:
            ModelError: no reward model is there.
        """
        self.chosen = hardware.choose(options)
        self.model, base = _load(folder, self.chosen)
        self.tokenizer = load_tokenizer(base, options.chat_template)
        self.name = f"{folder.name}@{bases.fingerprint(folder)[:6]}"
        self.model.config.get_text_config().pad_token_id = self.tokenizer.pad_token_id
        self.window = window(self.model.config)

    def verdicts(self, asks: Sequence[Ask], known: Mapping[Ask, Verdict]) -> Iterator[Verdict]:
        """Yield verdicts, shortest answers first; the second order of a battle costs nothing."""
        wanted = [ask for ask in asks if ask not in known]
        answers: dict[tuple[Message, ...], list[int]] = {}
        for ask in wanted:
            for said in _sides(ask):
                answers.setdefault(said, self._encode(said))
        rewards = self._rewards(answers)
        for ask in wanted:
            a, b = (rewards[said] for said in _sides(ask))
            tokens = sum(len(answers[said]) for said in _sides(ask)) if ask.order == "ab" else 0
            yield self._verdict(ask, a, b, tokens)

    def _verdict(self, ask: Ask, a: float | None, b: float | None, tokens: int) -> Verdict:
        outcome: Outcome | None = None
        probability, reason = None, "an answer is longer than the judge can read"
        if a is not None and b is not None:
            outcome = "a" if a > b else "b" if b > a else "tie"
            probability, reason = 1 / (1 + math.exp(min(b - a, 700.0))), f"rewards {a:.3f} and {b:.3f}"
        return Verdict(
            battle_id=ask.battle.id,
            judge=self.name,
            order=ask.order,
            outcome=outcome,
            probability_a=probability,
            reason=reason,
            prompt=self.prompt_key,
            tokens_in=tokens,
        )

    def _encode(self, conversation: tuple[Message, ...]) -> list[int]:
        *prompt, answer = conversation
        return [
            *chat.prompt_ids(self.tokenizer, prompt),
            *chat.answer_ids(self.tokenizer, prompt, answer.content),
        ]

    @torch.inference_mode()
    def _rewards(
        self, answers: Mapping[tuple[Message, ...], list[int]]
    ) -> dict[tuple[Message, ...], float | None]:
        rewards: dict[tuple[Message, ...], float | None] = dict.fromkeys(answers)
        short = [said for said in answers if len(answers[said]) <= self.window]
        fitting = sorted(short, key=lambda said: len(answers[said]))
        for start in range(0, len(fitting), BATCH):
            batch = fitting[start : start + BATCH]
            padded = self.tokenizer.pad({"input_ids": [answers[said] for said in batch]}, return_tensors="pt")
            scores = self.model(**padded.to(self.chosen.device)).logits[:, 0].float().tolist()
            rewards |= dict(zip(batch, scores, strict=True))
        return rewards


def _sides(ask: Ask) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
    battle = ask.battle
    a = (*battle.messages, Message(role="assistant", content=battle.completion_a))
    b = (*(battle.messages_b or battle.messages), Message(role="assistant", content=battle.completion_b))
    return a, b


def _load(folder: Path, chosen: hardware.Hardware) -> tuple[Any, Path]:
    """The reward model in evaluation mode, and the folder of its tokenizer."""
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification

    adapter = (folder / "adapter_config.json").is_file()
    below = _base_of(folder) if adapter else bases.resolve_base(str(folder))
    options = {"num_labels": 1} if adapter else {}
    model = AutoModelForSequenceClassification.from_pretrained(
        below, dtype=chosen.dtype, use_safetensors=True, **options
    )
    if adapter:
        model = PeftModel.from_pretrained(model, str(folder))
    if model.config.num_labels != 1:
        raise ModelError(f"{folder}: not a reward model: it has {model.config.num_labels} outputs, not one")
    return model.to(chosen.device).eval(), folder if (folder / "tokenizer_config.json").is_file() else below


def _base_of(adapter: Path) -> Path:
    """The model folder an adapter was trained on."""
    lineage = adapter / LINEAGE
    if lineage.is_file():
        return bases.resolve_base(records.read_json(lineage)["base"])
    return bases.resolve_base(records.read_json(adapter / "adapter_config.json")["base_model_name_or_path"])
