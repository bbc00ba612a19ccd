"""How far two sets of votes agree, a judge's and people's above all, and people with each other.

A unit is one pair of answers to one example; both_bad counts as a tie. Where several voters judged a unit,
every vote of one side is set against every vote of the other, and each unit weighs the same, as in MT-bench
(Zheng et al. 2023). No voter is compared with themselves. Where several pairs of contestants are judged,
which of two is called the first is arbitrary, so figures count both ways round and do not depend on names.
Intervals are those of the Bayesian bootstrap (Rubin 1981) over examples, with half a unit of agreement and
half a unit of disagreement imagined, so that they have width at 5 of 5.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import RatingError
from toolkit.ratings.vote_table import MISSING, TIE, Array, Table
from toolkit.statistics import NORMAL

REPLICATES = 2000
OUTCOMES = 3
FEWEST = 10
"""Units below which nothing is claimed."""
MARGIN = 0.10
"""How much less often than a person the votes may agree with people, ties aside, and count as good as
one's."""


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
    """Result of `agreement`."""

    between: Agreement
    within: Agreement | None
    """Among the reference's own voters, who are the ceiling; `None` when no unit has two of them."""
    categories: Mapping[str, Agreement]
    behind: Estimate | None
    """Agreement with the reference's voters, ties aside, less theirs with each other on the same units;
    `low` is a one-sided 95% bound. `None` where fewer than `FEWEST` units have both."""

    @property
    def as_good_as_one(self) -> bool:
        """Whether the votes are shown to be at most `MARGIN` worse than one of the reference's voters."""
        return self.behind is not None and self.behind.low is not None and self.behind.low > -MARGIN


def agreement(votes: Table, reference: Table, *, seed: int = 0) -> AgreementReport:
    """Set votes (a judge's, say) against a reference (people's) on the units that both have.

    Votes of the reference whose voters are on the other side too are left out, unless there are no others.
    Raises `RatingError` where votes name no question, or the two have no unit in common.
    """
    voters, others = votes.labels.get("voter"), reference.labels.get("voter")
    if voters is not None and others is not None:
        used = {voters.names[code] for code in np.unique(voters.codes[voters.codes != MISSING])}
        both = [code for code, name in enumerate(others.names) if name in used]
        left = np.flatnonzero(~np.isin(others.codes, both))
        reference = reference.take(left) if len(left) else reference
    mine, theirs = _tallies(votes), _tallies(reference)
    shared = [unit for unit in mine if unit in theirs]
    if not shared:
        raise RatingError(
            "no answers to the same question were judged by both; compare question_id, names and voters"
        )
    several = [unit for unit, tally in theirs.items() if tally.sum() > 1]
    categories = _categories(reference) | _categories(votes)
    groups: dict[str, list[Unit]] = {}
    for unit in shared:
        if unit[0] in categories:
            groups.setdefault(categories[unit[0]], []).append(unit)
    within = None
    if several:
        tallies = np.array([theirs[unit] for unit in several])
        pairs = _coincidences(tallies)
        within = _estimates(pairs / tallies.sum(1)[:, None, None], pairs, several, seed)
    return AgreementReport(
        between=_between(mine, theirs, shared, seed),
        within=within,
        categories={name: _between(mine, theirs, own, seed) for name, own in sorted(groups.items())},
        behind=_behind(mine, theirs, [unit for unit in several if unit in mine]),
    )


Unit = tuple[str, str, str]
"""Example, and the two contestants in order of their names."""
Tallies = dict[Unit, Array]
"""How many votes there are for the first name, for the second, and for a tie."""
TURNED = [1, 0, 2]
"""Outcomes with the two names exchanged."""


def _tallies(table: Table) -> Tallies:
    examples = table.label("example")
    tallies: Tallies = {}
    columns = zip(examples.codes, table.first, table.second, table.outcome, strict=True)
    for example, first, second, outcome in columns:
        turned = first > second  # names are sorted, so their codes are in order
        one, other = (second, first) if turned else (first, second)
        label = int(outcome) if outcome == TIE or not turned else 1 - int(outcome)
        unit = (examples.names[example], table.names[one], table.names[other])
        tallies.setdefault(unit, np.zeros(OUTCOMES))[label] += 1
    return tallies


