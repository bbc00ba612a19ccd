"""The list of model types that fast paths run on."""

from __future__ import annotations

import pytest
from peft import LoraConfig, get_peft_model

from tests.tiny_types import TYPES, tiny_of
from toolkit.models.proven import FAST_MODEL_TYPES, is_proven


@pytest.mark.parametrize("kind", sorted(TYPES))
def test_listed_types_are_proven_under_an_adapter_too_and_others_are_not(kind: str):
    model = tiny_of(kind)
    assert is_proven(model) == (kind in FAST_MODEL_TYPES)
    wrapped = get_peft_model(model, LoraConfig(r=2, target_modules="all-linear"))
    assert is_proven(wrapped) == (kind in FAST_MODEL_TYPES)


def test_every_listed_type_has_a_tiny_model_to_test_with():
    assert TYPES.keys() >= FAST_MODEL_TYPES


def test_a_class_that_is_not_transformers_own_is_not_proven():
    model = tiny_of("llama")
    model.__class__ = type("Changed", (type(model),), {"__module__": "modeling_changed"})
    assert not is_proven(model)
