"""Memory estimates against published figures: within 15%, and upwards."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from toolkit.recipe import Recipe, load
from toolkit.run.checks.memory import machine, memory
from toolkit.train.dry_run import shape_of
from toolkit.train.memory import Machine, estimate, needs_checkpointing

SIZES = {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32}
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]


def shape(kind: str, **fields: Any) -> Any:
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **SIZES, **fields))


@pytest.fixture(scope="module")
def qwen_7b() -> Any:
    """Qwen-7B's sizes, whose own type is not part of transformers."""
    return shape("qwen2", vocab_size=151_936, num_key_value_heads=32, tie_word_embeddings=False)


def gigabytes(model: Any, length: int, *, batch: int = 1, attention: str = "auto", **adapter: Any) -> float:
    trainer = {"max_length": length, "per_device_train_batch_size": batch, "gradient_checkpointing": True}
    stage = {"name": "sft", "method": "sft", "data": "rows", "adapter": adapter, "trainer": trainer}
    data = {"rows": {"source": "rows.jsonl"}}
    options = {"quantization": "nf4", "attention": attention}
    plain = {"name": "x", "base": "a/b", "model": options, "data": data, "stages": [stage]}
    recipe = Recipe.model_validate(plain)
    return estimate(recipe, recipe.stages[0], model, Machine("a GPU", 80e9), length) / 1e9


@pytest.mark.parametrize(
    "adapter", [{}, {"r": 64, "target_modules": ATTENTION}], ids=["default", "attention"]
)
@pytest.mark.parametrize(("length", "published"), [(256, 11.5), (1024, 12.3), (2048, 13.9)])
def test_qlora_of_qwen_7b(qwen_7b: Any, length: int, published: float, adapter: dict[str, Any]):
    """As published with the model, batches of one sequence."""
    assert published <= gigabytes(qwen_7b, length, **adapter) <= 1.15 * published


def test_qlora_of_llama_2_7b_spans_its_published_figure():
    """Published as 12.3 GB at the peak, without batch, length or rank: no test of 15%.

    One row of 1,024 tokens at rank 64 is estimated below it, four rows within 15%.
    """
    llama = shape("llama", vocab_size=32_000, tie_word_embeddings=False)
    assert gigabytes(llama, 1024, r=64) < 12.3
    assert gigabytes(llama, 1024, batch=4, r=64) == pytest.approx(12.3, rel=0.15)


@pytest.mark.parametrize(
    ("length", "batch", "dtype", "measured"),
    [
        (256, 2, "float32", 3.31),
        (512, 2, "float32", 4.83),
        (1024, 1, "float32", 6.02),
        (512, 2, "bfloat16", 3.76),
    ],
)
def test_a_step_of_a_135m_model_on_a_cpu(length: int, batch: int, dtype: str, measured: float):
    """Peaks of the process, in GB, that trained one step of rows of this length."""
    sizes = {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9}
    config = AutoConfig.for_model(
        "llama", **sizes, num_key_value_heads=3, vocab_size=49_152, tie_word_embeddings=True
    )
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    trainer = {"max_length": length, "per_device_train_batch_size": batch}
    stage = {"name": "s", "method": "text", "data": "rows", "adapter": {"r": 8}, "trainer": trainer}
    data = {"rows": {"source": "rows.jsonl"}}
    plain = {"name": "x", "base": "a/b", "model": {"dtype": dtype}, "data": data, "stages": [stage]}
    recipe = Recipe.model_validate(plain)
    computer = Machine("a computer", 25e9, gpu=False)
    found = estimate(recipe, recipe.stages[0], model, computer, length) / 1e9
    assert measured <= found <= 1.15 * measured


def test_quantising_and_shorter_rows_and_smaller_ranks_take_less(qwen_7b: Any):
    whole = gigabytes(qwen_7b, 1024, r=64)
    assert gigabytes(qwen_7b, 512, r=64) < whole
    assert gigabytes(qwen_7b, 1024, r=8) < whole
    assert gigabytes(qwen_7b, 1024, batch=2, r=64) > whole


def test_layers_trained_whole_and_eager_attention_are_counted(qwen_7b: Any):
    plain = gigabytes(qwen_7b, 1024, target_modules=ATTENTION)
    head = 151_936 * 4096 * 16 / 1e9  # weights, gradients and two moments in fp32
    saved = gigabytes(qwen_7b, 1024, target_modules=ATTENTION, modules_to_save=["lm_head"])
    assert saved == pytest.approx(plain + head)
    pattern = gigabytes(qwen_7b, 1024, target_modules=rf".*\.({'|'.join(ATTENTION)})")
    assert pattern == pytest.approx(plain)
    eager = gigabytes(qwen_7b, 2048, attention="eager")
    assert eager > gigabytes(qwen_7b, 2048) + 32 * 2048**2 * 6 / 1e9 - 0.01


@pytest.mark.parametrize(
    ("base", "quantization", "gpu", "gigabytes"),
    [
        ("TinyLlama/TinyLlama-1.1B-intermediate-step-1431k-3T", "nf4", "t4", 16),
        ("meta-llama/Llama-2-7b-hf", "nf4", "t4", 16),
        ("mistralai/Mistral-7B-v0.3", "nf4", "t4", 16),
        ("meta-llama/Llama-2-7b-hf", "none", "24gb", 24),
    ],
)
def test_the_chapter_and_its_7b_twins_fit(base: str, quantization: str, gpu: str, gigabytes: int):
    """SFT, and DPO with an adapter of its own, without the network: the shapes of these bases are known."""
    recipe = load("chapter")
    options = recipe.model.model_copy(update={"quantization": quantization})
    recipe = recipe.model_copy(update={"base": base, "model": options})
    found = list(memory(recipe, {}, {}, shape_of(recipe), machine(gpu)))
    assert [each.place for each in found] == ["stages.sft", "stages.dpo"]
    assert all(each.message.endswith(f"has {gigabytes} GB): it fits") for each in found), found


def test_checkpointing_is_chosen_where_a_stage_would_not_fit_without():
    recipe = load("chapter")
    bare = {k: v for k, v in recipe.stages[0].trainer.items() if k != "gradient_checkpointing"}
    stage = recipe.stages[0].model_copy(update={"trainer": bare | {"per_device_train_batch_size": 8}})
    model = shape_of(recipe)
    small, large = Machine("small", 16e9), Machine("large", 80e9)
    assert needs_checkpointing(recipe, stage, model, small, None)
    assert not needs_checkpointing(recipe, stage, model, large, None)
    assert estimate(recipe, stage, model, small, None) < estimate(recipe, stage, model, large, None)
    for size, chosen in ((8e9, True), (500e9, False)):
        computer = Machine("a computer", size, gpu=False)
        assert needs_checkpointing(recipe, stage, model, computer, 2048) is chosen
