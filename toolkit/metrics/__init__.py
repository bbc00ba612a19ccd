"""Perplexity, ROUGE, BLEU, chrF, BERTScore and others; their intervals and differences."""

from toolkit.metrics.intervals import difference, score
from toolkit.metrics.measurement import Measurement

__all__ = ["Measurement", "difference", "score"]
