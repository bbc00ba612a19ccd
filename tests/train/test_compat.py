"""Private names of other libraries that we override or import are still there."""

from __future__ import annotations

import importlib

import pytest
from transformers import LlamaConfig, LlamaForCausalLM

from toolkit import compat


def resolve(name: str) -> object:
    parts = name.split(".")
    for depth in range(len(parts) - 1, 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:depth]))
        except ModuleNotFoundError:
            continue
        for part in parts[depth:]:
            found = getattr(found, part)
        return found
    raise ModuleNotFoundError(name)


@pytest.mark.parametrize("name", compat.PRIVATE)
def test_private_names_are_there(name: str):
    assert callable(resolve(name))


def test_the_attention_kernel_is_the_one_that_was_set():
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=8, num_key_value_heads=2, **sizes))
    for kernel in ("eager", "sdpa"):
        model.set_attn_implementation(kernel)
        assert compat.attention_kernel(model) == kernel
