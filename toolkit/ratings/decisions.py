"""Who is better than whom: one rule for ranks, pairs, leaderboards, captions and reports.

Claims from a closed set of votes (a judge's, imported ones) are `fixed-sample`: the largest standardised
gap over all pairs is compared with its own distribution, step by step (Romano and Wolf 2005), so that the
chance of any false claim among all pairs is at most 5%. Claims from the votes of an open arena are
`anytime-valid`: that error rate holds even if results are checked after every vote. There each pair is
a bet against equality (Waudby-Smith and Ramdas 2024) with one step an example, and pairs are corrected by
Holm's method.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import RatingError
from toolkit.ratings.intervals import Spread
from toolkit.ratings.vote_table import Array, Table
from toolkit.statistics import LEVEL, NORMAL
from toolkit.svg import Row, interval_chart
from toolkit.types import Pair, Rating, sorted_pair, to_frame

if TYPE_CHECKING:
    import pandas as pd

    from toolkit.ratings.intervals import Spread


Basis = Literal["fixed-sample", "anytime-valid"]
CHANCE = 1 - LEVEL
"""Of any false claim."""
POWER = 0.8
NEGLIGIBLE = 0.05
"""A gap in log-odds (9 points) below which telling a pair apart is not worth the votes."""
DRAWS = 10_000
MOST_CELLS = 10_000_000
"""Draws times pairs: fewer draws where there are thousands of pairs."""
CORRELATION_PRIOR = 5.0
"""Clusters' worth of the independent covariance mixed in where correlations are estimated."""
BETTING_COST = 2.0
"""What not knowing the gap costs the bets, in squared standard errors; from simulation."""
BETS = np.linspace(0.02, 0.98, 49)
"""Shares of the capital that are bet in parallel; their mean is the evidence."""
MOST_WEIGHT = 2.0
"""Of an arena's vote, so that a weighted step on it stays in [-1, 1]."""


@dataclass(frozen=True)
class Decisions:
    """Which contestants are better than which, all claims right together at 95%."""

    names: tuple[str, ...]
    above: NDArray[np.bool_]
    """`above[i, j]`: `names[i]` is better than `names[j]`."""
    p_values: Array
    """Of each pair, corrected for all of them; symmetric, 1 where no claim is tested."""
    tests: int
    """Pairs that are tested together."""
    basis: Basis
    claims: frozenset[Pair] | None = None
    """The pairs that are tested; `None`: all."""

    @property
    def reach(self) -> float:
        """Standard errors of a gap at which a pair is decided, about."""
        chance = CHANCE / self.tests
        if self.basis == "fixed-sample":
            return -NORMAL.inv_cdf(chance / 2)
        return math.sqrt(2 * math.log(2 / chance) + BETTING_COST)

    def better(self, first: str, second: str) -> bool:
        """Whether `first` is decided to be better than `second`."""
        return bool(self.above[self.names.index(first), self.names.index(second)])

    def is_tested(self, first: str, second: str) -> bool:
        """Whether there is a claim on this pair that votes can decide."""
        return self.claims is None or sorted_pair(first, second) in self.claims

    def decided(self, first: str, second: str) -> bool:
        """Whether either is decided to be better than the other."""
        return self.better(first, second) or self.better(second, first)

    def ranks(self) -> NDArray[np.int64]:
        """1 + how many are decided to be better, for each contestant."""
        ranks: NDArray[np.int64] = 1 + self.above.sum(axis=0)
        return ranks

    def rank_ranges(self) -> dict[str, tuple[int, int]]:
        """Contestant -> its best and worst possible rank (Mogstad, Romano, Shaikh and Wilhelm 2024)."""
        worst = len(self.names) - self.above.sum(axis=1)
        return {name: (int(b), int(w)) for name, b, w in zip(self.names, self.ranks(), worst, strict=True)}

    @property
    def meaning(self) -> str:
        """What a claim here promises, in one clause."""
        chance = f"{CHANCE:.0%}"
        if self.basis == "fixed-sample":
            return f"fixed-sample decisions: the chance of any false one, over all pairs, is at most {chance}"
        chance = f"{chance} at most, for these voters"
        return f"anytime-valid decisions: the chance of a false one, whenever one looks, is {chance}"


