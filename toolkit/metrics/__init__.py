"""Perplexity, ROUGE, BLEU, chrF, BERTScore and others; their intervals and differences."""

from typing import TYPE_CHECKING, Any

from toolkit.metrics.intervals import difference, score
from toolkit.metrics.measurement import Measurement

if TYPE_CHECKING:
    from toolkit.metrics.perplexity import measure_perplexity, measure_text_perplexity
    from toolkit.metrics.registry import measure_texts

__all__ = ["Measurement", "difference", "score"]
__all__ += ["measure_perplexity", "measure_text_perplexity", "measure_texts"]


def __getattr__(name: str) -> Any:
    """Import on first use: intervals of figures that are already there must not wait for torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    home = "registry" if name == "measure_texts" else "perplexity"
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)
