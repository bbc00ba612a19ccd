"""Do intervals, claims and p-values hold what they say? Simulated worlds of known truth.

    python perf/coverage.py ratings              # the tables of docs/statistics.md, some minutes each
    python perf/coverage.py ratings --worlds 200
    python perf/coverage.py power
    python perf/coverage.py peeking
    python perf/coverage.py agreement
    python perf/coverage.py length

A world has contestants whose answers differ in luck: `rho` is the share of the variance of a vote that is
due to the answers themselves, which all votes on an example share, and `taste` that of voters. The truth of
a rating is the Bradley-Terry fit to the population's win rates.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import norm

from toolkit.judge.aggregation import Preference, is_separable, length_controlled
from toolkit.ratings import Counts, bradley_terry
from toolkit.ratings.agreement import agreement as compare
from toolkit.ratings.decisions import betting_evidence, decide_fixed
from toolkit.ratings.intervals import Spread
from toolkit.ratings.mle import Games, Likelihood, solve
from toolkit.ratings.table import Array, Labels, Table
from toolkit.ratings.ties import TIE_MODELS

SPREAD = 0.6
"""Standard deviation of contestants' strengths, where they are not equal; that of one vote's luck is
sqrt(2)."""


@dataclass(frozen=True)
class World:
    """Contestants who all meet each other on every example."""

    contestants: int
    examples: int
    rho: float = 0.0
    ties: float = 0.0
    voters: int = 0
    taste: float = 0.0
    equal: bool = False

    def draw(self, rng: np.random.Generator) -> tuple[Table, Array]:
        """Votes, and the share of points that each contestant takes from each in the population."""
        n, e = self.contestants, self.examples
        s = np.zeros(n) if self.equal else rng.normal(0, SPREAD, n)
        i, j = (np.tile(side, e) for side in np.triu_indices(n, 1))
        example = np.repeat(np.arange(e), n * (n - 1) // 2)
        answers = np.sqrt(self.rho) * rng.normal(0, 1, (e, n))
        luck = np.sqrt(2 * (1 - self.rho - self.taste)) * rng.normal(0, 1, len(i))
        y = s[i] - s[j] + answers[example, i] - answers[example, j] + luck
        labels = {"example": Labels(example, tuple(map(str, range(e))))}
        if self.voters:
            voter = rng.integers(0, self.voters, len(i))
            taste = np.sqrt(self.taste) * rng.normal(0, 1, (self.voters, n))
            y += taste[voter, i] - taste[voter, j]
            labels["voter"] = Labels(voter, tuple(map(str, range(self.voters))))
        margin = norm.ppf((1 + self.ties) / 2)
        outcome = np.where(y > margin * 2**0.5, 0, np.where(y < -margin * 2**0.5, 1, 2))
        gap = (s[:, None] - s[None, :]) / 2**0.5
        win, loss = norm.cdf(gap - margin), norm.cdf(-gap - margin)
        names = tuple(f"c{k:02}" for k in range(n))
        return Table(names, i, j, outcome, None, labels), (1 + win - loss) / 2


def population_fit(points: Array) -> Array:
    """Strengths of the Bradley-Terry fit to the population's win rates, in log-odds."""
    counts = Counts(f"c{k:02}" for k in range(len(points)))
    counts.wins = points * (1 - np.eye(len(points)))
    return solve(Likelihood(Games.of(counts), TIE_MODELS["half"], 0.0))[0]


@dataclass(frozen=True)
class Found:
    """What many worlds gave."""

    ratings: float
    """Share of intervals of ratings that hold the truth."""
    gaps: float
    width: float
    """Mean width of ratings' intervals, over 2 * 1.96 true standard errors."""
    false_claims: float
    """Share of worlds with any false decision."""


def measure_ratings(world: World, worlds: int, seed: int = 0) -> Found:
    """Coverage, relative width and family-wise error of one kind of world."""
    rng = np.random.default_rng(seed)
    n = world.contestants
    i, j = np.triu_indices(n, 1)
    gap = np.zeros((len(i), n))
    gap[np.arange(len(i)), i], gap[np.arange(len(i)), j] = 1, -1
    held, apart, widths, errors, wrong = [], [], [], [], 0
    for _ in range(worlds):
        table, points = world.draw(rng)
        fit, truth = bradley_terry(table), population_fit(points)
        for contrasts, found in ((np.eye(n) - 1 / n, held), (gap, apart)):
            low, high = fit.spread.interval(fit.strength, contrasts, 0.95)
            found.append((low <= contrasts @ truth) & (contrasts @ truth <= high))
        widths.append(fit.spread.reach(0.95) * fit.spread.errors(np.eye(n) - 1 / n))
        errors.append(fit.strength - truth)
        wrong += bool((fit.decisions.above & (truth[:, None] <= truth[None, :])).any())
    width = float(np.mean(widths) / (1.96 * np.std(errors)))
    return Found(float(np.mean(held)), float(np.mean(apart)), width, wrong / worlds)


