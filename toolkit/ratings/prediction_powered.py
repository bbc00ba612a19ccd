"""Ratings and win rates from a judge's votes on all battles, corrected by people's votes on some of them.

Prediction-powered inference (Angelopoulos et al. 2023, PPI++): to the score equations of people's votes comes
what the judge sees on a pair's battles less what it sees on those that people voted on, times one `power` in
[0, 1]. That difference is 0 on average whatever the judge is worth, so the figures are people's; power is
where their variance is least, so a good judge makes them narrower and a useless one gets none. Pairs are
strata: within a pair votes weigh the inverse of the probability that their example was drawn with, where that
is not alike. Where pairs have few battles each they are no strata, and people's battles have to be drawn from
all of the judge's alike. The covariance is clustered as that of people's votes.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np

from toolkit.errors import RatingError
from toolkit.ratings.bradley_terry import BradleyTerry, bradley_terry
from toolkit.ratings.decisions import RatingTable, decide_fixed, leaderboard
from toolkit.ratings.intervals import TWO_WAY_FROM, Spread, VoteScores, cluster_codes, contrasts_to, two_way
from toolkit.ratings.mle import Games, Likelihood, sigmoid, solve
from toolkit.ratings.vote_table import MISSING, Array, Codes, Labels, Table, Votes, count, tabulate
from toolkit.statistics import LEVEL, Z, wilson

FEWEST = 100
"""Labelled examples below which no figure is given."""
FEW_BATTLES = 10
"""Battles of the judge a pair, in the median, from which on pairs are strata."""
OWN_POWER = 50
"""Labels of a pair from which on its win rate has a power of its own."""
WIDEST = 1.05
"""No interval is wider than that of people's votes alone, times this."""

POWERS = (0.2, 0.4, 0.6, 0.8, 1.0)
"""Beside 0, the powers that are tried."""

Cluster = Literal["example", "battle"]
Key = tuple[int, int, int]
"""Two places in the names, in order, and an example."""


@dataclass(frozen=True)
class WinRate:
    """Points that `first` takes from `second`, a tie being half a one."""

    first: str
    second: str
    value: float
    low: float
    high: float
    labels: int
    """Battles that people voted on."""
    power: float


@dataclass(frozen=True)
class PredictionPowered(RatingTable):
    """Ratings of people and judge together, best first, and how they were made; `votes` are people's."""

    power: float
    """How much the judge counts: 0 not at all, 1 as if it were right on average within a pair."""
    labelled: int
    """Examples (or battles) with both people's votes and the judge's."""
    judged: int
    """Battles that the judge voted on."""
    narrower: float
    """Mean width of the intervals, over that of people's votes alone."""
    names: tuple[str, ...]
    strength: Array
    spread: Spread
    win_rates: tuple[WinRate, ...]

    @property
    def settings(self) -> str:
        """How the figures were made, in one sentence."""
        return (
            f"people's votes on {self.labelled} examples and the judge's on {self.judged} battles; the judge "
            f"counts {self.power:.2f} of a person's vote, intervals are {self.narrower:.2f} times as wide as "
            "people's alone."
        )


