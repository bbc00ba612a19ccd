"""Adapter settings of a recipe -> PEFT's configuration classes."""

from __future__ import annotations

from typing import Any

import peft

from toolkit.errors import RecipeError
from toolkit.recipe import LoraOptions, Stage

CLASSES = {
    "lora": peft.LoraConfig,
    "ia3": peft.IA3Config,
    "adalora": peft.AdaLoraConfig,
    "adaption_prompt": peft.AdaptionPromptConfig,
    "prompt": peft.PromptTuningConfig,
    "prefix": peft.PrefixTuningConfig,
}


def adapter_config(stage: Stage, task: str = "CAUSAL_LM") -> Any:
    """The PEFT configuration of a stage, or `None` when all weights are trained.

    Raises:
        RecipeError: PEFT does not know a field.
    """
    if isinstance(stage.adapter, str):
        return None
    options = stage.adapter
    try:
        return CLASSES[options.type](task_type=task, **_fields(options))
    except (TypeError, ValueError) as error:
        raise RecipeError(f"stages.{stage.name}.adapter: {error}") from None


def _fields(options: LoraOptions) -> dict[str, Any]:
    extra = dict(options.model_extra or {})
    if options.type in ("lora", "adalora"):
        rank = {"r": options.r} if options.type == "lora" else {"init_r": options.r}
        alpha = options.alpha if options.alpha is not None else 2 * options.r
        return {
            **rank,
            "lora_alpha": alpha,
            "lora_dropout": options.dropout,
            "target_modules": options.target_modules,
            **extra,
        }
    if options.type == "ia3" and options.target_modules != "all-linear":  # PEFT could not load that again
        return {"target_modules": options.target_modules, **extra}
    return (
        extra  # PEFT knows the layers of IA3 for each kind of model: keys, values and the feed-forward's last
    )
