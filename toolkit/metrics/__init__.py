"""Perplexity, ROUGE, BLEU, chrF, BERTScore and others; their intervals and differences."""

from typing import TYPE_CHECKING, Any

from toolkit.metrics.intervals import difference, score
from toolkit.metrics.measurement import Measurement

if TYPE_CHECKING:
    from toolkit.metrics.perplexity import measure_perplexity, measure_text_perplexity
    from toolkit.metrics.registry import measure_texts

__all__ = [
    "Measurement",
    "difference",
    "measure_perplexity",
    "measure_text_perplexity",
    "measure_texts",
    "score",
]

_HOMES = {
    "measure_texts": "registry",
    "measure_perplexity": "perplexity",
    "measure_text_perplexity": "perplexity",
}


def __getattr__(name: str) -> Any:
    """Import on first use: intervals of figures that are already there must not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
