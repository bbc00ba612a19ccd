"""How far two sets of votes agree, a judge's and people's above all, and people with each other.

A unit is one pair of answers to one example; both_bad counts as a tie. Where several voters judged a unit,
every vote of one side is set against every vote of the other, and each unit weighs the same, as in MT-bench
(Zheng et al. 2023). Intervals are the percentiles of 1000 bootstrap draws of units.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import RatingError
from toolkit.ratings.table import MISSING, TIE, Array, Table

REPLICATES = 1000
OUTCOMES = 3


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95% interval; `None` where nothing was observed."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    """Units it is taken over."""


@dataclass(frozen=True)
class Agreement:
    """Between two sets of votes, or, between voters, within one."""

    agreement: Estimate
    """How often two votes on a unit say the same, ties among it."""
    agreement_without_ties: Estimate
    """Of the votes that both name a winner."""
    kappa: Estimate
    """Cohen's: agreement beyond what the sides' habits give by chance."""
    alpha: Estimate
    """Krippendorff's, nominal, over all votes on a unit, whoever cast them."""


@dataclass(frozen=True)
class AgreementReport:
    """What `agreement` found."""

    between: Agreement
    within: Agreement | None
    """Among the reference's own voters, who are the ceiling; `None` when no unit has two of them."""
    categories: Mapping[str, Agreement]


def agreement(votes: Table, reference: Table, *, seed: int = 0) -> AgreementReport:
    """Set votes against a reference on the units that both have.

    Args:
        votes: a judge's, say; they need `question_id`.
        reference: people's, say.
        seed: of the bootstrap.

    Raises:
        RatingError: votes name no question, or the two have no unit in common.
    """
    mine, theirs = _tallies(votes), _tallies(reference)
    shared = [unit for unit in mine if unit in theirs]
    if not shared:
        raise RatingError(
            "no answers to the same question were judged by both; compare question_id and names"
        )
    a = np.array([mine[unit] for unit in shared])
    b = np.array([theirs[unit] for unit in shared])
    several = np.array([tally for tally in theirs.values() if tally.sum() > 1])
    categories = _categories(reference) | _categories(votes)
    groups: dict[str, list[int]] = {}
    for number, unit in enumerate(shared):
        if unit[0] in categories:
            groups.setdefault(categories[unit[0]], []).append(number)
    return AgreementReport(
        between=_between(a, b, seed),
        within=_within(several, seed) if len(several) else None,
        categories={name: _between(a[rows], b[rows], seed) for name, rows in sorted(groups.items())},
    )


Unit = tuple[str, str, str]
"""Example, and the two contestants in order of their names."""


def _tallies(table: Table) -> dict[Unit, Array]:
    """For each unit how many votes there are for the first name, for the second, and for a tie."""
    examples = table.label("example")
    tallies: dict[Unit, Array] = {}
    columns = zip(examples.codes, table.first, table.second, table.outcome, strict=True)
    for example, first, second, outcome in columns:
        turned = first > second  # names are sorted, so their codes are in order
        one, other = (second, first) if turned else (first, second)
        label = int(outcome) if outcome == TIE or not turned else 1 - int(outcome)
        unit = (examples.names[example], table.names[one], table.names[other])
        tallies.setdefault(unit, np.zeros(OUTCOMES))[label] += 1
    return tallies


def _categories(table: Table) -> dict[str, str]:
    """Example -> category."""
    labels, examples = table.labels.get("category"), table.label("example")
    if labels is None:
        return {}
    pairs = zip(examples.codes, labels.codes, strict=True)
    return {examples.names[example]: labels.names[code] for example, code in pairs if code != MISSING}


def _between(a: Array, b: Array, seed: int) -> Agreement:
    """Of tallies (units, 3) of two sides."""
    tables = a[:, :, None] * b[:, None, :] / (a.sum(1) * b.sum(1))[:, None, None]
    return _estimates(tables, _coincidences(a + b), seed)


def _within(tallies: Array, seed: int) -> Agreement:
    """Among voters of one side, (units, 3), of whom each unit has two or more."""
    coincidences = _coincidences(tallies)
    return _estimates(coincidences / tallies.sum(1)[:, None, None], coincidences, seed)


