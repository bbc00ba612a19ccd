"""In which number type weights are held while a stage trains under autocast."""

from __future__ import annotations

from typing import Any

import torch


def hold_frozen_weights_in(model: Any, kind: torch.dtype) -> None:
    """Cast frozen linear layers once, to what autocast casts them to in every forward pass.

    Not the output layer: its weights may be the input embedding's too, which autocast leaves whole.
    """
    head = model.get_output_embeddings()
    for module in model.modules():
        if hasattr(module, "cast_input_dtype_enabled"):
            module.cast_input_dtype_enabled = False  # PEFT: to fp32, from where autocast brings it back
        if type(module) is torch.nn.Linear and module is not head and not module.weight.requires_grad:
            module.weight.data = module.weight.data.to(kind)


def hold_trained_weights_in_fp32(model: Any) -> None:
    """Cast what is trained: the scaler of float16 training refuses gradients of any 16-bit type.

    TRL leaves all weights as they were loaded, and casts adapters on a quantised base to bfloat16.
    """
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()
