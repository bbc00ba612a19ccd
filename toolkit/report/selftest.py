"""A/A check of a run: how often its rules claim something where there is nothing to claim.

Within each example the contestants' names are exchanged at random, on answers and votes alike, so that
nobody is better; every claim that the report's rules make then is false.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.errors import DataError
from toolkit.metrics import Measurement, difference
from toolkit.metrics.intervals import clustered
from toolkit.ratings import Table as Votes
from toolkit.ratings import bradley_terry, decide_anytime, tabulate
from toolkit.recipe import arena_claims
from toolkit.report import headline
from toolkit.report.load import RunView, load_run
from toolkit.statistics import wilson

RESAMPLES = 400
"""Random swaps behind a p-value here; ten times as many where it is small."""


@dataclass(frozen=True)
class ClaimShare:
    """Relabelled runs with any claim of one kind."""

    kind: str
    share: float
    low: float
    high: float
    runs: int


def run_selftest(folder: Path, times: int = 1000, seed: int = 0) -> list[ClaimShare]:
    """The share of relabelled runs with any claim, for each kind of claim that the run's report can make.

    Raises:
        DataError: there is no finished run, or nothing in it to relabel.
    """
    view = load_run(folder)
    kinds = {**_score_claims(view), **_vote_claims(view)}
    if not kinds:
        raise DataError(
            f"{folder}: no scores of two contestants and no votes to relabel; run the recipe first"
        )
    found = []
    for kind, claims in kinds.items():
        rng = np.random.default_rng(seed)
        count = sum(claims(rng) for _ in range(times))
        low, high = wilson(count, times)
        found.append(ClaimShare(kind, count / times, low, high, times))
    return found


Claims = Callable[[np.random.Generator], bool]
"""Relabel once; whether anything is claimed."""


def _score_claims(view: RunView) -> dict[str, Claims]:
    """One kind for each headline comparison: any metric better or worse."""
    pairs = headline.headline_pairs(view.summary.contestants, view.recipe)
    return {
        f"scores, {pair.title}": claims
        for pair in pairs
        if (claims := _comparison_claims(view, pair)) is not None
    }


def _comparison_claims(view: RunView, pair: headline.ComparisonPair) -> Claims | None:
    sides = [
        {found.metric: found for found in view.measurements.get(name, [])}
        for name in (pair.contestant, pair.against)
    ]
    both = [(one, sides[1][metric]) for metric, one in sides[0].items() if metric in sides[1]]
    examples = sorted({example for one, _ in both for example in one.example_ids})
    if not both:
        return None

    def claims(rng: np.random.Generator) -> bool:
        swapped = set(np.array(examples)[rng.integers(2, size=len(examples)) == 1].tolist())
        apart = []
        for one, other in both:
            new = [_exchanged(one, other, swapped), _exchanged(other, one, swapped)]
            if view.groups:
                new = [clustered(each, view.groups) for each in new]
            found = difference(new[0], new[1], resamples=RESAMPLES)
            apart += [found] if found else []
        summary = view.summary.model_copy(update={"differences": tuple(apart)})
        compared = headline.compare(summary, pair, view.less_is_better)
        return any(claim.conclusion in ("better", "worse") for claim in compared.claims)

    return claims


def _exchanged(mine: Measurement, theirs: Measurement, swapped: set[str]) -> Measurement:
    """One contestant's rows, with the other's on the examples that are swapped."""
    others = dict(zip(theirs.example_ids, theirs.rows, strict=True))
    rows = [
        others[example] if example in swapped and example in others else row
        for example, row in zip(mine.example_ids, mine.rows, strict=True)
    ]
    return mine.model_copy(update={"rows": tuple(rows)})


def _vote_claims(view: RunView) -> dict[str, Claims]:
    """Any decision from the judge's votes, and from people's."""
    kinds: dict[str, Claims] = {}
    for kind, votes in (("judge's votes", view.judge_votes), ("people's votes", view.people)):
        if votes:
            table = tabulate(votes)
            peeking = kind.startswith("people") and view.has_arena
            named = arena_claims(view.recipe) if view.recipe else None
            kinds[kind] = _decision_claims(table, peeking, named)
    return kinds


def _decision_claims(table: Votes, peeking: bool, named: Sequence[Any] | None) -> Claims:
    labels = table.labels.get("example")
    example = np.arange(len(table)) if labels is None else np.unique(labels.codes, return_inverse=True)[1]

    def claims(rng: np.random.Generator) -> bool:
        order = np.argsort(rng.random((int(example.max()) + 1, len(table.names))), axis=1)
        first, second = order[example, table.first], order[example, table.second]
        relabelled = replace(table, first=first, second=second)
        decided = decide_anytime(relabelled, named) if peeking else bradley_terry(relabelled).decisions
        return bool(decided.above.any())

    return claims