def decide_fixed(
    names: tuple[str, ...], strength: Array, spread: Spread, *, lattice: float = 0.0
) -> Decisions:
    """Simultaneous decisions over all pairs of strengths (log-odds) from a closed set of votes.

    Variances are moderated: each of many pairs has few examples, and all have more together. No pair is
    decided whose own interval holds 0. `lattice` is half a step of z where it can take few values (two
    contestants): the correction for continuity.
    """
    from scipy.special import stdtr

    n = len(names)
    i, j = np.triu_indices(n, 1)
    pairs = np.zeros((len(i), n))
    pairs[np.arange(len(i)), i], pairs[np.arange(len(i)), j] = 1.0, -1.0
    gap, (errors, freedom) = strength[i] - strength[j], spread.moderated(pairs)
    z, alone = (standardised(gap, each) for each in (errors, spread.errors(pairs)))
    p = step_down(np.maximum(np.abs(z) - lattice, 0.0), pairs, spread, freedom)
    p = np.maximum(p, 2 * stdtr(spread.freedom, -np.maximum(np.abs(alone) - lattice, 0.0)))
    p_values, above = np.ones((n, n)), np.zeros((n, n), dtype=bool)
    p_values[i, j] = p_values[j, i] = p
    above[i, j], above[j, i] = (p < CHANCE) & (z > 0), (p < CHANCE) & (z < 0)
    return Decisions(names, above, p_values, max(1, len(i)), "fixed-sample")


def standardised(gap: Array, error: Array) -> Array:
    """Gaps over their error with no gap: 2 sinh(gap / 2) / error, which for one pair is the score test.

    Wald's gap / error falls again where a gap is large: it never decides 9 : 0.
    """
    return np.asarray(np.divide(2 * np.sinh(gap / 2), error, out=np.zeros_like(gap), where=error > 0))


def step_down(z: Array, contrasts: Array, spread: Spread, freedom: float) -> Array:
    """P-values of |z| that hold for all contrasts (k, m) together; `freedom` is of their variances.

    From the distribution of the largest of multivariate t variables with the contrasts' own correlations;
    those decided already are left out of it, the largest first.
    """
    weight = spread.freedom / (spread.freedom + CORRELATION_PRIOR)
    sizes, vectors = np.linalg.eigh(weight * spread.robust + (1 - weight) * spread.floors[0])
    root = contrasts @ (vectors * np.sqrt(np.maximum(sizes, 0)))
    error = np.sqrt((root**2).sum(axis=1))
    root = np.divide(root, error[:, None], out=np.zeros_like(root), where=error[:, None] > 0)
    drawn = _draw_t(root, freedom)
    p_values, least = np.ones(len(z)), 0.0
    left = np.ones(len(z), dtype=bool)
    while left.any():
        largest = np.sort(drawn[left].max(axis=0))
        tails = 1 - np.searchsorted(largest, z, side="left") / len(largest)
        decided = left & (tails < CHANCE)
        p_values[left] = np.maximum(tails[left], least)
        if not decided.any():
            break
        least = float(p_values[decided].max())
        left &= ~decided
    return np.minimum(1.0, p_values)


