"""The model a stage starts from: the base, with everything trained below the stage merged into it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from toolkit.models import bases, hardware
from toolkit.models.loading import check_lineage, load_tokenizer, load_weights
from toolkit.recipe import Recipe, Stage


@dataclass(frozen=True)
class Base:
    """What a method trains on top of."""

    name: str
    fingerprint: str
    """Of the weights on disk that the published adapter will fit."""
    model: Any
    tokenizer: Any
    hardware: hardware.Hardware
    parent: Path | None
    """Folder of the adapter merged into `model`, if the stage starts from an earlier one."""
    rewards: dict[str, Path] = field(default_factory=dict)
    """Name -> folder of the reward models that online methods learn from."""


def prepare_base(recipe: Recipe, stage: Stage, run: Path) -> Base:
    """Load the base of a stage with its parent's adapter merged in, so that it is the frozen reference too.

    Weights are held and merged in fp32 on a CPU and whenever there is a parent: a delta is small against
    the weight it is added to, and 16 bits would lose part of it. A quantised base is dequantised for that:
    the parent was trained on those weights, and this stage is trained unquantised.

    Raises:
        ModelError: the base or the parent cannot be loaded, or do not belong together.
    """
    chain = recipe.chain(stage.name)[:-1]
    below = recipe.whole_below(stage.name)
    name = str(run / "adapters" / below) if below else recipe.base
    folder = bases.resolve_base(name, revision=recipe.model.revision)
    chosen = hardware.choose(recipe.model)
    parent = run / "adapters" / chain[-1].name if chain and chain[-1].adapter != "none" else None
    quantized = recipe.model.quantization != "none"
    if recipe.model.attention == "auto" and chosen.device.type == "cpu":
        chosen = replace(chosen, attention="eager")  # half the time of sdpa, whose backward is slow on a CPU
    whole = replace(chosen, dtype=torch.float32)
    exact = parent is not None or chosen.device.type == "cpu"
    model = load_weights(folder, whole if exact and not quantized else chosen, recipe.model.quantization)
    fingerprint = bases.fingerprint(folder)
    if parent:
        check_lineage(parent, name, folder)
        if quantized:  # merged into so few bits most of the training would be lost
            model = model.dequantize(torch.float32)
        model = PeftModel.from_pretrained(model, str(parent)).merge_and_unload()
    tokenizer = load_tokenizer(folder, recipe.model.chat_template, recipe.model.chat_template_kwargs)
    return Base(name, fingerprint, model, tokenizer, chosen, parent, _rewards(recipe, stage, run))


def _rewards(recipe: Recipe, stage: Stage, run: Path) -> dict[str, Path]:
    own = {other.name for other in recipe.stages if other.method == "reward"}
    return {
        name: run / "adapters" / name if name in own else bases.resolve_base(name) for name in stage.rewards
    }
