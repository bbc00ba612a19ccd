"""LoRA adapters added up exactly: their low-rank factors side by side, scalings folded in, in fp32.

So a new adapter on a frozen parent is published as one that fits the base; and so is an adapter whose
beginning was taken out of the base (PiSSA, OLoRA): as the difference between its end and its beginning.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import peft
import torch
from peft.utils.other import get_pattern_key

Weights = dict[str, torch.Tensor]

Part = tuple[Weights, Any, float]
"""Tensors by PEFT's names, their `LoraConfig`, and what they count: 1, or -1 for what is taken away."""

FACTOR = re.compile(r"\.lora_(embedding_)?([AB])(\.weight)?$")

JOINED = {
    "r", "lora_alpha", "lora_dropout", "target_modules", "exclude_modules", "layers_to_transform",
    "layers_pattern", "rank_pattern", "alpha_pattern", "use_rslora", "init_lora_weights", "fan_in_fan_out",
    "task_type", "peft_type", "peft_version", "inference_mode", "base_model_name_or_path", "revision",
    "auto_mapping", "runtime_config",
}  # fmt: skip
"""Settings of LoRA that adding up its factors does justice to."""


def not_joined(config: Any, own: tuple[str, ...] = ()) -> str | None:
    """Why an adapter cannot be added to another one, exactly; `None`: it can.

    Args:
        config: PEFT's configuration of either of the two.
        own: layers that only one of them trains whole (a classifier's output).
    """
    if not isinstance(config, peft.LoraConfig) or config.peft_type != "LORA":
        return f"type: {str(getattr(config, 'peft_type', config).value).lower()}"
    plain = peft.LoraConfig()
    for setting in dataclasses.fields(config):
        value = getattr(config, setting.name)
        if setting.name == "modules_to_save" and set(value or ()) <= set(own):
            continue
        if setting.name not in JOINED and value != getattr(plain, setting.name, None):
            return f"{setting.name}: {value}"
    return None


def join(parts: list[Part]) -> tuple[Weights, Any]:
    """One LoRA adapter that does what all of them do together, and its configuration.

    Every layer has the rank of all parts together, and a scaling of 1, with zeros where a part has no such
    layer. Tensors besides factors (a classifier's output) are the last part's.
    """
    ranks = [max(_rank(weights)) for weights, _, _ in parts]
    total = sum(ranks)
    shapes: dict[str, torch.Size] = {}
    for weights, _, _ in parts:
        shapes |= {name: weight.shape for name, weight in weights.items() if FACTOR.search(name)}
    joined = {name: weight for name, weight in parts[-1][0].items() if not FACTOR.search(name)}
    for name, shape in shapes.items():
        is_a = FACTOR.search(name)[2] == "A"  # type: ignore[index]
        made = torch.zeros(total, *shape[1:]) if is_a else torch.zeros(shape[0], total, *shape[2:])
        start = 0
        for (weights, config, share), rank in zip(parts, ranks, strict=True):
            if name in weights:
                here = weights[name].float()
                if is_a:
                    made[start : start + len(here)] = here
                else:
                    width = here.shape[1]
                    made[:, start : start + width] = here * (share * _scaling(config, name, width))
            start += rank
        joined[name] = made
    return joined, _config(parts, total)


def _rank(weights: Weights) -> list[int]:
    return [len(weight) for name, weight in weights.items() if (m := FACTOR.search(name)) and m[2] == "A"]


def _scaling(config: Any, name: str, rank: int) -> float:
    """What PEFT multiplies the product of a layer's factors by."""
    layer = FACTOR.sub("", name).removeprefix("base_model.model.")
    patterns = config.alpha_pattern or {}
    alpha = patterns.get(get_pattern_key(list(patterns), layer), config.lora_alpha)
    return float(alpha) / (rank**0.5 if config.use_rslora else rank)


def _config(parts: list[Part], rank: int) -> Any:
    """The last part's configuration; the layers are named in full where the parts have different ones."""
    config = dataclasses.replace(parts[-1][1])
    chosen = [
        (c.target_modules, c.exclude_modules, c.layers_to_transform, c.layers_pattern) for _, c, _ in parts
    ]
    if any(choice != chosen[0] for choice in chosen):
        names = {FACTOR.sub("", name) for w, _, _ in parts for name in w if FACTOR.search(name)}
        config.target_modules = {name.removeprefix("base_model.model.") for name in names}
        config.exclude_modules = config.layers_to_transform = config.layers_pattern = None
    config.r = config.lora_alpha = rank
    config.rank_pattern, config.alpha_pattern = {}, {}
    config.use_rslora, config.init_lora_weights = False, True
    return config
