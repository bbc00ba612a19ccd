"""Reward models: a sequence classifier with one output that gives the chosen answer the higher score.

Loss: -log sigmoid(reward of chosen - reward of rejected) (Bradley-Terry; Ouyang et al. 2022; TRL's
`RewardTrainer`). Held-out figures: accuracy and calibration error.
"""

import copy
from typing import Any

import torch
from datasets import Dataset
from torch import nn
from transformers import AutoModelForSequenceClassification
from trl import RewardTrainer

from toolkit.data import Preference, Row
from toolkit.models.rewards import rated_ids
from toolkit.recipe import Stage
from toolkit.train.base import Base
from toolkit.train.methods import configuration

BINS = 10


def trainer(
    base: Base, stage: Stage, train: list[Row], heldout: list[Row], trainer_args: dict[str, Any]
) -> RewardTrainer:
    """A TRL trainer ready to run on preferences; pairs longer than `max_length` are left out."""
    config = configuration(base, stage, trainer_args)
    inputs = base.trainer_inputs(config, lambda rows: dataset(base, rows), train, heldout)
    return _Trainer(**inputs | {"model": classifier(base)})


class _Trainer(RewardTrainer):  # type: ignore[misc]  # TRL is untyped here
    """Also measures calibration, over all held-out pairs."""

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        self.margins: list[torch.Tensor] = []
        found = super().evaluation_loop(*args, **kwargs)
        if self.margins:
            found.metrics["eval_calibration_error"] = calibration_error(torch.cat(self.margins))
        return found

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        if not self.model.training:
            chosen, rejected = outputs.logits.detach().float().squeeze(-1).chunk(2)
            self.margins.append(chosen - rejected)
        return (loss, outputs) if return_outputs else loss


def calibration_error(margins: torch.Tensor) -> float:
    """Expected calibration error (Guo et al. 2017) of preferring the answer with the higher reward.

    Of `margins` (n), rewards of chosen minus rejected answers: mean distance of sigmoid(|margin|) from
    accuracy, over ten bins; 0 is best.
    """
    confidence, right = torch.sigmoid(margins.abs()), (margins > 0).float()
    place = ((confidence - 0.5) * 2 * BINS).long().clamp(max=BINS - 1)
    gaps = [(confidence[place == i] - right[place == i]).sum().abs() for i in range(BINS)]
    return float(torch.stack(gaps).sum() / len(margins))


def classifier(base: Base) -> Any:
    """The base with one number instead of a vocabulary as its output; that layer is random, by the seed."""
    config = copy.deepcopy(base.model.config)
    config.num_labels, config.pad_token_id = 1, base.tokenizer.pad_token_id
    config.get_text_config().pad_token_id = base.tokenizer.pad_token_id
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(config)
    setattr(model, model.base_model_prefix, base.model.base_model)
    for module in model.modules():
        if isinstance(module, nn.Linear) and module.weight.is_meta:
            module.to_empty(device=base.model.device)
            # trained in fp32, also on states in 16 bit, where no autocast does it
            module.register_forward_pre_hook(lambda module, states: (states[0].to(module.weight.dtype),))
            nn.init.normal_(module.weight, std=getattr(config, "initializer_range", 0.02))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for name in ("is_loaded_in_4bit", "is_loaded_in_8bit", "hf_quantizer", "quantization_method"):
        if hasattr(base.model, name):
            setattr(model, name, getattr(base.model, name))
    return model


def dataset(base: Base, rows: list[Row]) -> Dataset:
    """Columns `chosen_ids` and `rejected_ids`, up to the end token that is scored, and any `margin`."""
    pairs = [row for row in rows if isinstance(row, Preference)]
    columns: dict[str, list[Any]] = {
        f"{side}_ids": [rated_ids(base.tokenizer, pair.prompt, getattr(pair, side)) for pair in pairs]
        for side in ("chosen", "rejected")
    }
    if any(pair.margin for pair in pairs):
        columns["margin"] = [pair.margin or 0.0 for pair in pairs]
    return Dataset.from_dict(columns)
