"""Tiny random models in fp32 of every type that fast paths run on, and of some that they must leave alone."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

COMMON: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1100,
    "initializer_range": 0.2,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}

WINDOWS = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}

TYPES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {"use_sliding_window": True} | WINDOWS,
    "qwen3": {"head_dim": 8},
    "mistral": {"sliding_window": 8},
    "gemma2": {"head_dim": 8, "query_pre_attn_scalar": 8} | WINDOWS,
    "gemma3_text": {"head_dim": 8, "query_pre_attn_scalar": 8} | WINDOWS,
    "phi3": {"sliding_window": 8},
    "gpt_neox": {},
    "granite": {"logits_scaling": 4.0},
}
"""`model_type` -> fields of its configuration over `COMMON`."""


def tiny_of(model_type: str, **fields: Any) -> Any:
    """A causal language model of this type with random weights, the same ones every time."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(model_type, **{**COMMON, **TYPES.get(model_type, {}), **fields})
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
