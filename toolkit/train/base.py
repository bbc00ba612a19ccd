"""The model a stage starts from: the base, with the adapter below the stage continued or merged into it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from toolkit.models import bases, hardware
from toolkit.models.hardware import Hardware
from toolkit.models.loading import (
    check_lineage,
    load_adapter,
    load_adapter_weights,
    load_dequantized,
    load_tokenizer,
    load_weights,
    merge_adapter,
)
from toolkit.recipe import Recipe, Stage
from toolkit.train import lora
from toolkit.train.weights import hold_trained_weights_in_fp32


@dataclass(frozen=True)
class Base:
    """What a method trains on top of."""

    name: str
    folder: Path
    fingerprint: str
    """Of the weights on disk that the published adapter will fit."""
    model: Any
    tokenizer: Any
    hardware: Hardware
    loaded: Hardware
    """The same with the number type that the weights were loaded in."""
    adapter: Any
    """PEFT's configuration of what is trained; `None`: all weights."""
    parent: Path | None
    """Folder of the adapter that the stage starts from."""
    continued: bool
    """Whether the parent's adapter is trained on; else it is merged into `model`, frozen."""
    rewards: dict[str, Path] = field(default_factory=dict)
    """Name -> folder of the reward models that online methods learn from."""

    @property
    def on_frozen(self) -> bool:
        """Whether the parent's adapter is merged into `model`."""
        return self.parent is not None and not self.continued

    @property
    def moved(self) -> bool:
        """Whether the model before the first step is not the one with its adapter switched off."""
        return self.adapter is None or self.continued or lora.changes_base(self.adapter)

    def start(self, model: Any) -> None:
        """Make of a model that TRL has prepared the one that the stage starts from; may be called again.

        What is trained is held in fp32: TRL casts adapters on a quantised base to bfloat16, where small steps
        are lost, and leaves other weights as they were loaded. A continued adapter gets its parent's weights.
        """
        hold_trained_weights_in_fp32(model)
        if self.continued and self.parent:
            load_adapter_weights(model, self.parent)


def prepare_base(recipe: Recipe, stage: Stage, run: Path) -> Base:
    """Load the base of a stage; the adapter below is continued, or merged in for a stage with one of its own.

    Weights are held in fp32 on a CPU, and where something is merged into them or taken out: a delta is small
    against the weight it is added to, and 16 bits would lose part of it. A quantised base with a merged
    parent is dequantised, since the parent was trained on those weights.

    Raises:
        ModelError: the base or the parent cannot be loaded, or do not belong together.
        RecipeError: PEFT does not know a field of the adapter.
    """
    chain = recipe.chain(stage.name)[:-1]
    below = recipe.whole_below(stage.name)
    name = str(run / "adapters" / below) if below else recipe.base
    folder = bases.resolve_base(name, revision=recipe.model.revision)
    chosen = hardware.choose(recipe.model)
    parent = run / "adapters" / chain[-1].name if chain and chain[-1].adapter != "none" else None
    continued = recipe.continues(stage.name)
    fingerprint = bases.fingerprint(folder)
    if parent:
        check_lineage(parent, name, folder)
    adapter = lora.stage_adapter(recipe, stage, parent if continued else None)
    if recipe.model.attention == "auto" and chosen.device.type == "cpu":
        chosen = replace(chosen, attention="eager")  # half the time of sdpa, whose backward is slow on a CPU
    merged = None if continued else parent
    exact = merged is not None or chosen.device.type == "cpu" or lora.changes_base(adapter)
    quantized = recipe.model.quantization != "none"
    loaded = replace(chosen, dtype=torch.float32) if exact and not quantized else chosen
    # merged into 4 bits most of the training would be lost
    load = load_dequantized if merged and quantized else load_weights
    model = load(folder, loaded, recipe.model.quantization)
    if merged:
        model = merge_adapter(load_adapter(model, merged))
    tokenizer = load_tokenizer(folder, recipe.model.chat_template, recipe.model.chat_template_kwargs)
    rewards = _rewards(recipe, stage, run)
    return Base(
        name, folder, fingerprint, model, tokenizer, chosen, loaded, adapter, parent, continued, rewards
    )


def _rewards(recipe: Recipe, stage: Stage, run: Path) -> dict[str, Path]:
    own = {other.name for other in recipe.stages if other.method == "reward"}
    return {
        name: run / "adapters" / name if name in own else bases.resolve_base(name) for name in stage.rewards
    }