def _draw_t(root: Array, freedom: float, seed: int = 0) -> NDArray[np.float32]:
    """Draws of |t| of these rows (k, m), each with an estimated error of its own; shape (k, draws)."""
    rng = np.random.default_rng(seed)
    draws = max(1000, min(DRAWS, MOST_CELLS // len(root)))
    z = np.abs(root.astype(np.float32) @ rng.standard_normal((root.shape[1], draws), dtype=np.float32))
    if freedom < 1000:  # noqa: PLR2004
        # Variances estimated with few degrees of freedom, by Wilson and Hilferty's approximation (1931).
        part = np.float32(2 / (9 * freedom))
        cube_root = rng.standard_normal(z.shape, dtype=np.float32)
        cube_root *= np.sqrt(part)
        cube_root += 1 - part
        np.maximum(cube_root, np.float32(0.1), out=cube_root)
        z /= cube_root  # in steps without copies: these are the largest arrays of a fit
        z /= np.sqrt(cube_root, out=cube_root)
    return np.asarray(z)


def decide_anytime(table: Table, pairs: Collection[Pair] | None = None) -> Decisions:
    """Decisions from an open arena's votes, in the order they were cast; once made, more votes undo none.

    The first vote on an example is a pair's one step on it: further ones are not independent of it.
    Evidence counts at its highest, so looking changes nothing; where a voter is blocked, call this again
    without their votes. `pairs` are the claims that are tested, named beforehand; left out, all.
    """
    names = table.names
    index = {name: place for place, name in enumerate(names)}
    tested = None if pairs is None else frozenset(sorted_pair(*pair) for pair in pairs)
    family = tested or {(a, b) for k, a in enumerate(names) for b in names[k + 1 :]}
    present = sorted((index[a], index[b]) for a, b in family if a in index and b in index)
    size = max(1, len(family))
    points, ends = table.points, np.stack([table.first, table.second]).astype(np.int64)
    met = ends.min(axis=0) * len(names) + ends.max(axis=0)
    order_of_pairs = np.argsort(met, kind="stable")
    met, evidence = met[order_of_pairs], {}
    for i, j in present:
        begin, end = np.searchsorted(met, [i * len(names) + j, i * len(names) + j + 1])
        evidence[i, j], evidence[j, i] = _evidence(table, points, order_of_pairs[begin:end], i)
    above, p_values = np.zeros((len(names),) * 2, dtype=bool), np.ones((len(names),) * 2)
    order, left = _in_order(evidence, size), size
    for winner, loser in order:
        above[winner, loser] = True
    undecided = [(i, j) for i, j in present if not (above[i, j] or above[j, i])]
    for i, j in [*order, *undecided]:
        most = max(evidence[i, j][1].max(initial=0.0), evidence[j, i][1].max(initial=0.0))
        p_values[i, j] = p_values[j, i] = min(1.0, 2 * left * math.exp(-most))
        left -= bool(above[i, j])
    return Decisions(names, above, p_values, size, "anytime-valid", tested)


Evidence = tuple[NDArray[np.int64], Array]
"""Places of steps in the log, and the logarithm of the highest capital so far."""


def _in_order(evidence: dict[tuple[int, int], Evidence], size: int) -> list[tuple[int, int]]:
    """The claims in the order in which they were decided: Holm's method, applied after every vote."""
    decided: list[tuple[int, int]] = []
    now = 0
    while evidence:
        bound = math.log(2 * (size - len(decided)) / CHANCE)
        crossed = [
            (max(now, int(places[np.argmax(capital >= bound)])), pair)
            for pair, (places, capital) in evidence.items()
            if len(capital) and capital[-1] >= bound  # it never falls
        ]
        if not crossed:
            break
        now, pair = min(crossed)
        decided.append(pair)
        evidence = {other: found for other, found in evidence.items() if set(other) != set(pair)}
    return decided


def _evidence(table: Table, points: Array, on: NDArray[np.int64], first: int) -> tuple[Evidence, Evidence]:
    """Evidence that a pair's first is better, and its second, of the votes `on` it, one an example."""
    labels = table.labels.get("example")
    if labels is not None:
        codes = np.where(labels.codes[on] < 0, len(labels.names) + on, labels.codes[on])
        on = on[np.sort(np.unique(codes, return_index=True)[1])]
    gains = 2 * points[on] - 1
    if table.weight is not None:
        gains = gains * np.minimum(table.weight[on] / MOST_WEIGHT, 1)
    steps = np.where(table.first[on] == first, gains, -gains)
    return (on, betting_evidence(steps)), (on, betting_evidence(-steps))


def betting_evidence(steps: Array) -> Array:
    """The logarithm of the highest capital so far of bets that steps in [-1, 1] are above 0 on average."""
    capitals = np.cumsum(np.log1p(np.outer(BETS, steps)), axis=1)
    most = capitals.max(axis=0)
    return np.maximum.accumulate(np.maximum(most + np.log(np.exp(capitals - most).mean(axis=0)), 0.0))


def votes_needed(gap: float, error: float, per_vote: float, reach: float) -> int:
    """About how many more votes on a pair decide it with 80% power, if `gap` (log-odds) is the true one.

    Below 1 where those that are there would do. `error` is its standard error, `per_vote` what a vote on an
    example of its own adds to its precision, and `reach` the standard errors at which the rule decides.
    """
    size = 2 * math.sinh(max(abs(gap), NEGLIGIBLE) / 2)
    precision = ((reach + NORMAL.inv_cdf(POWER)) / size) ** 2
    return math.ceil((precision - 1 / error**2) / per_vote)


POINTS_PER_DECADE = 400.0
"""Rating points between contestants of whom one wins ten times as often, as in chess and at LMArena."""

SCALE = POINTS_PER_DECADE / math.log(10)
"""Rating points for one unit of log-odds."""

CENTRE = 1000.0

DIGITS = 4
"""Decimals of the points in a rating."""


R = TypeVar("R", bound="RatingTable")


def win_probability(rating: float, other: float) -> float:
    """Points a contestant can expect from a battle, from two ratings (Elo's and Bradley-Terry's alike)."""
    return 1 / (1 + 10 ** ((other - rating) / POINTS_PER_DECADE))


@dataclass(frozen=True)
class RatingTable:
    """What every rating result has: a pandas frame, and an SVG chart in a notebook."""

    ratings: tuple[Rating, ...]
    """Best first."""
    votes: int

    def to_frame(self) -> pd.DataFrame:
        """One row per contestant, best first: contestant, value, low, high, battles, rank."""
        return to_frame(self.ratings)

    def ranked_by(self: R, decisions: Decisions) -> R:
        """The same, with the ranks of other decisions: those of an open arena hold under peeking."""
        ranks = dict(zip(decisions.names, decisions.ranks().tolist(), strict=True))
        rows = tuple(row.model_copy(update={"rank": ranks[row.contestant]}) for row in self.ratings)
        return replace(self, ratings=rows)

    def _repr_svg_(self) -> str:
        rows = [Row(row.contestant, row.value, row.low, row.high) for row in self.ratings]
        return interval_chart(rows, f"Ratings from {self.votes} votes")


def leaderboard(
    decisions: Decisions,
    strength: Array,
    spread: Spread,
    contrasts: Array,
    battles: NDArray[np.int64],
    centre: float = CENTRE,
) -> tuple[Rating, ...]:
    """Rows of a leaderboard, best first, equal ones by name; all arguments in the order of the decisions'.

    `strength` is in log-odds, shape (n,), with its covariance `spread`; `contrasts` (n, n) are what is rated,
    such as each strength less the mean; `battles` the votes each was in; `centre` the rating of a contrast 0.
    """
    values = [contrasts @ strength, *spread.interval(strength, contrasts)]
    points = [(centre + SCALE * each).round(DIGITS).tolist() for each in values]
    columns = zip(decisions.names, *points, battles.tolist(), decisions.ranks().tolist(), strict=True)
    rows = (Rating(**dict(zip(Rating.model_fields, row, strict=True))) for row in columns)
    return tuple(sorted(rows, key=lambda row: (-row.value, row.contestant)))


def index_of(names: tuple[str, ...], name: str) -> int:
    """Where a contestant is in `names`; raises `RatingError` if it is not."""
    if name not in names:
        raise RatingError(f"no vote is on {name}; contestants: {', '.join(names)}")
    return names.index(name)
