"""Measurements of several contestants -> scores, paired differences, and what they are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from toolkit.errors import DataError
from toolkit.metrics.intervals import clustered, difference, examples_to_settle, holm, score
from toolkit.metrics.measurement import Measurement
from toolkit.types import Difference, Score


@dataclass(frozen=True)
class Comparison:
    scores: list[Score]
    differences: list[Difference]
    """Every other contestant minus the one compared with, metric by metric."""
    corrected: list[float]
    """P-values of the differences, corrected for their number (Holm)."""
    wanted: list[int | None]
    """For each difference, how many examples would show it at p < 0.05 four times in five."""


def compare(
    found: Sequence[Measurement], *, against: str | None = None, groups: Mapping[str, str] | None = None
) -> Comparison:
    """Score all contestants, and compare the others with one of them on shared examples.

    Args:
        found: measurements of any number of contestants.
        against: who the others are compared with; left out, the first.
        groups: example id -> group, where examples come in groups; intervals and p-values are over groups.

    Raises:
        DataError: nobody has that name.
    """
    if groups:
        found = [clustered(each, groups) for each in found]
    names = list(dict.fromkeys(each.contestant for each in found))
    if against is not None and against not in names:
        raise DataError(f"no contestant is named {against}; there are {', '.join(names)}")
    one = against or (names[0] if names else "")
    theirs = {each.metric: each for each in found if each.contestant == one}
    pairs = [
        (each, theirs[each.metric]) for each in found if each.contestant != one and each.metric in theirs
    ]
    apart = [found for found in (difference(first, second) for first, second in pairs) if found is not None]
    return Comparison(
        scores=[score(each) for each in found],
        differences=apart,
        corrected=holm([each.p_value for each in apart]),
        wanted=[examples_to_settle(each) for each in apart],
    )
