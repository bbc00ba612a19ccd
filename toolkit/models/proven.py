"""Model types on which our hand-made fast paths are tested to equal the library's plain path."""

from __future__ import annotations

from typing import Any

from toolkit.models.loading import unwrapped

FAST_MODEL_TYPES: frozenset[str] = frozenset(
    {"gemma2", "gemma3_text", "llama", "mistral", "phi3", "qwen2", "qwen3"}
)
"""`model_type` of configurations; every other type takes the plain path. `tests/tiny_types.py` builds one of
each for the tests of every fast path: add a type there first, then here."""


def is_proven(model: Any) -> bool:
    """Whether fast paths may run on a model, adapted or not: transformers' own class of a listed type."""
    inner = unwrapped(model)
    return inner.config.model_type in FAST_MODEL_TYPES and type(inner).__module__.startswith("transformers.")