def ratings(worlds: int) -> Iterator[str]:
    """Coverage over answers' share of the variance, contestants, examples, ties and voters."""
    kinds = [World(n, e, rho=rho) for n in (2, 4, 12) for e in (30, 100, 400) for rho in (0.0, 0.4, 0.8)]
    kinds += [World(4, 60, rho=0.2, ties=ties) for ties in (0.28, 0.5, 0.7)]
    kinds += [World(4, 60, rho=0.2, voters=v, taste=taste) for v in (10, 20, 40) for taste in (0.0, 0.3)]
    yield "| contestants | examples | rho | ties | voters (taste) | ratings | gaps | width | false claims |"
    yield "| ---: | ---: | ---: | ---: | --- | ---: | ---: | ---: | ---: |"
    for kind in kinds:
        some = measure_ratings(kind, worlds)
        equal = measure_ratings(replace(kind, equal=True), worlds)
        voters = f"{kind.voters} ({kind.taste})" if kind.voters else ""
        yield (
            f"| {kind.contestants} | {kind.examples} | {kind.rho} | {kind.ties:.0%} | {voters} | "
            f"{some.ratings:.1%} | {some.gaps:.1%} | {some.width:.2f} | {equal.false_claims:.1%} |"
        )


def power(worlds: int) -> Iterator[str]:
    """Decided pairs, beside the same rule with the true covariance known."""
    yield "| contestants | examples | rho | pairs decided | with the true covariance |"
    yield "| ---: | ---: | ---: | ---: | ---: |"
    for kind in [World(n, e, rho=rho) for n in (2, 4, 12) for e in (30, 100) for rho in (0.0, 0.8)]:
        rng = np.random.default_rng(1)
        fits, truths = [], []
        for _ in range(worlds):
            table, points = kind.draw(rng)
            fits.append(bradley_terry(table))
            truths.append(population_fit(points))
        true = np.cov(np.array([fit.strength - truth for fit, truth in zip(fits, truths, strict=True)]).T)
        known = Spread(true, (true,), 1e6, "")
        ours, best = [], []
        for fit in fits:
            ours.append(fit.decisions.above.sum())
            best.append(decide_fixed(fit.names, fit.strength, known).above.sum())
        pairs = kind.contestants * (kind.contestants - 1) / 2
        yield (
            f"| {kind.contestants} | {kind.examples} | {kind.rho} | {np.mean(ours) / pairs:.1%} | "
            f"{np.mean(best) / pairs:.1%} ({np.mean(ours) / np.mean(best):.2f}) |"
        )


def stopping_times(win: float, ties: float, tests: int, looks: int, arenas: int) -> tuple[Array, Array]:
    """After how many votes the first is decided to be better, and to be worse; infinite where never."""
    rng = np.random.default_rng(0)
    lose, found = 1 - win - ties, []
    for _ in range(arenas):
        steps = rng.choice([1.0, -1.0, 0.0], size=looks, p=[win, lose, ties])
        crossed = []
        for signed in (steps, -steps):
            above = betting_evidence(signed) >= np.log(2 * tests / 0.05)
            crossed.append(float(np.argmax(above)) + 1 if above.any() else np.inf)
        found.append(crossed)
    return np.array(found)[:, 0], np.array(found)[:, 1]


def peeking(worlds: int) -> Iterator[str]:
    """Claims in an open arena that is looked at after every vote, up to 10,000 times."""
    yield "| points | ties | tests | wrong in 10,000 looks | votes: median, 80% | fixed-sample, 80% power |"
    yield "| ---: | ---: | ---: | ---: | ---: | ---: |"
    for ties in (0.0, 0.5):
        wrong = np.isfinite(np.minimum(*stopping_times(0.5 - ties / 2, ties, 1, 10_000, worlds))).mean()
        yield f"| 0.5 | {ties:.0%} | 1 | {wrong:.1%} | | |"
    for points, ties, tests in ((0.55, 0, 1), (0.6, 0, 1), (0.7, 0, 1), (0.6, 0.3, 1), (0.6, 0, 5)):
        better, worse = stopping_times(points - ties / 2, ties, tests, 5_000, worlds)
        variance = points * (1 - points) - ties / 4
        reach = norm.ppf(1 - 0.025 / tests) + norm.ppf(0.8)
        yield (
            f"| {points} | {ties:.0%} | {tests} | {np.isfinite(worse).mean():.1%} | {np.median(better):.0f}, "
            f"{np.quantile(better, 0.8):.0f} | {reach**2 * variance / (points - 0.5) ** 2:.0f} |"
        )