def _categories(table: Table) -> dict[str, str]:
    labels, examples = table.labels.get("category"), table.label("example")
    if labels is None:
        return {}
    pairs = zip(examples.codes, labels.codes, strict=True)
    return {examples.names[example]: labels.names[code] for example, code in pairs if code != MISSING}


def _between(mine: Tallies, theirs: Tallies, units: Sequence[Unit], seed: int) -> Agreement:
    a, b = (np.array([side[unit] for unit in units]) for side in (mine, theirs))
    tables = a[:, :, None] * b[:, None, :] / (a.sum(1) * b.sum(1))[:, None, None]
    return _estimates(tables, _coincidences(a + b), units, seed)


def _behind(mine: Tallies, theirs: Tallies, units: Sequence[Unit]) -> Estimate | None:
    """Difference of the two rates on the same units, its error by the jackknife over examples."""
    examples = _examples(units)
    if not units or examples.max() + 1 < FEWEST:
        return None
    a, b = (np.array([side[unit] for unit in units]) for side in (mine, theirs))
    against = a[:, :, None] * b[:, None, :] / (a.sum(1) * b.sum(1))[:, None, None]
    among = _coincidences(b) / b.sum(1)[:, None, None]
    parts = [
        np.stack([np.trace(each[:, :TIE, :TIE], axis1=1, axis2=2), each[:, :TIE, :TIE].sum((1, 2))], 1)
        for each in (against, among)
    ]
    rows = np.zeros((examples.max() + 1, 4))
    np.add.at(rows, examples, np.concatenate(parts, axis=1))

    def difference(sums: Array) -> Array:
        return _ratio(sums[..., 0], sums[..., 1]) - _ratio(sums[..., 2], sums[..., 3])

    value, left_out = float(difference(rows.sum(0))), difference(rows.sum(0) - rows)
    if np.isnan(value) or np.isnan(left_out).any():
        return None
    return Estimate(value, lower_bound(value, left_out), None, len(units))


def lower_bound(value: float, left_out: Array) -> float:
    """One-sided 95% bound of a figure, from its values with each example left out."""
    from scipy.special import stdtrit

    n, apart = len(left_out), left_out.mean() - left_out
    spread, quantile = float((apart**2).sum()), float(stdtrit(n - 1, 0.95))
    if spread > 0:  # Student's bound forgets the long lower tail of such differences (Hall 1992, Edgeworth)
        skew = float((apart**3).sum()) / n / (spread / n) ** 1.5
        quantile += max(0.0, -skew) * (2 * quantile**2 + 1) / (6 * n**0.5)
    return value - quantile * float(((n - 1) / n * spread) ** 0.5)


def _examples(units: Sequence[Unit]) -> NDArray[np.int64]:
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(unit[0], len(numbers)) for unit in units], dtype=np.int64)


def _coincidences(tallies: Array) -> Array:
    """Krippendorff's coincidence matrix of each unit, (units, 3, 3); zero where there is one vote."""
    pairs = tallies[:, :, None] * tallies[:, None, :]
    pairs[:, range(OUTCOMES), range(OUTCOMES)] -= tallies
    shared: Array = pairs / np.maximum(tallies.sum(1) - 1, 1)[:, None, None]
    return shared


def _estimates(tables: Array, coincidences: Array, units: Sequence[Unit], seed: int) -> Agreement:
    """All figures are functions of sums over units, so a draw is a weighted sum."""
    if len({unit[1:] for unit in units}) > 1:
        tables, coincidences = ((each + each[:, TURNED][:, :, TURNED]) / 2 for each in (tables, coincidences))
    examples, n = _examples(units), len(units)
    decided = int((tables[:, :TIE, :TIE].sum((1, 2)) > 0).sum())
    rng = np.random.default_rng(seed)
    same = _estimate(_same(_draws(tables, examples, rng)), n)
    without_ties = _estimate(_same(_draws(tables[:, :TIE, :TIE], examples, rng)), decided)
    share = _draws(tables, examples, rng)
    share = share / share.sum((1, 2))[:, None, None]
    chance = (share.sum(2) * share.sum(1)).sum(1)
    kappa = _ratio(np.trace(share, axis1=1, axis2=2) - chance, 1 - chance)
    drawn = _draws(coincidences, examples, rng)
    totals = drawn.sum(2)
    votes = totals.sum(1)
    observed, expected = votes - np.trace(drawn, axis1=1, axis2=2), votes**2 - (totals**2).sum(1)
    alpha = 1 - (votes - 1) * _ratio(observed, expected)
    return Agreement(same, without_ties, _estimate(kappa, n), _estimate(alpha, n))


