"""The report's first lines: what got better, what got worse, how sure.

Nothing is called better unless the paired difference keeps its sign over its whole 95% interval and stays
significant at 5% after Holm's correction for the number of metrics compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from toolkit.types import Difference, Rating, Summary

LOWER_IS_BETTER = ("perplexity", "bits_per_byte", "ter", "acc_norm_stderr")
DESCRIPTIVE = ("length", "tokens", "distinct", "repetition", "words")
"""Metrics that describe answers without saying which is better."""
SIGNIFICANT = 0.05

Verdict = Literal["better", "worse", "unclear"]


@dataclass(frozen=True)
class Comparison:
    """One contestant against another over all metrics."""

    contestant: str
    against: str
    better: tuple[Difference, ...]
    worse: tuple[Difference, ...]
    unclear: tuple[Difference, ...]

    @property
    def total(self) -> int:
        return len(self.better) + len(self.worse) + len(self.unclear)

    @property
    def headline(self) -> str:
        """One plain sentence's beginning: better, worse, mixed, or no difference shown."""
        name, other = self.contestant, self.against
        if self.better and not self.worse:
            return f"{name} is better than {other}"
        if self.worse and not self.better:
            return f"{name} is worse than {other}"
        if self.better and self.worse:
            return f"{name} against {other} is mixed"
        return f"No difference between {name} and {other} is shown"

    @property
    def detail(self) -> str:
        parts = []
        if self.better:
            parts.append(f"better on {len(self.better)} of {self.total} metrics")
        if self.worse:
            parts.append(f"worse on {len(self.worse)} ({', '.join(d.metric for d in self.worse)})")
        if self.unclear:
            parts.append(f"not to be told apart on {len(self.unclear)}")
        return ", ".join(parts)


def goodness(metric: str) -> int:
    """+1 when more is better, -1 when less is, 0 when it only describes."""
    name = metric.rsplit("/", 1)[-1]
    if name.startswith(DESCRIPTIVE):
        return 0
    return -1 if name.startswith(LOWER_IS_BETTER) else 1


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for how many there are (Holm 1979), in the order given."""
    corrected, worst = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = worst
    return corrected


def compare(differences: Sequence[Difference], contestant: str, against: str) -> Comparison:
    """Sort the differences of one pair into better, worse and unclear."""
    own = [
        d for d in differences if (d.contestant, d.against) == (contestant, against) and goodness(d.metric)
    ]
    sorted_in: dict[Verdict, list[Difference]] = {"better": [], "worse": [], "unclear": []}
    for difference, p_value in zip(own, holm([d.p_value for d in own]), strict=True):
        sorted_in[judge(difference, p_value)].append(difference)
    groups = (tuple(sorted_in[verdict]) for verdict in ("better", "worse", "unclear"))
    return Comparison(contestant, against, *groups)


def judge(difference: Difference, corrected_p: float) -> Verdict:
    """What one difference shows."""
    if corrected_p >= SIGNIFICANT or difference.low <= 0 <= difference.high:
        return "unclear"
    return "better" if difference.value * goodness(difference.metric) > 0 else "worse"


def comparisons(summary: Summary) -> list[Comparison]:
    """Every pair the run compared, the last-named contestant first, each against all others."""
    pairs = dict.fromkeys((d.contestant, d.against) for d in summary.differences)
    place = {name: index for index, name in enumerate(summary.contestants)}
    ordered = sorted(pairs, key=lambda pair: (-place.get(pair[0], 0), place.get(pair[1], 0)))
    return [compare(summary.differences, *pair) for pair in ordered]


def ranking(ratings: Sequence[Rating], voters: str) -> str:
    """Who leads by the votes, and whether the lead is beyond doubt."""
    if not ratings:
        return ""
    leaders = [row.contestant for row in ratings if row.rank == 1]
    first = ratings[0]
    span = f"{first.value:.0f} [{first.low or 0:.0f}, {first.high or 0:.0f}]"
    if len(leaders) == 1:
        return f"{voters} put {first.contestant} first, clear of all others (rating {span})."
    return f"By {voters.lower()}, first place is open between {', '.join(leaders)}: their intervals overlap."
