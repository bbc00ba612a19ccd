"""A base, a chain of adapters and a quantisation -> one loaded model; endpoints; merging."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from toolkit.models.bases import resolve_base, resolve_encoder
    from toolkit.models.loading import Loaded, load_base

__all__ = ["Loaded", "load_base", "resolve_base", "resolve_encoder"]

_HOMES = {"resolve_base": "bases", "resolve_encoder": "bases", "Loaded": "loading", "load_base": "loading"}


def __getattr__(name: str) -> Any:
    """Import on first use: finding a base's folder must not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
