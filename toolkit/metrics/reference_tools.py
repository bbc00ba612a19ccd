"""The reference tools, called example by example: rows of numbers from predictions and references.

Only plain functions of texts, so that large sets can be shared out among processes that import nothing heavy.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise

Row = tuple[float, ...]
Rows = list[Row]
References = Sequence[Sequence[str]]
"""One or more references for each prediction."""

PARALLEL_FROM = 2000
"""From so many texts on, starting further processes pays for itself."""

ROUGE = ("rouge1", "rouge2", "rougeL", "rougeLsum")


def parallel_rows(
    work: Callable[[Sequence[str], References], Rows], predictions: Sequence[str], references: References
) -> Rows:
    """`work` on all texts, shared out among the processors when there are many.

    Processes are started afresh, so a script that scores large sets needs the usual
    `if __name__ == "__main__":`.
    """
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if len(predictions) < PARALLEL_FROM or workers == 1:
        return work(predictions, references)
    size = -(-len(predictions) // (4 * workers))
    starts = range(0, len(predictions), size)
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        parts = pool.map(
            work,
            [predictions[start : start + size] for start in starts],
            [references[start : start + size] for start in starts],
        )
        return [row for part in parts for row in part]


def rouge_rows(predictions: Sequence[str], references: References) -> Rows:
    """F1 of each ROUGE type, of the reference that suits each type best."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(ROUGE)
    found = [
        scorer.score_multi(refs, predicted) for predicted, refs in zip(predictions, references, strict=True)
    ]
    return [tuple(float(scores[name].fmeasure) for name in ROUGE) for scores in found]


def bleu_rows(predictions: Sequence[str], references: References) -> Rows:
    """Length, reference length, four matches and four totals of n-grams."""
    return _sacrebleu_rows("BLEU", predictions, references)


def chrf_rows(predictions: Sequence[str], references: References) -> Rows:
    """N-grams of the prediction, of the reference, and shared, for each of six orders."""
    return _sacrebleu_rows("CHRF", predictions, references)


def ter_rows(predictions: Sequence[str], references: References) -> Rows:
    """Edits and reference length."""
    return _sacrebleu_rows("TER", predictions, references)


def _sacrebleu_rows(tool: str, predictions: Sequence[str], references: References) -> Rows:
    from sacrebleu import metrics

    # sacrebleu has no public function for the counts of single sentences; its own bootstrap uses this one.
    counts = getattr(metrics, tool)()._extract_corpus_statistics(list(predictions), by_rank(references))
    return [tuple(float(count) for count in row) for row in counts]


def sacrebleu_signature(tool: str, references: References) -> str:
    """What sacrebleu asks to be quoted with a figure."""
    from sacrebleu import metrics

    metric = getattr(metrics, tool)()
    metric.corpus_score(["" for _ in references[:1]], by_rank(references[:1]))
    counts = {len(refs) for refs in references}
    metric.num_refs = counts.pop() if len(counts) == 1 else -1
    return str(metric.get_signature())


def by_rank(references: References) -> list[list[str | None]]:
    """First references of all texts, then second ones, as sacrebleu takes them; `None` for none."""
    most = max(map(len, references), default=0)
    return [[refs[rank] if rank < len(refs) else None for refs in references] for rank in range(most)]


def match_rows(predictions: Sequence[str], references: References) -> Rows:
    """Exact match and token F1 (the better one of several references), case and white space folded."""
    words = [
        (predicted.lower().split(), [ref.lower().split() for ref in refs])
        for predicted, refs in _zip(predictions, references)
    ]
    return [
        (float(predicted in known), max(token_f1(predicted, reference) for reference in known))
        for predicted, known in words
    ]


def shape_rows(predictions: Sequence[str], references: References) -> Rows:
    """Words, distinct-1, distinct-2 (Li et al. 2016), repeated word 4-grams (Welleck et al. 2020)."""
    rows: Rows = []
    for predicted in predictions:
        words = predicted.split()
        pairs, fours = list(pairwise(words)), list(zip(words, words[1:], words[2:], words[3:], strict=False))
        rows.append((float(len(words)), distinct(words), distinct(pairs), 1 - distinct(fours)))
    return rows


def distinct(grams: Sequence[object]) -> float:
    """Share of different ones; 1 where there are none, since nothing is repeated."""
    return len(set(grams)) / len(grams) if grams else 1.0


def token_f1(predicted: Sequence[str], reference: Sequence[str]) -> float:
    """Harmonic mean of precision and recall over words, counted with their multiplicity."""
    shared = sum((Counter(predicted) & Counter(reference)).values())
    return 2 * shared / (len(predicted) + len(reference)) if predicted or reference else 1.0


def _zip(predictions: Sequence[str], references: References) -> list[tuple[str, Sequence[str]]]:
    return list(zip(predictions, references, strict=True))
