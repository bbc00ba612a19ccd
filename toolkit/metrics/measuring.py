"""A contestant's completions -> measurements, by the names recipes use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from toolkit.metrics.measurement import Measurement
from toolkit.metrics.text import Bleu, Chrf, Form, Match, Rouge, Ter, TextMetric
from toolkit.types import Completion

METRICS: dict[str, Callable[[], TextMetric]] = {
    "rouge": Rouge,
    "bleu": Bleu,
    "chrf": Chrf,
    "ter": Ter,
    "exact_match": Match,
    "length": Form,
}
"""Name in a recipe -> metric; `bertscore` has an encoder to choose besides."""


@dataclass(frozen=True)
class Encoding:
    """How BERTScore is made; see `toolkit.metrics.bertscore.BertScore`."""

    encoder: str = "all-minilm-l6-v2"
    layer: int | None = None
    idf: bool = False
    rescale: bool | Path = False


def measure_texts(
    completions: Sequence[Completion], metrics: Sequence[str], *, encoding: Encoding = Encoding()
) -> list[Measurement]:
    """Measure one contestant's completions against their references.

    Args:
        completions: of one contestant; those without a reference are left out, except for `length`.
        metrics: names as in a recipe.
        encoding: of BERTScore.

    Returns:
        A measurement for every figure: `rouge` gives four, `bertscore` three.
    """
    found: list[Measurement] = []
    for name in metrics:
        chosen = [each for each in completions if name == "length" or each.reference is not None]
        if chosen:
            found += _measured(_metric(name, encoding), chosen)
    return found


def _metric(name: str, encoding: Encoding) -> TextMetric:
    if name == "bertscore":
        from toolkit.metrics.bertscore import BertScore  # imports torch

        return BertScore(**vars(encoding))
    return METRICS[name]()


def _measured(metric: TextMetric, completions: Sequence[Completion]) -> list[Measurement]:
    references = [[completion.reference or ""] for completion in completions]
    table = metric.rows([completion.completion for completion in completions], references)
    return [
        Measurement(
            contestant=completions[0].contestant,
            metric=name,
            kind=kind,
            example_ids=tuple(completion.example_id for completion in completions),
            rows=tuple(rows),
            signature=metric.signature(references),
        )
        for name, (kind, rows) in table.items()
    ]
