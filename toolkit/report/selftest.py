"""A/A check of a run: how often its rules claim something where there is nothing to claim.

Within each example the contestants' names are exchanged at random, on answers and votes alike, so that
nobody is better; every claim that the report's rules make then is false.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from toolkit.errors import DataError
from toolkit.metrics import Measurement, difference
from toolkit.metrics.intervals import clustered
from toolkit.ratings import Decisions, bradley_terry, decide_anytime, tabulate
from toolkit.ratings import Table as Votes
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
    """The share of relabelled runs with any claim, for each kind of claim that the run's report can make."""
    view = load_run(folder)
    pairs = headline.headline_pairs(view.summary.contestants, view.recipe)
    kinds = {f"scores, {pair.title}": _comparison_claims(view, pair) for pair in pairs} | _vote_claims(view)
    if not any(kinds.values()):
        raise DataError(
            f"{folder}: no scores of two contestants and no votes to relabel; run the recipe first"
        )
    found = []
    for kind, claims in kinds.items():
        if claims:
            rng = np.random.default_rng(seed)
            count = sum(claims(rng) for _ in range(times))
            found.append(ClaimShare(kind, count / times, *wilson(count, times), times))
    return found


Claims = Callable[[np.random.Generator], bool]
"""Relabel once; whether anything is claimed."""


def _comparison_claims(view: RunView, pair: headline.ComparisonPair) -> Claims | None:
    """Any metric better or worse; `None` without a metric of both."""
    mine, theirs = (
        {found.metric: found for found in view.measurements.get(name, [])}
        for name in (pair.contestant, pair.against)
    )
    both = [(one, theirs[metric]) for metric, one in mine.items() if metric in theirs]
    examples = np.array(sorted({example for one, _ in both for example in one.example_ids}))

    def claims(rng: np.random.Generator) -> bool:
        swapped = set(examples[rng.integers(2, size=len(examples)) == 1].tolist())
        apart = []
        for one, other in both:
            new = [_exchanged(one, other, swapped), _exchanged(other, one, swapped)]
            if view.groups:
                new = [clustered(each, view.groups) for each in new]
            apart.append(difference(new[0], new[1], resamples=RESAMPLES))
        summary = view.summary.model_copy(update={"differences": tuple(each for each in apart if each)})
        compared = headline.compare(summary, pair, view.less_is_better)
        return any(claim.conclusion in ("better", "worse") for claim in compared.claims)

    return claims if both else None


def _exchanged(mine: Measurement, theirs: Measurement, swapped: set[str]) -> Measurement:
    """One contestant's rows, with the other's on the examples that are swapped."""
    others = dict(zip(theirs.example_ids, theirs.rows, strict=True))
    rows = [
        others[example] if example in swapped and example in others else row
        for example, row in zip(mine.example_ids, mine.rows, strict=True)
    ]
    return mine.model_copy(update={"rows": tuple(rows), "replicas": ()})


def _vote_claims(view: RunView) -> dict[str, Claims]:
    """Any decision from the judge's votes, and from people's."""
    kinds: dict[str, Claims] = {}
    if view.judge_votes:
        kinds["judge's votes"] = _decision_claims(
            tabulate(view.judge_votes), lambda table: bradley_terry(table).decisions
        )
    if view.people:
        pairs = arena_claims(view.recipe) if view.recipe else None
        kinds["people's votes"] = _decision_claims(
            tabulate(view.people),
            lambda table: decide_anytime(table, pairs) if view.has_arena else bradley_terry(table).decisions,
        )
    return kinds


def _decision_claims(table: Votes, decide: Callable[[Votes], Decisions]) -> Claims:
    labels = table.labels.get("example")
    example = np.arange(len(table)) if labels is None else np.unique(labels.codes, return_inverse=True)[1]

    def claims(rng: np.random.Generator) -> bool:
        order = np.argsort(rng.random((int(example.max()) + 1, len(table.names))), axis=1)
        first, second = order[example, table.first], order[example, table.second]
        return bool(decide(replace(table, first=first, second=second)).above.any())

    return claims
