"""How commands show scores and differences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from toolkit.cli.output import print_table

if TYPE_CHECKING:
    from toolkit.types import Difference, Score

METRICS = ("rouge", "bleu", "chrf", "ter", "bertscore", "exact_match", "length")
"""The text metrics' names."""


def print_scores(scores: Sequence[Score]) -> None:
    """One line a figure: metric, contestant, value, 95% interval, n."""
    rows = [
        [score.metric, score.contestant, number(score.value), between(score.low, score.high), str(score.n)]
        for score in sorted(scores, key=lambda score: score.metric)
    ]
    print_table(["metric", "contestant", "value", "95% interval", "n"], rows)


def print_differences(found: Sequence[Difference], corrected: Sequence[float]) -> None:
    """One line a comparison, with its p-value as it is and corrected for the number of comparisons."""
    rows = [
        [
            each.metric,
            f"{each.contestant} - {each.against}",
            number(each.value),
            between(each.low, each.high),
            f"{each.p_value:.4f}",
            f"{p_value:.4f}",
            str(each.n),
        ]
        for each, p_value in zip(found, corrected, strict=True)
    ]
    click.echo()
    print_table(["metric", "difference", "value", "95% interval", "p", "p (Holm)", "n"], rows)


def between(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{number(low)} .. {number(high)}"


def number(value: float) -> str:
    """Four significant digits."""
    return f"{value:.4g}"