def _draws(tables: Array, examples: NDArray[np.int64], rng: np.random.Generator) -> Array:
    """The sum over units, then sums with random weights of examples, (1 + draws, k, k)."""
    from scipy.special import stdtrit

    k = tables.shape[1]
    rows = np.zeros((examples.max() + 1, k * k))
    np.add.at(rows, examples, tables.reshape(len(tables), -1))
    n = len(rows)
    total: Array = rows.sum(0).reshape(k, k)
    if n < 3 or not total.sum():  # noqa: PLR2004
        return total[None]
    # As wide as Student's interval where examples are few.
    shape = (n - 2) / n * (NORMAL.inv_cdf(0.975) / float(stdtrit(n - 1, 0.975))) ** 2
    used = (total.sum(0) + total.sum(1)) > 0
    used = used if used.sum() > 1 else np.ones(k, dtype=bool)
    equal = np.diag(used.astype(float))
    unequal = np.outer(used, used) * (1.0 - np.eye(k))
    size = total.sum() / n  # of one example
    drawn: Array = (rng.gamma(shape, size=(REPLICATES, n)) @ rows).reshape(-1, k, k)
    for cells in (equal, unequal):
        drawn += rng.gamma(0.5, size=(REPLICATES, 1, 1)) * size * cells / cells.sum()
    drawn *= total.sum() / drawn.sum((1, 2), keepdims=True)
    return np.concatenate([total[None], drawn])


def _same(tables: Array) -> Array:
    return _ratio(np.trace(tables, axis1=1, axis2=2), tables.sum((1, 2)))


def _ratio(part: Array, whole: Array) -> Array:
    """Not a number where the whole is nothing: everyone always says the same, or nobody says anything."""
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=np.abs(whole) > np.finfo(float).eps)


def _estimate(values: NDArray[np.float64], n: int) -> Estimate:
    """The first value is that of all units, the others those of draws."""
    drawn = values[1:][~np.isnan(values[1:])]
    value = float(values[0])
    if np.isnan(value) or not len(drawn):
        return Estimate(None if np.isnan(value) else value, None, None, n)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Estimate(value, min(value, float(low)), max(value, float(high)), n)


def agreement_sentence(found: AgreementReport) -> str:
    """How much the votes can stand in for the reference, in one paragraph."""
    between, kappa = found.between, found.between.kappa
    words = [
        f"They say the same on {_text(between.agreement, '.0%')} of {between.agreement.n} pairs of answers."
    ]
    if between.agreement_without_ties.value is not None:
        words.append(
            f"Where both name a winner it is the same one in {_text(between.agreement_without_ties, '.0%')}."
        )
    if between.agreement.n < FEWEST:
        words.append(f"With fewer than {FEWEST} pairs nothing more is claimed.")
    elif kappa.value is None or kappa.low is None:
        words.append("One side always gives the same verdict, so chance cannot be told from agreement.")
    elif kappa.low <= 0:
        words.append(
            f"That is not surely more than chance (kappa {_text(kappa)}): do not rely on these votes."
        )
    else:
        words.append(f"Beyond chance, kappa is {_text(kappa)}. {_against_ceiling(found)}")
    return " ".join(words)


def _against_ceiling(found: AgreementReport) -> str:
    within, behind = found.within, found.behind
    if within is None or behind is None or behind.value is None or behind.low is None:
        return (
            f"Fewer than {FEWEST} examples have two of the reference's voters; how they agree is not known."
        )
    shown = (
        f"ties aside these votes agree with one of them {abs(behind.value):.0%} "
        f"{'more' if behind.value > 0 else 'less'} often than they do with each other (at worst "
        f"{-min(behind.low, 0.0):.0%} less, one-sided 95%)"
    )
    good = "as good as one of theirs" if found.as_good_as_one else "not shown to be as good as one of theirs"
    return (
        f"The reference's voters agree with each other on {_text(within.agreement, '.0%')}, kappa "
        f"{_text(within.kappa)}; {shown}: {good}, within {MARGIN:.0%}."
    )


def _text(figure: Estimate, form: str = ".2f") -> str:
    if figure.value is None:
        return "-"
    ends = "" if figure.low is None else f" ({figure.low:{form}} to {figure.high:{form}})"
    return f"{figure.value:{form}}{ends}"
