"""Adapter settings of a recipe -> PEFT's configuration classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft

from toolkit.errors import RecipeError
from toolkit.recipe import LoraOptions, Recipe, Stage

CLASSES = {
    "lora": peft.LoraConfig,
    "ia3": peft.IA3Config,
    "adalora": peft.AdaLoraConfig,
    "vera": peft.VeraConfig,
    "adaption_prompt": peft.AdaptionPromptConfig,
    "prompt": peft.PromptTuningConfig,
    "prefix": peft.PrefixTuningConfig,
}


def stage_adapter(recipe: Recipe, stage: Stage, parent: Path | None = None) -> Any:
    """The PEFT configuration that a stage trains, or `None` when it trains all weights.

    Args:
        recipe: of the stage.
        stage: its adapter may be left out: then it continues its parent's.
        parent: folder of the adapter that is continued; left out, its configuration follows from the recipe.

    Raises:
        RecipeError: PEFT does not know a field.
    """
    task = "SEQ_CLS" if stage.method == "reward" else "CAUSAL_LM"
    if parent is not None:
        config = peft.PeftConfig.from_pretrained(str(parent))
        config.inference_mode, config.task_type = False, task
        return config
    options = recipe.adapter_of(stage.name)
    if isinstance(options, str):
        return None
    try:
        return CLASSES[options.type](task_type=task, **_fields(options))
    except (TypeError, ValueError) as error:
        raise RecipeError(f"stages.{stage.name}.adapter: {error}") from None


def changes_base(config: Any) -> bool:
    """Whether PEFT takes what the adapter begins with out of the base (PiSSA, OLoRA)."""
    return str(getattr(config, "init_lora_weights", "")).startswith(("pissa", "olora"))


def _fields(options: LoraOptions) -> dict[str, Any]:
    extra = dict(options.model_extra or {})
    targets = {"target_modules": options.target_modules}
    if options.type in ("lora", "adalora"):
        rank = {"r": options.r} if options.type == "lora" else {"init_r": options.r}
        alpha = options.alpha if options.alpha is not None else 2 * options.r
        return {**rank, "lora_alpha": alpha, "lora_dropout": options.dropout, **targets, **extra}
    if options.type == "vera":
        return {"r": options.r, "vera_dropout": options.dropout, **targets, **extra}
    if options.type == "ia3" and options.target_modules != "all-linear":  # PEFT could not load that again
        return {**targets, **extra}
    return (
        extra  # PEFT knows the layers of IA3 for each kind of model: keys, values and the feed-forward's last
    )
