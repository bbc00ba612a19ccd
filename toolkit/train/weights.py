"""In which number type weights are held while a stage trains."""

from __future__ import annotations

from typing import Any


def hold_trained_weights_in_fp32(model: Any) -> None:
    """Cast what is trained: small steps are lost in 16 bit, and the scaler of float16 refuses its gradients.

    TRL leaves all weights as they were loaded, and casts adapters on a quantised base to bfloat16.
    """
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()


def cast_inputs(model: Any, *, enabled: bool) -> None:
    """Let PEFT cast what adapters read to their own type, or not: under autocast it would be cast back."""
    for module in model.modules():
        if hasattr(module, "cast_input_dtype_enabled"):
            module.cast_input_dtype_enabled = enabled