@dataclass(frozen=True)
class _Battles:
    """The judge's points on all battles, and on those that people voted on."""

    people: Table
    seen: Array
    """Of each of people's votes, the judge's points to its first; NaN where it did not vote."""
    judge: Table
    """A battle a row: both names in order, points to the first; examples by people's numbers."""
    share: Array
    """Of each judged battle: labels that it stands for."""
    centre: Array
    """Of each judged battle: the pair's mean, where pairs are strata; else NaN, for the fit's chance."""
    labelled_centre: Array
    """The same of each of people's votes."""

    @classmethod
    def build(cls, people: Table, judge: Table) -> Self | None:
        if "example" not in people.labels or "example" not in judge.labels:
            return None
        n, examples = len(people.names), people.labels["example"]
        numbers = {name: index for index, name in enumerate(examples.names)}
        points, mass = defaultdict[Key, float](float), defaultdict[Key, float](float)
        place, seen_on = {name: index for index, name in enumerate(people.names)}, judge.labels["example"]
        sides = ([place.get(judge.names[code]) for code in side] for side in (judge.first, judge.second))
        columns = zip(*sides, seen_on.codes.tolist(), judge.points, judge.weights, strict=True)
        for first, second, code, won, weight in columns:
            if first is not None and second is not None and code != MISSING and weight > 0:
                example = numbers.setdefault(seen_on.names[code], len(numbers))
                points[min(first, second), max(first, second), example] += weight * (
                    won if first < second else 1 - won
                )
                mass[min(first, second), max(first, second), example] += weight
        if not mass:
            return None
        known = {key: points[key] / weight for key, weight in mass.items()}
        keys, values = np.array(list(known), dtype=np.int64), np.array(list(known.values()))
        pair, labelled = keys[:, 0] * n + keys[:, 1], pair_codes(people)
        places = zip(labelled.tolist(), examples.codes.tolist(), strict=True)
        seen = np.array([known.get((*divmod(code, n), example), np.nan) for code, example in places])
        weight = people.weights * ~np.isnan(seen)
        battles, labels = (np.bincount(at, each, n * n) for at, each in ((pair, None), (labelled, weight)))
        middle = np.bincount(pair, values, n * n) / np.maximum(battles, 1)
        if np.median(battles[battles > 0]) >= FEW_BATTLES:
            share = (labels / np.maximum(battles, 1))[pair]
        else:
            share, middle = np.full(len(values), labels.sum() / len(values)), np.full(n * n, np.nan)
        turned = people.first > people.second
        own = middle[labelled]
        own, seen = np.where(turned, 1 - own, own), np.where(turned, 1 - seen, seen)
        marks = {"example": Labels(keys[:, 2], tuple(numbers))}
        outcome = np.zeros(len(values), dtype=np.int8)
        table = Table(people.names, keys[:, 0], keys[:, 1], outcome, None, marks, values)
        return cls(people, seen, table, share, middle[pair], own)

    def clusters(self, cluster: Cluster) -> tuple[Codes, Codes]:
        """Cluster of each of people's votes, and of each judged battle."""
        mine, judges = (
            cluster_codes(table, "example")
            if cluster == "example"
            else cluster_codes(table, "example") * len(table.names) ** 2 + pair_codes(table)
            for table in (self.people, self.judge)
        )
        return mine, judges

    def fit(
        self, power: float, alone: BradleyTerry, cluster: Cluster, *, leave_out: bool = True
    ) -> tuple[Array, Spread]:
        """Strengths and their covariance, at one power; roughly, without leaving clusters out in turn.

        The likelihood is of people's votes, with the judge's on all battles more and its on the same less.
        """
        people, judge, n = self.people, self.judge, len(alone.names)
        both = ~np.isnan(self.seen)
        less, more = power * people.weights * both, power * self.share
        mass = np.concatenate([people.weights - less, more])
        won = people.weights * people.points - less * np.where(both, self.seen, 0.0)
        won = np.concatenate([won, more * judge.points])
        first = np.concatenate([people.first, judge.first])
        second = np.concatenate([people.second, judge.second])
        games = Games(n, first, second, (won, mass - won, np.zeros(len(won))))
        likelihood = Likelihood(games, prior=alone.prior)
        strength = solve(likelihood)
        found = likelihood.rows(strength)
        slope, bend = found.slope, found.bend
        if not np.isnan(self.centre[0]):  # pairs are strata: their means take the place of the fit's chances
            chance = sigmoid(strength[first] - strength[second])
            apart = np.concatenate([self.labelled_centre, self.centre]) - chance
            slope = slope + np.concatenate([less, -more]) * apart
            weight = np.concatenate([people.weights, np.zeros(len(judge))])
            bend = weight * chance * (1 - chance)
        votes = VoteScores.build(games, slope, bend if leave_out else None, found.extra)
        codes, none = np.concatenate(self.clusters(cluster)), np.full(len(judge), MISSING)
        labels = {"example": Labels(codes, tuple(map(str, range(int(codes.max(initial=-1)) + 1))))}
        voters = people.labels.get("voter")
        if voters is not None and len(np.unique(voters.codes[voters.codes != MISSING])) >= TWO_WAY_FROM:
            labels["voter"] = Labels(np.concatenate([voters.codes, none]), voters.names)  # the judge is none
        table = Table(people.names, first, second, np.zeros(len(first), dtype=np.int8), None, labels)
        curvature = likelihood.derivatives(strength)[1]
        spread = two_way(votes, curvature, np.zeros((n, n)), table).select(n)
        return strength, replace(spread, freedom=alone.spread.freedom, over=alone.spread.over)


def pair_codes(table: Table) -> Codes:
    """A number for the pair of each vote, whichever side its names are on; shape (votes,)."""
    low, high = np.minimum(table.first, table.second), np.maximum(table.first, table.second)
    return low.astype(np.int64) * len(table.names) + high


