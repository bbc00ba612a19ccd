"""Model types on which our hand-made fast paths are tested to equal the library's plain path."""

from typing import Any

from peft import PeftModel

from toolkit import compat
from toolkit.models.loading import unwrapped

FAST_MODEL_TYPES: frozenset[str] = frozenset(
    {"gemma2", "gemma3_text", "llama", "mistral", "phi3", "qwen2", "qwen3"}
)
"""`model_type` of configurations; every other type takes the plain path. `tests/tiny_types.py` builds one of
each for the tests of every fast path: add a type there first, then here."""


def supports_fast_paths(model: Any) -> bool:
    """Whether fast paths may run on a model: transformers' own class of a listed type, adapted or not."""
    inner = unwrapped(model)
    ours = inner.config.model_type in FAST_MODEL_TYPES and type(inner).__module__.startswith("transformers.")
    if not isinstance(model, PeftModel):
        return ours
    adapter = model.active_peft_config
    return ours and not (adapter.is_prompt_learning or adapter.is_adaption_prompt)


def supports_custom_masks(model: Any, longest: int) -> bool:
    """Whether the kernel takes custom masks and no window slides over texts of `longest` tokens."""
    inner = unwrapped(model)
    window = getattr(inner.config, "sliding_window", None)
    maskable = compat.attention_kernel(inner) in ("eager", "sdpa") and (window is None or longest <= window)
    return supports_fast_paths(model) and maskable


def supports_split_head(model: Any) -> bool:
    """Whether the logits of a supported model are its output layer's alone (gemma2 caps them)."""
    capped = getattr(unwrapped(model).config, "final_logit_softcapping", None) is not None
    return supports_fast_paths(model) and not capped
