"""Text metrics against references: ROUGE, BLEU, chrF, TER, exact match, token F1, length, repetition.

Each is an `evaluate.Metric` that works with no network, under `evaluate.combine` too, and gives exactly what
its reference tool gives. `rows` has the same figures example by example, for intervals. BERTScore is in
`bertscore`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Self

import datasets
import evaluate
import numpy as np

from toolkit.errors import DataError
from toolkit.metrics import reference_scorers
from toolkit.metrics.measurement import Kind, combine
from toolkit.metrics.reference_scorers import References, Rows

if TYPE_CHECKING:
    from toolkit.metrics.registry import Encoding

logger = logging.getLogger(__name__)

Table = dict[str, tuple[Kind, Rows]]  # metric -> its kind and one row of numbers an example


class TextMetric(evaluate.Metric):  # type: ignore[misc]  # evaluate is untyped
    """A metric of predictions against one or more references each."""

    work: ClassVar[Callable[..., Rows]]
    """The reference tool, as a function of texts."""
    columns: ClassVar[Sequence[str]] = ()
    """Of a metric of means: the name of each column of its rows."""
    corpus: ClassVar[Kind | None] = None
    """Of a corpus metric by sacrebleu, 0 to 100, with its defaults (Post 2018): its name."""

    @classmethod
    def configured(cls, encoding: Encoding) -> Self:
        """The metric with those of a recipe's options that it knows."""
        return cls()

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        several = datasets.Features({"predictions": text, "references": datasets.List(text)})
        one = datasets.Features({"predictions": text, "references": text})
        return evaluate.MetricInfo(description=self.__doc__ or "", citation="", features=[several, one])

    def _compute(self, predictions: Sequence[str], references: Sequence[Any]) -> dict[str, float]:
        known = [[ref] if isinstance(ref, str) else ref for ref in references]
        if not all(known):
            raise DataError(f"prediction {known.index([])} has no reference; leave it out, or give it one")
        figures = {}
        for name, (kind, rows) in self.rows(predictions, known).items():
            figures[name] = float(combine(kind, np.array(rows, dtype=np.float64).sum(axis=0), len(rows)))
        return figures

    def rows(self, predictions: Sequence[str], references: References) -> Table:
        """The figures behind the metric, one row an example."""
        found = reference_scorers.parallel_rows(self.worker(references), predictions, references)
        if self.corpus:
            return {self.corpus: (self.corpus, found)}
        return {name: ("mean", [(row[i],) for row in found]) for i, name in enumerate(self.columns)}

    def signature(self, references: References) -> str | None:
        """What the reference tool asks to be quoted with its figures, where it has such a thing."""
        return reference_scorers.sacrebleu_signature(self.corpus.upper(), references) if self.corpus else None

    def worker(self, references: References) -> Callable[..., Rows]:
        """What makes the rows, for texts like these."""
        return type(self).work


class TokenMetric(TextMetric):
    """Metrics of tokens.

    Args:
        tokenizer: `words`, `characters`, `zh`, `ja-mecab`, `ko-mecab`, `flores200`; `auto`: by the script of
            the references; left out, the reference tool's own.
    """

    unread: ClassVar[Callable[[str], bool]]
    """Whether the tool's own tokenizer drops a text's letters, or does not split them."""

    def __init__(self, tokenizer: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.tokenizer = "characters" if tokenizer == "char" else tokenizer

    @classmethod
    def configured(cls, encoding: Encoding) -> Self:
        return cls(tokenizer=encoding.tokenizer)

    def chosen(self, references: References) -> str | None:
        """The tokenizer for texts like these."""
        return reference_scorers.choose_tokenizer(references) if self.tokenizer == "auto" else self.tokenizer

    def worker(self, references: References) -> Callable[..., Rows]:
        name = self.chosen(references)
        unread = 0 if name else sum(all(map(type(self).unread, refs)) for refs in references)
        if unread:
            text = (
                "%s: %d of %d references are in letters that its tokenizer drops or does not split, so that "
            )
            text += "right answers get 0; choose a `tokenizer`, such as auto"
            logger.warning(text, type(self).__name__, unread, len(references))
        return partial(super().worker(references), tokenizer=name) if name else super().worker(references)


class Rouge(TokenMetric):
    """F1 of ROUGE-1, -2, -L and -Lsum by rouge-score, 0 to 1, without stemming (Lin 2004)."""

    columns = reference_scorers.ROUGE
    work = reference_scorers.rouge_rows
    unread = reference_scorers.unread_by_rouge

    def signature(self, references: References) -> str | None:
        name = self.chosen(references)
        return f"rouge-score|tok:{name}" if name else None


class Match(TextMetric):
    """Exact match and token F1, 0 to 1: SQuAD's, with punctuation and articles kept."""

    columns = ("exact_match", "token_f1")
    work = reference_scorers.match_rows


class Shape(TextMetric):
    """Words per answer, the shares of distinct words and word pairs, the share of repeated word 4-grams."""

    columns = ("length_words", "distinct_1", "distinct_2", "repetition_4")
    work = reference_scorers.shape_rows


class Bleu(TokenMetric):
    """Corpus BLEU by sacrebleu (Papineni et al. 2002)."""

    corpus = "bleu"
    work = reference_scorers.bleu_rows
    unread = reference_scorers.unread_by_bleu

    def signature(self, references: References) -> str | None:
        options = reference_scorers.bleu_options(self.chosen(references))
        return reference_scorers.sacrebleu_signature("BLEU", references, **options)


class Chrf(TextMetric):
    """Corpus chrF2 by sacrebleu: character n-gram F-score (Popovic 2015)."""

    corpus = "chrf"
    work = reference_scorers.chrf_rows


class Ter(TextMetric):
    """Translation edit rate by sacrebleu; less is better (Snover et al. 2006)."""

    corpus = "ter"
    work = reference_scorers.ter_rows
