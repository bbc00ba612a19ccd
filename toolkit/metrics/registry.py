"""A contestant's completions -> measurements, by the names recipes use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from types import MappingProxyType
from typing import TYPE_CHECKING

from toolkit.metric_info import METRICS
from toolkit.metrics.checks import Row, measure_check
from toolkit.metrics.measurement import Measurement
from toolkit.recipe import Check, Scoring
from toolkit.types import Completion

if TYPE_CHECKING:
    from toolkit.metrics.text import TextMetric


@dataclass(frozen=True)
class Encoding:
    """How texts are read: the encoder of BERTScore (see `BertScore`), the tokenizer of ROUGE and BLEU."""

    encoder: str = "all-minilm-l6-v2"
    layer: int | None = None
    idf: bool = False
    rescale: bool | Path = False
    tokenizer: str | None = None

    @classmethod
    def of(cls, scoring: Scoring) -> Encoding:
        """As a recipe has it."""
        baseline = scoring.bertscore_rescale
        rescale = Path(baseline) if isinstance(baseline, str) else baseline
        layer, idf = scoring.bertscore_layer, scoring.bertscore_idf
        return cls(scoring.bertscore_model, layer, idf, rescale, scoring.tokenizer)


def measure_texts(
    completions: Sequence[Completion],
    metrics: Sequence[str | Check],
    *,
    encoding: Encoding = Encoding(),
    references: Mapping[str, Sequence[str]] = MappingProxyType({}),
    rows: Mapping[str, Row] = MappingProxyType({}),
) -> list[Measurement]:
    """Measure one contestant's completions against their references.

    Completions without a reference count for `length` alone; those that the server refused are no answers,
    and the report counts them.

    Args:
        completions: of one contestant.
        metrics: as in a recipe: names, `FILE.py:FUNCTION`, checks; `rouge` gives four figures.
        encoding: of BERTScore, and the tokenizer of ROUGE and BLEU.
        references: example id -> further reference answers, besides the completion's own.
        rows: example id -> its row in the data set, whose columns a recipe's own metrics see.
    """
    answered = [each for each in completions if not each.refused]
    known = []
    for each in answered:
        own = [] if each.reference is None else [each.reference]
        known.append((each, [*own, *each.references, *references.get(each.example_id, ())]))
    found: list[Measurement] = []
    for name in metrics:
        if isinstance(name, Check) or ".py:" in name:
            found += measure_check(answered, Check(function=name) if isinstance(name, str) else name, rows)
            continue
        chosen = [(each, refs or [""]) for each, refs in known if refs or not METRICS[name].needs_reference]
        if chosen:
            metric = resolve_name(METRICS[name].implementation or "").configured(encoding)
            found += _measure(metric, *zip(*chosen, strict=True))
    return found


def _measure(
    metric: TextMetric, completions: Sequence[Completion], references: Sequence[Sequence[str]]
) -> Iterator[Measurement]:
    table = metric.rows([completion.completion for completion in completions], references)
    for name, (kind, rows) in table.items():
        yield Measurement(
            contestant=completions[0].contestant,
            metric=name,
            kind=kind,
            example_ids=tuple(completion.example_id for completion in completions),
            rows=tuple(rows),
            signature=metric.signature(references),
        )
