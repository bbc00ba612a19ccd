"""BERTScore (Zhang et al. 2020) by bert-score, with a packaged encoder for machines with no network."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import bert_score
import numpy as np
import torch
from bert_score import BERTScorer
from bert_score.utils import model2layers
from transformers import AutoConfig

from toolkit.errors import DataError, ModelError, first_line
from toolkit.metrics.reference_scorers import References
from toolkit.metrics.text import Table, TextMetric
from toolkit.models import batch_size, resolve_encoder

if TYPE_CHECKING:
    from toolkit.metrics.registry import Encoding

logger = logging.getLogger(__name__)

LAYERS = {"all-minilm-l6-v2": 4}
"""Encoder -> layer, for those bert-score does not know. Layer 4 of the packaged one tells MRPC's paraphrases
best (area under the curve 0.741; layer 6: 0.714)."""


class BertScore(TextMetric):
    """Mean precision, recall and F1 of BERTScore by bert-score.

    Args:
        encoder: packaged name, folder or hub id.
        layer: of the encoder, 0 for its embeddings; left out, bert-score's own choice for it.
        idf: weight tokens by their rarity among the references.
        rescale: subtract bert-score's published English baseline (hub encoders that have one), or that in
            a file of bert-score's format.
    """

    def __init__(
        self,
        encoder: str = "all-minilm-l6-v2",
        *,
        layer: int | None = None,
        idf: bool = False,
        rescale: bool | Path = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.encoder, self.idf, self.rescale = encoder, idf, rescale
        self.layer = default_layer(encoder) if layer is None else layer
        self.cut = 0
        """Texts of the last call that are longer than the encoder reads."""

    @classmethod
    def configured(cls, encoding: Encoding) -> Self:
        return cls(encoding.encoder, layer=encoding.layer, idf=encoding.idf, rescale=encoding.rescale)

    def rows(self, predictions: Sequence[str], references: References) -> Table:
        scorer = load_scorer(self.encoder, self.layer, self.idf, self.rescale)
        if self.idf:
            scorer._idf_dict = None  # else it warns that those of the last texts are overwritten
            scorer.compute_idf([ref for refs in references for ref in refs])
        # An empty text has no token to match: 0, as bert-score says, but today's tokenizers make it stumble.
        both = zip(predictions, references, strict=True)
        full = [i for i, (text, refs) in enumerate(both) if text.strip() and any(map(str.strip, refs))]
        scores = np.zeros((len(predictions), 3))
        if self.rescale:
            baseline = scorer.baseline_vals.double().numpy()
            scores -= baseline / (1 - baseline)
        if full:
            texts = [predictions[i] for i in full]
            known = [[ref for ref in references[i] if ref.strip()] for i in full]
            self._count_cut(scorer, [*texts, *(ref for refs in known for ref in refs)])
            size = batch_size.TEXTS.on(torch.device(scorer.device))
            score = partial(scorer.score, texts, known)
            found = batch_size.with_halving(lambda n: score(batch_size=n), size, "BERTScore")
            scores[full] = np.stack([part.double().numpy() for part in found], axis=1)
        names = ("bertscore_precision", "bertscore_recall", "bertscore_f1")
        return {name: ("mean", [(float(x),) for x in scores[:, i]]) for i, name in enumerate(names)}

    def signature(self, references: References) -> str | None:
        scorer = load_scorer(self.encoder, self.layer, self.idf, self.rescale)
        cut = f"|{self.cut} texts cut" if self.cut else ""
        return str(scorer.hash).replace(str(scorer.model_type), self.encoder) + cut

    def _count_cut(self, scorer: BERTScorer, texts: Sequence[str]) -> None:
        """Count the texts whose ends bert-score leaves out, and say so."""
        tokenizer = scorer._tokenizer
        limit = int(tokenizer.model_max_length)
        ids = tokenizer([text.strip() for text in texts], verbose=False)["input_ids"]
        self.cut = sum(len(each) > limit for each in ids)
        if self.cut:
            cut = f"BERTScore: {self.cut} of {len(texts)} texts"
            logger.warning("%s are longer than the %d tokens of %s, and cut", cut, limit, self.encoder)


def default_layer(encoder: str) -> int:
    """The layer known to agree best with people, else the last; a `ModelError` for an unknown encoder."""
    known = LAYERS.get(encoder) or model2layers.get(encoder)
    if known is not None:
        return int(known)
    try:
        return int(AutoConfig.from_pretrained(resolve_encoder(encoder)).num_hidden_layers)
    except (OSError, ValueError) as error:
        raise ModelError(f"BERTScore: {encoder}: no such encoder: {first_line(error)}") from error


def published_baseline(encoder: str) -> Path:
    """Where bert-score's English baseline of an encoder lies, if it has one."""
    return Path(bert_score.__file__).parent / "rescale_baseline" / "en" / f"{encoder}.tsv"


@cache
def load_scorer(encoder: str, layer: int, idf: bool, rescale: bool | Path) -> BERTScorer:
    """The scorer of an encoder, loaded once.

    Raises:
        ModelError: the encoder cannot be loaded, or has no such layer.
        DataError: rescaling is on, and there is no baseline for this encoder and layer.
    """
    try:
        scorer = BERTScorer(
            model_type=resolve_encoder(encoder),
            num_layers=layer,
            idf=idf,
            lang="en",
            rescale_with_baseline=bool(rescale),
            baseline_path=str(rescale) if isinstance(rescale, Path) else None,
            nthreads=0,
        )
    except OSError as error:
        raise ModelError(f"BERTScore: {encoder}: cannot be loaded: {first_line(error)}") from error
    except AssertionError:  # how bert-score says so
        raise ModelError(f"BERTScore: {encoder} has no layer {layer}; leave it out, or lower it") from None
    if rescale:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of PyTorch, about how bert-score reads the file
                scorer.baseline_vals  # noqa: B018 - read from a file on first use
        except (ValueError, IndexError):
            where = f"{rescale} holds" if isinstance(rescale, Path) else "bert-score has"
            raise DataError(
                f"BERTScore: {where} no baseline for layer {layer} of {encoder}; leave out rescaling, or "
                "take an encoder that has one, such as roberta-large"
            ) from None
    return scorer