def agreement_table(outcomes: Array, voters: Sequence[str]) -> Table:
    """Votes on one pair: `outcomes` (voters, examples), 0 and 1 for the winner, 2 for a tie."""
    count, examples = outcomes.shape
    zero = np.zeros(count * examples, dtype=np.int64)
    labels = {
        "example": Labels(np.tile(np.arange(examples), count), tuple(map(str, range(examples)))),
        "voter": Labels(np.repeat(np.arange(count), examples), tuple(voters)),
    }
    return Table(("x", "y"), zero, zero + 1, outcomes.ravel(), None, labels)


def agreement(worlds: int) -> Iterator[str]:
    """Intervals of agreement and kappa of two voters, and how often a judge is called as good as a person."""
    rng = np.random.default_rng(0)
    yield "| units | kappa | ties | kappa covered | agreement covered | mean width of kappa's |"
    yield "| ---: | ---: | ---: | ---: | ---: | ---: |"
    for n in (10, 20, 50, 300):
        for kappa in (0.0, 0.15, 0.5, 0.8, 0.96):
            for ties in (0.0, 0.3):
                share = np.array([(1 - ties) / 2, (1 - ties) / 2, ties])
                joint = kappa * np.diag(share) + (1 - kappa) * np.outer(share, share)
                held, wide = [], []
                for _ in range(worlds):
                    cells = rng.choice(9, p=joint.ravel(), size=n)
                    one, other = (agreement_table(side[None], "v") for side in (cells // 3, cells % 3))
                    found = compare(one, other).between
                    sides = ((found.kappa, kappa), (found.agreement, np.trace(joint)))
                    held.append([f.low is None or f.low <= truth <= f.high + 1e-9 for f, truth in sides])
                    wide.append(0.0 if found.kappa.low is None else found.kappa.high - found.kappa.low)
                of_kappa, of_rate = np.mean(held, axis=0)
                yield f"| {n} | {kappa} | {ties:.0%} | {of_kappa:.1%} | {of_rate:.1%} | {np.mean(wide):.2f} |"
    yield ""
    yield "| units | people right | judge right | less agreement | called as good |"
    yield "| ---: | ---: | ---: | ---: | ---: |"
    for n, people, judge in ((100, 0.8, 0.8), (300, 0.8, 0.8), (300, 0.8, 0.8 - 0.1 / 0.6), (300, 0.8, 0.5)):
        good = 0
        for _ in range(worlds):
            truth = rng.integers(0, 2, n)
            votes = [np.where(rng.random(n) < p, truth, 1 - truth) for p in (judge, people, people, people)]
            table = agreement_table(np.array(votes[1:]), ("a", "b", "c"))
            good += compare(agreement_table(votes[0][None], ("judge",)), table).as_good_as_one
        gap = people**2 + (1 - people) ** 2 - judge * people - (1 - judge) * (1 - people)
        yield f"| {n} | {people:.0%} | {judge:.0%} | {gap:.2f} | {good / worlds:.1%} |"


def length(worlds: int) -> Iterator[str]:
    """Win rates at equal length where lengths go with a side and win battles."""
    rng = np.random.default_rng(0)
    yield "| battles | gap, sd | effect | covered | mean width | not separable |"
    yield "| ---: | ---: | ---: | ---: | ---: | ---: |"
    for n, gap, effect in [(n, g, e) for n in (60, 200, 805) for g in (0, 1, 2) for e in (0.0, 0.75, 1.5)]:
        held, wide, open_ = 0, [], 0
        for _ in range(worlds):
            apart, quality = rng.normal(gap, 1, n), rng.normal(0, 0.5)
            won = rng.random(n) < 1 / (1 + np.exp(-quality - effect * np.tanh(apart / apart.std(ddof=1))))
            rows = [
                Preference(
                    contestant="x",
                    against="y",
                    value=float(v),
                    length=2000 + int(100 * d),
                    length_against=2000,
                )
                for v, d in zip(won, apart, strict=True)
            ]
            found = length_controlled(rows)
            held += found["low"] <= 1 / (1 + np.exp(-quality)) <= found["high"]
            wide.append(found["high"] - found["low"])
            open_ += not is_separable(found)
        yield f"| {n} | {gap} | {effect} | {held / worlds:.1%} | {np.mean(wide):.2f} | {open_ / worlds:.1%} |"


TABLES = {"ratings": ratings, "power": power, "peeking": peeking, "agreement": agreement, "length": length}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--worlds", type=int, default=400)
    given = parser.parse_args(arguments)
    for line in TABLES[given.table](given.worlds):
        print(line, flush=True)


if __name__ == "__main__":
    main()
