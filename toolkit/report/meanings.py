"""What a metric's name means: its title, the group it is read with, and which way is better."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from toolkit.benchmarks.leaderboard import less_is_better as less_by_name

LIKELIHOOD = "How expected the reference answers are"
WORDS = "Words shared with the reference"
SENSE = "Meaning shared with the reference"
SHAPE = "Shape of the answers"
BENCHMARKS = "Benchmarks"
OTHER = "Other metrics"

GROUPS = {
    LIKELIHOOD: "The model's own probability of them; it says little about what it would write.",
    WORDS: "Several ways of counting the same thing: one finding, not several.",
    SENSE: "Similarity of embeddings, high for nearly any fluent answer on the subject.",
    SHAPE: "Describes and ranks nobody.",
    OTHER: "",
}
"""Group -> how to read it, in the order of the report."""


@dataclass(frozen=True)
class Meaning:
    """How to show a metric."""

    title: str
    group: str = OTHER
    better: int = 1
    """+1: more is better, -1: less is better, 0: it only describes."""
    digits: int = 3

    @property
    def note(self) -> str:
        return {1: "more is better", -1: "less is better", 0: "describes, does not rank"}[self.better]


KNOWN = {
    "perplexity": Meaning("Perplexity", LIKELIHOOD, -1, 2),
    "bits_per_byte": Meaning("Bits per byte", LIKELIHOOD, -1),
    "rouge1": Meaning("ROUGE-1", WORDS),
    "rouge2": Meaning("ROUGE-2", WORDS),
    "rougeL": Meaning("ROUGE-L", WORDS),
    "rougeLsum": Meaning("ROUGE-Lsum", WORDS),
    "bleu": Meaning("BLEU", WORDS, 1, 1),
    "chrf": Meaning("chrF", WORDS, 1, 1),
    "ter": Meaning("Edit rate (TER)", WORDS, -1, 1),
    "exact_match": Meaning("Exact match", WORDS),
    "token_f1": Meaning("Token F1", WORDS),
    "bertscore_precision": Meaning("BERTScore precision", SENSE),
    "bertscore_recall": Meaning("BERTScore recall", SENSE),
    "bertscore_f1": Meaning("BERTScore F1", SENSE),
    "length_words": Meaning("Words per answer", SHAPE, 0, 1),
    "distinct_1": Meaning("Distinct words", SHAPE, 0),
    "distinct_2": Meaning("Distinct word pairs", SHAPE, 0),
    "repetition_4": Meaning("Repeated 4-grams", SHAPE, 0),
}


def meaning(metric: str, less_is_better: Iterable[str] = ()) -> Meaning:
    """What is known of a metric; a benchmark's is named `task/metric`.

    Args:
        metric: its name in `summary.json`.
        less_is_better: names of benchmark metrics whose own result files say so.
    """
    task, slash, name = metric.rpartition("/")
    if not slash:
        return KNOWN.get(metric) or Meaning(metric)
    less = metric in set(less_is_better) or less_by_name(metric)
    return replace(Meaning(f"{task}: {name}", BENCHMARKS), better=-1 if less else 1)
