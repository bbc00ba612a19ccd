"""The list of model types that fast paths run on."""

from __future__ import annotations

import pytest
from peft import LoraConfig, get_peft_model

from tests.tiny_types import TYPES, tiny_of
from toolkit.models.supported_types import FAST_MODEL_TYPES, supports_fast_paths


@pytest.mark.parametrize("kind", sorted(TYPES))
def test_listed_types_are_proven_under_an_adapter_too_and_others_are_not(kind: str):
    model = tiny_of(kind)
    assert supports_fast_paths(model) == (kind in FAST_MODEL_TYPES)
    wrapped = get_peft_model(model, LoraConfig(r=2, target_modules="all-linear"))
    assert supports_fast_paths(wrapped) == (kind in FAST_MODEL_TYPES)


def test_every_listed_type_has_a_tiny_model_to_test_with():
    assert TYPES.keys() >= FAST_MODEL_TYPES


def test_a_class_that_is_not_transformers_own_is_not_proven():
    model = tiny_of("llama")
    model.__class__ = type("Changed", (type(model),), {"__module__": "modeling_changed"})
    assert not supports_fast_paths(model)
