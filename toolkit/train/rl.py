"""Reinforcement learning against reward models: answer prompts, have them scored, prefer what scores well.

RLOO (Ahmadian et al. 2024) and GRPO (Shao et al. 2024), the successors of PPO, which TRL no longer has.
Several reward models are added up by their weights (helpfulness and safety, as in Llama 2), and a KL penalty,
`beta`, keeps the model near the one the stage starts from.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from datasets import Dataset
from trl import GRPOTrainer, RLOOTrainer

from toolkit.data import Row, chat
from toolkit.data.formats import prompt_of
from toolkit.models.rewards import RewardModel
from toolkit.recipe import ModelOptions, Stage
from toolkit.train.base import Base
from toolkit.train.methods import configuration
from toolkit.train.preference import StartIsReference
from toolkit.types import Message


class _Rollouts:
    """Trainer mixin: our rendering of prompts, and generation in the training dtype."""

    def _tokenize_prompts(self: Any, prompts: list[Any]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return [chat.prompt_ids(self.processing_class, _turns(prompt)) for prompt in prompts], None, {}

    def _generate_and_score_completions(self: Any, inputs: Any) -> Any:
        with self.accelerator.autocast():
            return super()._generate_and_score_completions(inputs)  # type: ignore[misc]


class _RLOO(StartIsReference, _Rollouts, RLOOTrainer):  # type: ignore[misc]  # TRL is untyped here
    pass


class _GRPO(StartIsReference, _Rollouts, GRPOTrainer):  # type: ignore[misc]
    pass


KINDS: dict[str, type[Any]] = {"rloo": _RLOO, "grpo": _GRPO}


def trainer(
    base: Base, stage: Stage, train: list[Row], heldout: list[Row], trainer_args: dict[str, Any]
) -> Any:
    """A TRL trainer ready to run on the prompts of any rows but plain texts."""
    weights = {"reward_weights": list(stage.rewards.values())}
    config = configuration(base, stage, trainer_args | weights)
    options = ModelOptions(device=str(base.hardware.device))
    rewards = [
        _reward(name, RewardModel(reward, options), base.tokenizer) if isinstance(reward, Path) else reward
        for name, reward in base.rewards.items()
    ]
    inputs = base.trainer_inputs(config, dataset, train, heldout)
    return KINDS[stage.method](base, reward_funcs=rewards, **inputs)


def _reward(name: str, model: RewardModel, tokenizer: Any) -> Callable[..., list[float | None]]:
    """A reward model as TRL's trainers call one; `tokenizer` is of the model that writes the answers."""

    def score(prompts: list[Any], completion_ids: list[list[int]], **_: Any) -> list[float | None]:
        encoded = []
        for prompt, ids in zip(map(_turns, prompts), completion_ids, strict=True):
            opened = chat.opens_thinking(chat.render(tokenizer, prompt))
            answer = tokenizer.decode(ids, skip_special_tokens=True)
            encoded.append(model.encode(prompt, f"<think>\n{answer}" if opened else answer))
        return model.rewards(encoded)  # of an answer longer than it can read none

    score.__name__ = name
    return score


def _turns(prompt: list[dict[str, str]]) -> list[Message]:
    return [Message(**turn) for turn in prompt]


def dataset(rows: list[Row]) -> Dataset:
    """Column `prompt`, as messages: what the rows ask, without their answers."""
    return Dataset.from_dict({"prompt": [[turn.as_dict() for turn in prompt_of(row)] for row in rows]})
