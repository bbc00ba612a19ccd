"""Estimated memory of a training step from the model's shape, and whether it needs gradient checkpointing.

Weights, gradients and Adam's two moments are counted exactly. Activations on a GPU: 34 bytes for each
token, layer and unit of width in 16 bit (Korthikanti et al. 2022), with gradient checkpointing 2 and one
layer in full. The upper bound is taken: modules that stay beside a quantised base in fp32, logits of all
positions (16 bit, fp32 and gradient), inputs of adapted layers in fp32, and 1.6 GB for CUDA, workspaces and
the allocator's reserve.

On a CPU, each token and layer holds 14 values of the model's width and 4 of the inner one, and eager
attention its scores for each pair of tokens and head; Python with its libraries takes 1.35 GB. For
SmolLM2-135M this is 0 to 5% above the measured peaks with rows of 256 to 1,024 tokens.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from toolkit.models.hardware import cpu_has_fast_bf16
from toolkit.recipe import LoraOptions, Recipe, Stage
from toolkit.train.methods import settings

ITSELF = {True: 1.6e9, False: 1.35e9}  # bytes besides the model, on a GPU and on a CPU
CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")  # of a container, in bytes, or `max`

PIECE = 512
TIGHT = 0.85  # share of the memory that an estimate may fill


@dataclass(frozen=True)
class Machine:
    """What a recipe would be trained on."""

    name: str
    memory: float  # bytes
    gpu: bool = True


def this_machine() -> Machine:
    """The GPU that is here, or this computer."""
    if torch.cuda.is_available():
        return Machine(torch.cuda.get_device_name(), torch.cuda.get_device_properties(0).total_memory)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if CONTAINER_LIMIT.is_file() and (limit := CONTAINER_LIMIT.read_text().strip()).isdigit():
        memory = min(memory, int(limit))
    return Machine("this computer", memory, gpu=False)


def needs_checkpointing(
    recipe: Recipe, stage: Stage, model: Any, target: Machine, longest: int | None
) -> bool:
    """Whether a stage trains with gradient checkpointing: as it says, else where memory is too small."""
    named = stage.trainer.get("gradient_checkpointing")
    if named is not None:
        return bool(named)
    return estimate(recipe, stage, model, target, longest, checkpointing=False) > target.memory * TIGHT


def estimate(
    recipe: Recipe,
    stage: Stage,
    model: Any,
    target: Machine,
    longest: int | None,
    *,
    checkpointing: bool | None = None,
) -> float:
    """Bytes of a training step with rows of the `longest` length; `checkpointing` left out: as trained."""
    if checkpointing is None:
        checkpointing = needs_checkpointing(recipe, stage, model, target, longest)
    weights, adapted = _weights(recipe, stage, model, target)
    config = model.config.get_text_config()
    trainer = settings(stage)
    limit = trainer.get("max_length")
    length = int(limit if isinstance(limit, int) and limit else longest or 1024)
    length = min(length, longest or length)
    if stage.spec.online:
        length = 256 + int(trainer["max_completion_length"])
    tokens = length * int(trainer["per_device_train_batch_size"])
    tokens *= 2 if stage.spec.rows == ("preference",) else 1
    layers, width = config.num_hidden_layers, config.hidden_size
    named = recipe.model.dtype
    in_fp32 = named == "float32" if named != "auto" else not (target.gpu or cpu_has_fast_bf16())
    size = 4 if in_fp32 else 2
    if target.gpu:
        a_layer = 17 * size * tokens * width + 4 * tokens * adapted / layers
    else:
        inner = getattr(config, "intermediate_size", 4 * width)
        a_layer = size * tokens * (14 * width + 4 * inner)
    if not target.gpu or recipe.model.attention == "eager":  # scores, and softmax in fp32
        a_layer += (size + 4) * tokens * length * config.num_attention_heads
    inputs = size * tokens * width * layers
    kept = inputs + a_layer if checkpointing else a_layer * layers
    scored = max(PIECE, tokens) if target.gpu else PIECE
    return float(weights + kept + scored * config.vocab_size * 10 + ITSELF[target.gpu])


def _weights(recipe: Recipe, stage: Stage, model: Any, target: Machine) -> tuple[float, int]:
    """Bytes of weights, gradients and moments; and the summed widths of the inputs of adapted layers."""
    head = model.get_output_embeddings()
    linear = {name: m for name, m in model.named_modules() if isinstance(m, nn.Linear) and m is not head}
    inside = sum(module.weight.numel() for module in linear.values())
    outside = sum(weight.numel() for weight in model.parameters()) - inside
    moments = 4 if "8bit" in str(stage.trainer.get("optim", "")) else 8
    adapter = recipe.adapter_of(stage.name)
    if not isinstance(adapter, LoraOptions):
        return (inside + outside) * (4 + 4 + moments), 0
    merged = stage.start != "base" and not recipe.continues(stage.name)
    taken_out = str((adapter.model_extra or {}).get("init_lora_weights", "")).startswith(("pissa", "olora"))
    exact = taken_out or stage.spec.reward_model or recipe.model.dtype == "float32" or not target.gpu
    quantization = recipe.model.quantization
    whole = 4 if exact else 2
    bits = {"nf4": 0.52, "int8": 1.0}.get(quantization, whole)
    targets = adapter.target_modules  # other kinds of adapter are smaller than LoRA
    chosen = [
        module
        for name, module in linear.items()
        if targets == "all-linear"
        or (re.fullmatch(targets, name) if isinstance(targets, str) else name.rpartition(".")[2] in targets)
    ]
    trained = sum(adapter.r * (module.in_features + module.out_features) for module in chosen)
    copied = set((adapter.model_extra or {}).get("modules_to_save") or ())
    whole_layers = [m for name, m in model.named_modules() if name.rpartition(".")[2] in copied]
    trained += sum(weight.numel() for module in whole_layers for weight in module.parameters())
    held = inside * bits + outside * (whole if quantization == "none" else 4)
    beside = 4 * trained if merged else 0  # the frozen parent
    return held + beside + trained * (4 + 4 + moments), sum(module.in_features for module in chosen)