def prediction_powered(
    people: Votes, judge: Votes, *, cluster: Cluster = "example", fewest: int = FEWEST
) -> PredictionPowered | None:
    """Rate contestants by a judge's votes, corrected by people's.

    Args:
        people: votes on some battles, with their examples.
        judge: a judge's votes on all battles of the same examples.
        cluster: what is drawn alike and independent: examples; or battles, where there are many pairs on few
            examples, and figures are for these examples.
        fewest: labelled examples below which there is no figure.

    Returns:
        Ratings on the scale of people's; `None` where people and judge share fewer than `fewest` examples.
    """
    table = tabulate(people)
    battles = _Battles.build(table, tabulate(judge))
    if battles is None:
        return None
    labelled = len(np.unique(battles.clusters(cluster)[0][~np.isnan(battles.seen)]))
    if labelled < fewest:
        return None
    alone = bradley_terry(table)
    contrasts = contrasts_to(len(alone.names), None)
    if cluster == "battle":
        alone = replace(alone, spread=battles.fit(0.0, alone, cluster)[1])
    power, (strength, spread) = _choose(battles, alone, cluster)
    decisions = decide_fixed(alone.names, strength, spread)
    return PredictionPowered(
        ratings=leaderboard(decisions, strength, spread, contrasts, count(table).battles),
        votes=len(table),
        power=power,
        labelled=labelled,
        judged=len(battles.judge),
        narrower=float(spread.errors(contrasts).sum() / alone.spread.errors(contrasts).sum()),
        names=alone.names,
        strength=strength,
        spread=spread,
        win_rates=tuple(_win_rates(battles, cluster, power)),
    )


def _win_rates(battles: _Battles, cluster: Cluster, power: float) -> Iterator[WinRate]:
    people, own = battles.people, battles.clusters(cluster)[0]
    turned = people.first > people.second
    points, seen = (np.where(turned, 1 - each, each) for each in (people.points, battles.seen))
    voted, judged = pair_codes(people), pair_codes(battles.judge)
    for pair in np.unique(voted).tolist():
        first, second = divmod(pair, len(people.names))
        at, clusters = voted == pair, np.unique(own[voted == pair], return_inverse=True)[1]
        known = battles.judge.points[judged == pair]
        value, ends, used = _rate(points[at], seen[at], people.weights[at], clusters, known, power)
        labels = int(clusters.max()) + 1
        yield WinRate(people.names[first], people.names[second], value, *ends, labels, used)


def _choose(battles: _Battles, alone: BradleyTerry, cluster: Cluster) -> tuple[float, tuple[Array, Spread]]:
    """The power of least variance that makes no interval too wide, with its strengths and covariance."""
    contrasts = contrasts_to(len(alone.names), None)
    variances: dict[float, float] = {}
    for power in (0.0, *POWERS):
        try:
            _, spread = battles.fit(power, alone, cluster, leave_out=False)
        except (RatingError, np.linalg.LinAlgError):  # more is corrected than so few labels can bear
            continue
        variances[power] = float((spread.errors(contrasts) ** 2).sum())
    widest = WIDEST * alone.spread.errors(contrasts)
    for power in sorted(variances, key=variances.__getitem__):
        if power == 0:
            break
        found = battles.fit(power, alone, cluster)
        if (found[1].errors(contrasts) <= widest).all():
            return power, found
    return 0.0, (alone.strength, alone.spread)


def _rate(
    points: Array, seen: Array, weight: Array, cluster: Codes, judged: Array, power: float
) -> tuple[float, tuple[float, float], float]:
    """Win rate of a pair's first name, its interval, and the power: that of all, unless labels are many.

    Of people's votes, shape (votes,): `points`, what the judge has `seen` on the same (NaN: nothing),
    `weight`, and `cluster`, numbered from 0; `judged` are the judge's points on all battles of the pair.
    """
    from scipy.special import stdtrit

    labels = int(cluster.max()) + 1
    value, both = float(np.average(points, weights=weight)), ~np.isnan(seen)
    free = 1 - labels / max(labels, len(judged))
    residual, further = weight * (points - value) / weight.sum(), np.zeros(len(points))
    if free and both.any():
        further[both] = -weight[both] * (seen[both] - judged.mean()) / weight[both].sum()
    mine, theirs = (np.bincount(cluster, weights=each) for each in (residual, further))
    common, spread = float((mine * theirs).sum()), float((theirs**2).sum())
    used = power if spread > 0 else 0.0
    if labels >= OWN_POWER and spread > 0:
        used = float(np.clip(-common / spread, 0.0, 1.0))
    groups = max(2, labels)
    # The labelled battles are among all that were judged, which takes a part of what both share away.
    variance = float((mine**2).sum()) + free * (2 * used * common + used**2 * spread)
    variance *= groups / (groups - 1)
    value = min(1.0, max(0.0, value + used * float(further.sum())))
    size = max(value * (1 - value), 0.25 / groups) / variance if variance > 0 else float(groups)
    if used:  # the judge's part is known from as few labels
        size *= (Z / float(stdtrit(groups - 1, (1 + LEVEL) / 2))) ** 2
    return value, wilson(value * size, size), used
