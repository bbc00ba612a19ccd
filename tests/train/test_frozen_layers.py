"""Frozen layers that run once a row: same losses, fewer calls, and no cleverness where it would be wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from tests.tiny_types import TYPES, tiny_of
from tests.train.test_methods import recipe_of, stage
from toolkit.models.loading import unwrapped
from toolkit.models.supported_types import FAST_MODEL_TYPES
from toolkit.train import fast_paths, preference, sft, train_stage
from toolkit.train.fast_paths import install_hidden_state_cache

UPPER = {"r": 4, "target_modules": ["q_proj", "up_proj"], "layers_to_transform": [1]}


def losses(folder: Path, tiny_model: Path, method: str, data: str) -> list[float]:
    folder.mkdir()
    recipe = recipe_of(folder, tiny_model, [stage("s", method, data, adapter=UPPER)])
    train_stage(recipe, recipe.stages[0], folder)
    log = (folder / "adapters" / "s" / "training.jsonl").read_text().splitlines()
    return [row.get("loss", row.get("eval_loss")) for row in map(json.loads, log)]


@pytest.mark.matrix
@pytest.mark.parametrize(("method", "data"), [("dpo", "pairs"), ("sft", "answers")])
def test_training_is_as_without(
    method: str, data: str, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
):
    once = losses(tmp_path / "once", tiny_model, method, data)
    for module in (preference, sft):
        monkeypatch.setattr(module, "install_hidden_state_cache", lambda _: None)
    assert once == pytest.approx(losses(tmp_path / "plain", tiny_model, method, data), abs=2e-3)


@pytest.fixture
def upper(tiny_model: Path) -> Callable[..., Any]:
    def made(**config: Any) -> Any:
        torch.manual_seed(0)
        options = UPPER | {"init_lora_weights": False} | config
        return get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model), LoraConfig(**options))

    return made


IDS = torch.arange(3, 27).reshape(3, 8)
MASK = torch.tensor([[1] * 8, [1] * 5 + [0] * 3, [1] * 7 + [0]])
LABELS = IDS.masked_fill(MASK == 0, -100)


def first_layer(model: Any) -> Any:
    return unwrapped(model).base_model.layers[0].mlp


def calls_of_first_layer(model: Any) -> list[int]:
    calls: list[int] = []
    first_layer(model).register_forward_hook(lambda *_: calls.append(1))
    return calls


def test_a_row_goes_through_frozen_layers_once_whatever_it_is_padded_to(upper: Callable[..., Any]):
    model, plain = upper(), upper()
    calls = calls_of_first_layer(model)
    install_hidden_state_cache(model)
    install_hidden_state_cache(model)
    for rows, width in (([0, 1, 2], 8), ([2, 0], 8), ([1], 5), ([1], 8)):
        arguments = {"input_ids": IDS[rows, :width], "attention_mask": MASK[rows, :width], "use_cache": False}
        seen = MASK[rows, :width].bool()
        torch.testing.assert_close(
            model(**arguments).logits[seen], plain(**arguments).logits[seen], atol=1e-5, rtol=1e-4
        )
    assert len(calls) == 1
    model(input_ids=IDS + 1, attention_mask=MASK, use_cache=False)
    assert len(calls) == 2


def test_a_second_install_changes_nothing(upper: Callable[..., Any]):
    model = upper()
    install_hidden_state_cache(model)
    hooks = [len(module._forward_pre_hooks) for module in model.modules()]
    assert sum(hooks) == 2
    install_hidden_state_cache(model)
    assert [len(module._forward_pre_hooks) for module in model.modules()] == hooks


@pytest.mark.parametrize("kind", sorted(TYPES))
def test_every_type_makes_of_a_row_what_it_makes_without(kind: str):
    config = LoraConfig(target_modules=r".*\.2\..*(down_proj|dense_4h_to_h)", init_lora_weights=False)

    def made(*, once: bool) -> list[torch.Tensor]:
        model = get_peft_model(tiny_of(kind), config)
        calls = calls_of_first_layer(model)
        if once:
            install_hidden_state_cache(model)
        logits = []
        for rows, width in (([0, 1, 2], 24), ([2, 0], 24), ([1], 9)):
            ids = torch.arange(1, 61).repeat(2)[:72].reshape(3, 24)[rows, :width]
            mask = (torch.arange(width) < torch.tensor([24, 9, 17])[rows, None]).long()
            output = model(input_ids=ids, attention_mask=mask, use_cache=False)
            logits.append(output.logits[mask.bool()])
        assert len(calls) == (1 if once and kind in FAST_MODEL_TYPES else 3)
        return logits

    for ours, plain in zip(made(once=True), made(once=False), strict=True):
        torch.testing.assert_close(ours, plain, atol=1e-5, rtol=1e-4)


def test_gradients_are_those_without(upper: Callable[..., Any]):
    def gradients(model: Any) -> list[torch.Tensor]:
        for _ in range(2):
            model.zero_grad()
            model(input_ids=IDS, attention_mask=MASK, labels=LABELS, use_cache=False).loss.backward()
        return [weight.grad for weight in model.parameters() if weight.requires_grad]

    model = upper()
    install_hidden_state_cache(model)
    for ours, theirs in zip(gradients(model), gradients(upper()), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_it_keeps_out_where_states_are_not_the_same_every_time(
    upper: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
):
    whole = upper(layers_to_transform=[0, 1])
    left_padded = upper()
    checkpointed = upper()
    checkpointed.base_model.model.model.gradient_checkpointing = True
    full = upper()
    for model, mask in ((whole, MASK), (left_padded, MASK.flip(1)), (checkpointed, MASK), (full, MASK)):
        calls = calls_of_first_layer(model)
        install_hidden_state_cache(model)
        if model is full:
            monkeypatch.setattr(fast_paths, "MOST_BYTES", 0)
        model.eval()
        for _ in range(2):
            model(input_ids=IDS, attention_mask=mask, use_cache=False)
        assert len(calls) == 2
