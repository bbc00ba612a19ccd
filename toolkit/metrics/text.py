"""Text metrics against references: ROUGE, BLEU, chrF, TER, BERTScore, exact match, token F1, length.

Each is an `evaluate.Metric` that works with no network, and gives exactly what its reference tool gives
(rouge-score, sacrebleu, bert-score). `rows` has the same figures example by example, for intervals.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import datasets
import evaluate
import numpy as np
from bert_score import BERTScorer
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF, TER

from toolkit.metrics.measurement import Kind, Measurement, combine
from toolkit.models import resolve_encoder
from toolkit.types import Completion

Row = tuple[float, ...]
Table = dict[str, tuple[Kind, list[Row]]]
"""Metric -> its kind and one row of numbers an example."""


class TextMetric(evaluate.Metric):  # type: ignore[misc]
    """A metric of predictions against one reference each."""

    description = ""
    signature: str | None = None
    """The reference tool's own signature, known once it has scored."""

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        features = datasets.Features({"predictions": text, "references": text})
        return evaluate.MetricInfo(description=self.description, citation="", features=features)

    def _compute(self, predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
        table = self.rows(predictions, references)
        return {
            name: float(combine(kind, np.array(rows, dtype=np.float64).sum(axis=0), len(rows)))
            for name, (kind, rows) in table.items()
        }

    def rows(self, predictions: Sequence[str], references: Sequence[str]) -> Table:
        """The figures behind the metric, one row an example."""
        raise NotImplementedError


class Rouge(TextMetric):
    """F1 of ROUGE-1, -2, -L and -Lsum, 0 to 1, without stemming (Lin 2004; rouge-score)."""

    description = "ROUGE-1/2/L/Lsum F1 by rouge-score."
    TYPES = ("rouge1", "rouge2", "rougeL", "rougeLsum")

    def rows(self, predictions: Sequence[str], references: Sequence[str]) -> Table:
        scorer = RougeScorer(self.TYPES)
        found = [scorer.score(ref, said) for said, ref in zip(predictions, references, strict=True)]
        return {name: ("mean", [(scores[name].fmeasure,) for scores in found]) for name in self.TYPES}


class SacreBleu(TextMetric):
    """Base of sacrebleu's corpus metrics: BLEU, chrF and TER, 0 to 100 (Post 2018)."""

    name_, tool, kind = "", BLEU, "bleu"

    def rows(self, predictions: Sequence[str], references: Sequence[str]) -> Table:
        tool = self.tool()
        statistics = tool._extract_corpus_statistics(list(predictions), [list(references)])
        self.signature = str(tool.get_signature())
        columns = [tuple(float(value) for value in row) for row in statistics]
        return {self.name_: (self.kind, [self.arranged(row) for row in columns])}  # type: ignore[dict-item]

    def arranged(self, row: Row) -> Row:
        """Sacrebleu's columns as `measurement` names them."""
        return row


class Bleu(SacreBleu):
    """Corpus BLEU with sacrebleu's defaults (Papineni et al. 2002)."""

    description = "Corpus BLEU by sacrebleu."
    name_, tool, kind = "bleu", BLEU, "bleu"


class Chrf(SacreBleu):
    """Corpus chrF2: character n-gram F-score (Popovic 2015)."""

    description = "Corpus chrF2 by sacrebleu."
    name_, tool, kind = "chrf", CHRF, "chrf"


class Ter(SacreBleu):
    """Translation edit rate; less is better (Snover et al. 2006)."""

    description = "Corpus TER by sacrebleu."
    name_, tool, kind = "ter", TER, "ter"


class BertScore(TextMetric):
    """Mean precision, recall and F1 of BERTScore, not rescaled (Zhang et al. 2020; bert-score)."""

    description = "BERTScore by bert-score."

    def __init__(self, encoder: str = "all-minilm-l6-v2", **options: Any) -> None:
        super().__init__(**options)
        self.encoder = encoder

    def rows(self, predictions: Sequence[str], references: Sequence[str]) -> Table:
        scorer = bert_scorer(self.encoder)
        self.signature = f"{self.encoder}_L{scorer.num_layers}_no-idf"
        scores = np.zeros((len(predictions), 3))
        # An empty text has no token to match; bert-score gives it 0 too, but trips over today's tokenizers.
        full = [
            i for i, (a, b) in enumerate(zip(predictions, references, strict=True)) if a.strip() and b.strip()
        ]
        if full:
            found = scorer.score([predictions[i] for i in full], [references[i] for i in full])
            scores[full] = np.stack([part.double().numpy() for part in found], axis=1)
        names = ("bertscore_precision", "bertscore_recall", "bertscore_f1")
        return {name: ("mean", [(float(x),) for x in scores[:, i]]) for i, name in enumerate(names)}


class ExactMatch(TextMetric):
    """Exact match and token F1 after folding case and white space, 0 to 1 (as SQuAD, articles kept)."""

    description = "Exact match and token F1."

    def rows(self, predictions: Sequence[str], references: Sequence[str]) -> Table:
        pairs = [(a.lower().split(), b.lower().split()) for a, b in zip(predictions, references, strict=True)]
        return {
            "exact_match": ("mean", [(float(a == b),) for a, b in pairs]),
            "token_f1": ("mean", [(token_f1(a, b),) for a, b in pairs]),
        }


class Length(TextMetric):
    """Mean length in words, and the share of distinct word pairs (distinct-2; Li et al. 2016)."""

    description = "Words per answer and distinct-2."

    def rows(self, predictions: Sequence[str], references: Sequence[str]) -> Table:
        words = [said.split() for said in predictions]
        pairs = [list(pairwise(text)) for text in words]
        return {
            "length_words": ("mean", [(float(len(text)),) for text in words]),
            "distinct_2": ("mean", [(len(set(two)) / len(two) if two else 0.0,) for two in pairs]),
        }


METRICS: dict[str, type[TextMetric]] = {
    "rouge": Rouge,
    "bleu": Bleu,
    "chrf": Chrf,
    "ter": Ter,
    "bertscore": BertScore,
    "exact_match": ExactMatch,
    "length": Length,
}
"""Name in a recipe -> metric."""


def measure_texts(
    completions: Sequence[Completion], metrics: Sequence[str], *, encoder: str = "all-minilm-l6-v2"
) -> list[Measurement]:
    """Measure one contestant's completions against their references.

    Args:
        completions: of one contestant; those without a reference are left out.
        metrics: names as in a recipe.
        encoder: of BERTScore.
    """
    known = [completion for completion in completions if completion.reference is not None]
    if not known:
        return []
    said = [completion.completion for completion in known]
    references = [completion.reference or "" for completion in known]
    ids = tuple(completion.example_id for completion in known)
    found = []
    for name in metrics:
        metric = METRICS[name](encoder) if name == "bertscore" else METRICS[name]()
        for figure, (kind, rows) in metric.rows(said, references).items():
            found.append(
                Measurement(
                    contestant=known[0].contestant,
                    metric=figure,
                    kind=kind,
                    example_ids=ids,
                    rows=tuple(rows),
                    signature=metric.signature,
                )
            )
    return found


def token_f1(said: Sequence[str], reference: Sequence[str]) -> float:
    """Harmonic mean of precision and recall over words, counted with their multiplicity."""
    shared = sum((Counter(said) & Counter(reference)).values())
    return 2 * shared / (len(said) + len(reference)) if said or reference else 1.0


@cache
def bert_scorer(encoder: str) -> BERTScorer:
    """The scorer of an encoder, loaded once. Layer: bert-score's own choice, else the last."""
    from bert_score.utils import model2layers
    from transformers import AutoConfig

    folder = resolve_encoder(encoder)
    layers = model2layers.get(encoder) or AutoConfig.from_pretrained(folder).num_hidden_layers
    return BERTScorer(model_type=folder, num_layers=layers, use_fast_tokenizer=True)
