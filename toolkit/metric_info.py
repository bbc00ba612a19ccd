"""The metrics that a recipe may name, in one table: class, figures, their titles, groups and directions."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Literal

LESS_IS_BETTER = ("perplexity", "bits_per_byte", "ter", "repetition_4", "brier", "loss", "mse", "mae")
"""Endings of metrics of which less is better."""

LIKELIHOOD = "How expected the reference answers are"
GUARD = "What was forgotten"
WORDS = "Words shared with the reference"
SENSE = "Meaning shared with the reference"
SHAPE = "Shape of the answers"
BENCHMARKS = "Benchmarks"
OTHER = "The task's own measures"

GROUPS = {
    OTHER: "",
    LIKELIHOOD: "The model's own probability of them; it says little about what it would write.",
    GUARD: "On prompts of another kind than the task's.",
    WORDS: "Several ways of counting the same thing: one finding, not several.",
    SENSE: "Similarity of embeddings, high for nearly any fluent answer on the subject.",
    SHAPE: "Describes and ranks nobody.",
}
"""Group -> how to read it, in the order of the report."""


@dataclass(frozen=True)
class MetricInfo:
    """How to show a metric."""

    title: str
    group: str = OTHER
    better: int = 1  # +1: more is better, -1: less is better, 0: it only describes
    digits: int = 3

    @property
    def note(self) -> str:
        return {1: "more is better", -1: "less is better", 0: "describes, does not rank"}[self.better]


@dataclass(frozen=True)
class MetricSpec:
    """A metric; an entry of `METRICS` and the class that it names are all that a new one takes."""

    implementation: str | None
    """`package.module:class` of a `TextMetric`; `None`: measured on the model, not on its completions."""
    figures: Mapping[str, MetricInfo]  # name in `scores.json` -> how to show it
    needs_reference: bool = True


_TEXT = "toolkit.metrics.text"

METRICS: dict[str, MetricSpec] = {
    "perplexity": MetricSpec(
        None,
        {
            "perplexity": MetricInfo("Perplexity", LIKELIHOOD, -1, 2),
            "bits_per_byte": MetricInfo("Bits per byte", LIKELIHOOD, -1),
        },
    ),
    "rouge": MetricSpec(
        f"{_TEXT}:Rouge",
        {
            "rouge1": MetricInfo("ROUGE-1", WORDS),
            "rouge2": MetricInfo("ROUGE-2", WORDS),
            "rougeL": MetricInfo("ROUGE-L", WORDS),
            "rougeLsum": MetricInfo("ROUGE-Lsum", WORDS),
        },
    ),
    "bleu": MetricSpec(f"{_TEXT}:Bleu", {"bleu": MetricInfo("BLEU", WORDS, 1, 1)}),
    "chrf": MetricSpec(f"{_TEXT}:Chrf", {"chrf": MetricInfo("chrF", WORDS, 1, 1)}),
    "ter": MetricSpec(f"{_TEXT}:Ter", {"ter": MetricInfo("Edit rate (TER)", WORDS, -1, 1)}),
    "bertscore": MetricSpec(
        "toolkit.metrics.bertscore:BertScore",
        {
            "bertscore_precision": MetricInfo("BERTScore precision", SENSE),
            "bertscore_recall": MetricInfo("BERTScore recall", SENSE),
            "bertscore_f1": MetricInfo("BERTScore F1", SENSE),
        },
    ),
    "exact_match": MetricSpec(
        f"{_TEXT}:Match",
        {"exact_match": MetricInfo("Exact match", WORDS), "token_f1": MetricInfo("Token F1", WORDS)},
    ),
    "length": MetricSpec(
        f"{_TEXT}:Shape",
        {
            "length_words": MetricInfo("Words per answer", SHAPE, 0, 1),
            "distinct_1": MetricInfo("Distinct words", SHAPE, 0),
            "distinct_2": MetricInfo("Distinct word pairs", SHAPE, 0),
            "repetition_4": MetricInfo("Repeated 4-grams", SHAPE, 0),
        },
        needs_reference=False,
    ),
}
"""Name in a recipe -> metric."""

GUARD_FIGURES = {"guard_bits_per_byte": MetricInfo("Bits per byte of the guard set", GUARD, -1)}


def known_figures() -> dict[str, MetricInfo]:
    """Every figure of the metrics in the table, by its name in `scores.json`."""
    tables = [GUARD_FIGURES, *(spec.figures for spec in METRICS.values())]
    return {name: info for figures in tables for name, info in figures.items()}


def text_metrics() -> tuple[str, ...]:
    """Names of the metrics that are measured on completions."""
    return tuple(name for name, spec in METRICS.items() if spec.implementation)


Tokenizer = Literal["auto", "words", "characters", "char", "zh", "ja-mecab", "ko-mecab", "flores200"]
"""Of ROUGE and BLEU, for other languages than English."""

FUNCTION = re.compile(r"(\.py):[A-Za-z_]\w*$")
"""How the name of a metric ends that is a function in a Python file, `FILE.py:NAME`."""


def metric_info(metric: str, declared_lower: Collection[str] = ()) -> MetricInfo:
    """What is known of a metric, or of a benchmark's `task/metric`; `declared_lower`: by recipe or result."""
    task, slash, name = metric.rpartition("/")
    if not slash:
        less = metric in declared_lower
        return known_figures().get(metric) or MetricInfo(metric.replace("_", " "), better=-1 if less else 1)
    less = metric in declared_lower or less_is_better(metric)
    return replace(MetricInfo(f"{task}: {name}", BENCHMARKS), better=-1 if less else 1)


def less_is_better(metric: str) -> bool:
    """Whether less of a metric (`rougeL`, `wikitext/word_perplexity,none`) is better, by its name."""
    return metric.rpartition("/")[2].partition(",")[0].endswith(LESS_IS_BETTER)
