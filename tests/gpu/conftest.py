"""Models of real shapes with random weights: nothing is fetched. Skipped where there is no CUDA device.

`ADAPTER_ARENA_GPU_TESTS=cpu` runs the same tests on a CPU, on a tiny shape: it shows that they run, not more.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from toolkit.models import resolve_base
from toolkit.recipe import ModelOptions

ON_CPU = os.environ.get("ADAPTER_ARENA_GPU_TESTS") == "cpu" and not torch.cuda.is_available()
DEVICE = "cpu" if ON_CPU else "cuda"

SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4},
    "135M": {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9}
    | {"num_key_value_heads": 3, "tie_word_embeddings": True},
    "1.1B": {"hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 22}
    | {"num_attention_heads": 32, "num_key_value_heads": 4},
    "7B": {
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
    },
}
"""SmolLM2-135M, TinyLlama-1.1B and Llama-2-7B, with the packaged tokenizer's vocabulary."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.gpu)
            if not (torch.cuda.is_available() or ON_CPU):
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(scope="session")
def base_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Size -> a model folder of it, in bf16, made once."""
    made: dict[str, Path] = {}

    def build(size: str) -> Path:
        size = "tiny" if ON_CPU else size
        if size not in made:
            made[size] = tmp_path_factory.mktemp(size)
            tokenizer = AutoTokenizer.from_pretrained(resolve_base("smollm2-135m-instruct"))
            torch.manual_seed(0)
            with torch.device(DEVICE):
                torch.set_default_dtype(torch.bfloat16)
                config = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=2048, **SHAPES[size])
                model = LlamaForCausalLM(config)
                torch.set_default_dtype(torch.float32)
            model.generation_config.eos_token_id = tokenizer.eos_token_id
            model.save_pretrained(made[size])
            tokenizer.save_pretrained(made[size])
        return made[size]

    return build


@pytest.fixture
def options() -> ModelOptions:
    return ModelOptions(device=DEVICE, dtype="bfloat16")


@pytest.fixture(autouse=True)
def emptied() -> Iterator[None]:
    """Give memory back between tests."""
    yield
    if not ON_CPU:
        torch.cuda.empty_cache()