def _coincidences(tallies: Array) -> Array:
    """Krippendorff's coincidence matrix of each unit, (units, 3, 3); zero where there is one vote."""
    pairs = tallies[:, :, None] * tallies[:, None, :]
    pairs[:, range(OUTCOMES), range(OUTCOMES)] -= tallies
    shared: Array = pairs / np.maximum(tallies.sum(1) - 1, 1)[:, None, None]
    return shared


def _estimates(tables: Array, coincidences: Array, seed: int) -> Agreement:
    """All figures are functions of sums over units, so a bootstrap draw is a weighted sum."""
    n = len(tables)
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=REPLICATES).astype(float)
    sums = np.concatenate([np.ones((1, n)), weights]) @ np.stack([tables, coincidences], 1).reshape(n, -1)
    table, coincidence = np.moveaxis(sums.reshape(-1, 2, OUTCOMES, OUTCOMES), 1, 0)
    decided = int((tables[:, :TIE, :TIE].sum((1, 2)) > 0).sum())
    return Agreement(
        agreement=_estimate(_same(table), n),
        agreement_without_ties=_estimate(_same(table[:, :TIE, :TIE]), decided),
        kappa=_estimate(_kappa(table), n),
        alpha=_estimate(_alpha(coincidence), n),
    )


def _same(tables: Array) -> Array:
    return _ratio(np.trace(tables, axis1=1, axis2=2), tables.sum((1, 2)))


def _kappa(tables: Array) -> Array:
    share = tables / tables.sum((1, 2))[:, None, None]
    chance = (share.sum(2) * share.sum(1)).sum(1)
    return _ratio(np.trace(share, axis1=1, axis2=2) - chance, 1 - chance)


def _alpha(coincidences: Array) -> Array:
    totals = coincidences.sum(2)
    n = totals.sum(1)
    observed = n - np.trace(coincidences, axis1=1, axis2=2)
    expected = n**2 - (totals**2).sum(1)
    alpha: Array = 1 - (n - 1) * _ratio(observed, expected)
    return alpha


def _ratio(part: Array, whole: Array) -> Array:
    """Not a number where the whole is nothing: everyone always says the same, or nobody says anything."""
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=np.abs(whole) > np.finfo(float).eps)


def _estimate(values: NDArray[np.float64], n: int) -> Estimate:
    """The first value is that of all units, the others those of bootstrap draws."""
    drawn = values[1:][~np.isnan(values[1:])]
    if np.isnan(values[0]) or not len(drawn):
        return Estimate(None, None, None, n)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Estimate(float(values[0]), float(low), float(high), n)


def agreement_sentence(found: AgreementReport) -> str:
    """How much the votes can stand in for the reference, in one paragraph."""
    between, within = found.between, found.within
    rate, kappa = between.agreement, between.kappa
    assert rate.value is not None
    words = [f"They say the same on {_percent(rate)} of {rate.n} pairs of answers."]
    decided = between.agreement_without_ties
    if decided.value is not None:
        words.append(f"Where both name a winner it is the same one in {_percent(decided)}.")
    if kappa.value is None or kappa.low is None:
        words.append("One side always says the same, so chance cannot be told from agreement.")
    elif kappa.low <= 0:
        words.append(
            f"That is not surely more than chance (kappa {_plain(kappa)}): do not rely on these votes."
        )
    else:
        words.append(f"Beyond chance, kappa is {_plain(kappa)}. {_against_ceiling(kappa.value, within)}")
    return " ".join(words)


def _against_ceiling(kappa: float, within: Agreement | None) -> str:
    if within is None or within.kappa.value is None or within.kappa.low is None:
        return "No two voters of the reference judged the same answers, so how far they agree is not known."
    near = kappa >= within.kappa.low
    return (
        f"The reference's voters agree with each other on {_percent(within.agreement)}, kappa "
        f"{_plain(within.kappa)}: these votes are {'' if near else 'not '}as good as one of theirs."
    )


def _percent(figure: Estimate) -> str:
    return f"{figure.value:.0%} ({figure.low:.0%} to {figure.high:.0%})"


def _plain(figure: Estimate) -> str:
    return f"{figure.value:.2f} ({figure.low:.2f} to {figure.high:.2f})"
