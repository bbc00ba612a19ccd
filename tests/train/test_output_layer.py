"""Our output layer on a CPU against TRL's: the same figures and the same gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM
from trl.trainer.utils import add_fused_lm_head

from tests.tiny_types import TYPES, tiny_of
from toolkit.models.supported_types import FAST_MODEL_TYPES
from toolkit.train.base import cast_trained_weights_to_fp32
from toolkit.train.fast_paths import CHUNK_POSITIONS, install_target_logprob_head

FIGURES = ("log_probs", "entropy", "mean_logits", "is_top1", "label_mask")


@pytest.fixture
def model(tiny_model: Path) -> Any:
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    add_fused_lm_head(base, outputs=("log_probs", "entropy", "mean_logits", "is_top1"))
    return get_peft_model(base, LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))


def batch(rows: int, length: int, learned: float) -> dict[str, torch.Tensor]:
    ids = torch.randint(3, 60, (rows, length), generator=torch.Generator().manual_seed(rows))
    chosen = torch.rand(rows, length, generator=torch.Generator().manual_seed(length)) < learned
    labels = ids.masked_fill(~chosen, -100)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}


def scored(model: Any, inputs: dict[str, torch.Tensor], **extra: Any) -> tuple[Any, dict[str, torch.Tensor]]:
    model.zero_grad()
    output = model(**inputs, fused_lm_head=True, **extra)
    output.loss.backward()
    gradients = {name: w.grad.clone() for name, w in model.named_parameters() if w.grad is not None}
    return output, gradients


@pytest.mark.parametrize("inputs", [batch(3, 17, 0.5), batch(2, 9, 0.0), batch(4, CHUNK_POSITIONS, 0.9)])
@pytest.mark.parametrize("extra", [{}, {"num_items_in_batch": 40}])
def test_same_figures_and_gradients_as_trls(model: Any, inputs: dict[str, torch.Tensor], extra: Any):
    theirs, their_gradients = scored(model, inputs, **extra)
    install_target_logprob_head(model)
    ours, our_gradients = scored(model, inputs, **extra)
    assert torch.allclose(ours.loss, theirs.loss, atol=1e-6)
    for name in FIGURES:
        assert torch.allclose(getattr(ours, name).float(), getattr(theirs, name).float(), atol=1e-5), name
    assert our_gradients.keys() == their_gradients.keys()
    for name, gradient in our_gradients.items():
        theirs_here = their_gradients[name]
        assert (gradient - theirs_here).abs().max() <= 1e-5 * theirs_here.abs().max(), name
    assert any(gradient.abs().max() > 0 for gradient in our_gradients.values()) == bool(
        (inputs["labels"][:, 1:] != -100).any()
    )


@pytest.mark.parametrize("kind", sorted(TYPES))
def test_every_type_learns_as_with_trls(kind: str):
    """Ours on the proven types that do not cap their logits; TRL's on the others, untouched."""

    def made(*, ours: bool) -> Any:
        base = tiny_of(kind)
        add_fused_lm_head(base, outputs=FIGURES[:-1])
        theirs = base.forward
        model = get_peft_model(base, LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
        if ours:
            install_target_logprob_head(model)
            assert (base.forward != theirs) == (kind in FAST_MODEL_TYPES - {"gemma2"})
        return model

    ours, plain = made(ours=True), made(ours=False)
    for length in (5, 30):
        inputs = batch(3, length, 0.5)
        inputs["attention_mask"][1, -2:] = 0
        inputs["labels"][1, -2:] = -100
        found, gradients = scored(ours, inputs)
        expected, expected_gradients = scored(plain, inputs)
        for name in FIGURES:
            torch.testing.assert_close(getattr(found, name), getattr(expected, name), atol=1e-5, rtol=1e-5)
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, expected_gradients[name], atol=1e-5, rtol=1e-4)


def test_without_labels_the_model_answers_as_ever(model: Any):
    ids = torch.arange(3, 20)[None]
    before = model(input_ids=ids).logits
    install_target_logprob_head(model)
    assert torch.equal(model(input_ids=ids).logits, before)


def test_a_trained_output_layer_is_left_to_trl(model: Any):
    whole = model.get_base_model()
    whole.get_output_embeddings().weight.requires_grad_(True)
    before = whole.forward
    install_target_logprob_head(model)
    assert whole.forward == before


def test_what_float16_training_learns_is_held_in_fp32(model: Any):
    for weight in model.parameters():
        weight.data = weight.data.to(torch.bfloat16)
    cast_trained_weights_to_fp32(model)
    kinds = {(weight.requires_grad, weight.dtype) for weight in model.parameters()}
    assert kinds == {(True, torch.float32), (False, torch.bfloat16)}
