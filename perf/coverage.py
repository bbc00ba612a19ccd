"""Do intervals, claims and p-values hold what they say? Simulated worlds of known truth.

    python perf/coverage.py ratings              # the tables of docs/statistics.md, some minutes each
    python perf/coverage.py ratings --worlds 200
    python perf/coverage.py power
    python perf/coverage.py peeking
    python perf/coverage.py agreement
    python perf/coverage.py noninferiority
    python perf/coverage.py length
    python perf/coverage.py ppi
    python perf/coverage.py draws                # examples drawn where the judge tells least, against alike
    python perf/coverage.py samples
    python perf/coverage.py real --data DIR      # real votes: DIR/battles_llmfao, DIR/judge_pandalm

A world has contestants whose answers differ in luck: `rho` is the share of the variance of a vote that is
due to the answers themselves, which all votes on an example share, and `taste` that of voters. The truth of
a rating is the Bradley-Terry fit to the population's win rates.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import norm

from toolkit.arena.pairing import example_probabilities, residual_deviations
from toolkit.judge.aggregation import Preference, is_separable, length_controlled
from toolkit.metrics import Measurement, difference, score
from toolkit.metrics.intervals import crossed_margin
from toolkit.metrics.measurement import pool_samples
from toolkit.ratings import Counts, bradley_terry
from toolkit.ratings.agreement import MARGIN, lower_bound
from toolkit.ratings.agreement import agreement as compare
from toolkit.ratings.decisions import betting_evidence, decide_fixed
from toolkit.ratings.intervals import Spread
from toolkit.ratings.mle import Games, Likelihood, solve
from toolkit.ratings.prediction_powered import Cluster, prediction_powered
from toolkit.ratings.vote_table import Array, Labels, Table

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
    uneven: bool = False
    """Votes of examples and of voters go as one over their rank."""
    lucky: int | None = None
    """How many contestants' answers differ in luck; `None`: all."""

    def draw(self, rng: np.random.Generator) -> tuple[Table, Array]:
        """Votes, and the share of points that each contestant takes from each in the population."""
        n, e = self.contestants, self.examples
        s = np.zeros(n) if self.equal else rng.normal(0, SPREAD, n)
        i, j = (np.tile(side, e) for side in np.triu_indices(n, 1))
        example = np.repeat(np.arange(e), n * (n - 1) // 2)
        if self.uneven:
            example = rng.choice(e, len(i), p=_one_over_rank(e))
        rho = np.where(np.arange(n) < (n if self.lucky is None else self.lucky), self.rho, 0.0)
        answers = np.sqrt(rho) * rng.normal(0, 1, (e, n))
        luck = np.sqrt(2 - rho[i] - rho[j] - 2 * self.taste) * rng.normal(0, 1, len(i))
        y = s[i] - s[j] + answers[example, i] - answers[example, j] + luck
        labels = {"example": Labels(example, tuple(map(str, range(e))))}
        if self.voters:
            share = _one_over_rank(self.voters) if self.uneven else None
            voter = rng.choice(self.voters, len(i), p=share)
            taste = np.sqrt(self.taste) * rng.normal(0, 1, (self.voters, n))
            y += taste[voter, i] - taste[voter, j]
            labels["voter"] = Labels(voter, tuple(map(str, range(self.voters))))
        margin = norm.ppf((1 + self.ties) / 2)
        outcome = np.where(y > margin * 2**0.5, 0, np.where(y < -margin * 2**0.5, 1, 2))
        gap = (s[:, None] - s[None, :]) / 2**0.5
        win, loss = norm.cdf(gap - margin), norm.cdf(-gap - margin)
        names = tuple(f"c{k:02}" for k in range(n))
        return Table(names, i, j, outcome, None, labels), (1 + win - loss) / 2


def _one_over_rank(size: int) -> Array:
    parts = 1 / np.arange(1, size + 1)
    return np.asarray(parts / parts.sum())


def population_fit(points: Array) -> Array:
    """Strengths of the Bradley-Terry fit to the population's win rates, in log-odds."""
    counts = Counts(f"c{k:02}" for k in range(len(points)))
    counts.wins = points * (1 - np.eye(len(points)))
    return solve(Likelihood(Games.of(counts)))


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
            low, high = fit.spread.interval(fit.strength, contrasts)
            found.append((low <= contrasts @ truth) & (contrasts @ truth <= high))
        widths.append(fit.spread.reach() * fit.spread.errors(np.eye(n) - 1 / n))
        errors.append(fit.strength - truth)
        wrong += bool((fit.decisions.above & (truth[:, None] <= truth[None, :])).any())
    width = float(np.mean(widths) / (1.96 * np.std(errors)))
    return Found(float(np.mean(held)), float(np.mean(apart)), width, wrong / worlds)


def ratings(worlds: int) -> Iterator[str]:
    """Coverage over answers' share of the variance, contestants, examples, ties and voters."""
    kinds = [World(n, e, rho=rho) for n in (2, 4, 12) for e in (30, 100, 400) for rho in (0.0, 0.4, 0.8)]
    kinds += [World(4, 60, rho=0.2, ties=ties) for ties in (0.28, 0.5, 0.7)]
    kinds += [World(4, 60, rho=0.2, voters=v, taste=taste) for v in (10, 20, 40) for taste in (0.0, 0.3)]
    kinds += [World(n, 60, rho=rho, uneven=True) for n in (2, 4, 12) for rho in (0.0, 0.4, 0.8)]
    kinds += [World(4, 60, rho=0.2, voters=v, taste=0.3, uneven=True) for v in (10, 20, 40)]
    kinds += [
        World(n, e, rho=0.9, lucky=k) for n, e, k in ((4, 30, 1), (4, 30, 2), (12, 30, 2), (12, 100, 6))
    ]
    yield "| contestants | examples | rho | ties | voters (taste) | ratings | gaps | width | false claims |"
    yield "| ---: | ---: | ---: | ---: | --- | ---: | ---: | ---: | ---: |"
    for kind in kinds:
        some = measure_ratings(kind, worlds)
        equal = measure_ratings(replace(kind, equal=True), worlds)
        voters = f"{kind.voters} ({kind.taste})" if kind.voters else ""
        examples = f"{kind.examples}{', uneven' * kind.uneven}"
        examples += f", {kind.lucky} lucky" if kind.lucky else ""
        yield (
            f"| {kind.contestants} | {examples} | {kind.rho} | {kind.ties:.0%} | {voters} | "
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
    """Intervals of agreement and kappa of two voters."""
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


def noninferiority(worlds: int) -> Iterator[str]:
    """How often a judge is called as good as a person: three people's votes on each unit, the judge's one."""
    rng = np.random.default_rng(0)
    yield "| units | people right | judge right | less agreement | called as good |"
    yield "| ---: | ---: | ---: | ---: | ---: |"
    for n in (30, 100, 300):
        for people, judge in (
            (0.8, 0.8),
            (0.8, 0.8 - 0.1 / 0.6),
            (0.9, 0.9 - 0.1 / 0.8),
            (0.7, 0.45),
            (0.8, 0.5),
        ):
            good = 0
            for _ in range(10 * worlds):
                truth = rng.integers(0, 2, n)
                found, *votes = (
                    np.where(rng.random(n) < p, truth, 1 - truth) for p in (judge, people, people, people)
                )
                first = np.sum(votes, axis=0)
                apart = np.where(found == 1, first, 3 - first) / 3 - np.where(first % 3 == 0, 1, 1 / 3)
                left_out = (apart.sum() - apart) / (n - 1)
                good += lower_bound(float(apart.mean()), left_out) > -MARGIN
            gap = people**2 + (1 - people) ** 2 - judge * people - (1 - judge) * (1 - people)
            yield f"| {n} | {people:.0%} | {judge:.0%} | {gap:.2f} | {good / worlds / 10:.1%} |"


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


@dataclass(frozen=True)
class JudgedWorld:
    """A judge votes on every battle of a world, people on one or all pairs of some examples."""

    world: World
    labelled: int
    """Examples that people voted on."""
    quality: float
    """How often the judge sees what people see; else it tosses a coin."""
    bias: float = 0.0
    """What it gives the later name more when it tosses."""
    one_pair: bool = False

    def draw(self, rng: np.random.Generator) -> tuple[Table, Table, Array]:
        """People's votes, the judge's, and the population's points."""
        votes, points = self.world.draw(rng)
        count, example = len(votes), votes.labels["example"].codes
        coin = rng.random(count) < 0.5 + self.bias * np.sign(votes.first - votes.second)
        seen = np.where(rng.random(count) < self.quality, votes.points, coin.astype(float))
        labels = {"example": votes.labels["example"]}
        judge = Table(votes.names, votes.first, votes.second, votes.outcome, None, labels, 0.1 + 0.8 * seen)
        chosen = np.isin(example, rng.choice(self.world.examples, self.labelled, replace=False))
        if self.one_pair:
            pairs = self.world.contestants * (self.world.contestants - 1) // 2
            chosen &= (
                np.tile(np.arange(pairs), self.world.examples)
                == rng.integers(0, pairs, self.world.examples)[example]
            )
        return votes.take(np.flatnonzero(chosen)), judge, points


def ppi(worlds: int) -> Iterator[str]:
    """People and judge together: coverage of gaps and win rates, and width beside people's votes alone."""
    yield "| contestants, labelled of examples | judge | gaps | win rates | width | power |"
    yield "| --- | --- | ---: | ---: | ---: | ---: |"
    judges = {"useless": (0.0, 0.0), "useless, leaning": (0.0, 0.3), "fair, leaning": (0.4, 0.2)}
    judges |= {"good": (0.8, 0.0), "excellent": (0.95, 0.0)}
    sizes = (
        (2, 120, 500, False),
        (4, 120, 500, False),
        (8, 120, 300, False),
        (4, 150, 600, True),
        (8, 200, 600, True),
    )
    for n, labelled, examples, one in sizes:
        i, j = np.triu_indices(n, 1)
        gap = np.zeros((len(i), n))
        gap[np.arange(len(i)), i], gap[np.arange(len(i)), j] = 1, -1
        for name, (quality, bias) in judges.items():
            kind = JudgedWorld(World(n, examples, rho=0.3, ties=0.2), labelled, quality, bias, one)
            rng, apart, rates, widths, powers = np.random.default_rng(2), [], [], [], []
            for _ in range(worlds):
                people, judge, points = kind.draw(rng)
                found = prediction_powered(people, judge)
                assert found is not None
                place = [int(each[1:]) for each in found.names]
                truth = population_fit(points)[place]
                if len(place) == n:
                    low, high = found.spread.interval(found.strength, gap)
                    apart.append((low <= gap @ truth) & (gap @ truth <= high))
                shares = [points[int(each.first[1:]), int(each.second[1:])] for each in found.win_rates]
                rates += [r.low <= share <= r.high for r, share in zip(found.win_rates, shares, strict=True)]
                widths.append(found.narrower)
                powers.append(found.power)
            size = f"{n}, {labelled} of {examples}{', one pair each' if one else ''}"
            yield (
                f"| {size} | {name} | {np.mean(apart):.1%} | {np.mean(rates):.1%} | {np.mean(widths):.2f} | "
                f"{np.mean(powers):.2f} |"
            )


def draw_guided(
    pair: Array, judged: Array, points: Array, sizes: Array, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Battles drawn within pairs as the arena draws them, `sizes` of each, and the weights of their votes."""
    left = {each: list(np.flatnonzero(pair == each)) for each in np.unique(pair)}
    order = rng.permutation(np.repeat(list(left), sizes))
    chosen, weights, none = np.zeros(0, dtype=int), [], np.zeros(0)
    deviations = residual_deviations(judged, none, none)
    for number, each in enumerate(order, 1):
        open_ = left[each]
        chances = example_probabilities(judged[open_], deviations)
        at = int(rng.choice(len(open_), p=chances))
        weights.append(1 / len(open_) / chances[at])
        chosen = np.append(chosen, open_.pop(at))
        if number % 30 == 0:
            deviations = residual_deviations(judged, points[chosen], judged[chosen])
    return chosen, np.array(weights)


def draws(worlds: int) -> Iterator[str]:
    """The same votes a pair on examples drawn alike, and half of them where the judge tells least."""
    yield "| contestants, labelled a pair | judge | gaps: alike | guided | width | people alone | width |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: |"
    judges = {"useless": (0.0, 0.0, 0.5), "useless, leaning": (0.0, 0.3, 0.5), "fair": (0.5, 0.2, 0.5)}
    judges |= {"good": (0.8, 0.0, 0.5), "fair, knows": (0.5, 0.0, 1.0), "good, knows": (0.8, 0.0, 1.0)}
    for n, labelled, examples in ((2, 120, 500), (4, 120, 500), (4, 120, 150), (8, 60, 300)):
        for name, judge in judges.items():
            rng, found = np.random.default_rng(3), []
            for _ in range(worlds * (4 if examples == 500 else 1)):
                found.append(_compare_draws(World(n, examples, rho=0.3, ties=0.2), labelled, judge, rng))
            covered, width = np.mean(found, axis=0)
            yield (
                f"| {n}, {labelled} of {examples} | {name} | {covered[0]:.1%} | {covered[2]:.1%} | "
                f"{width[2] / width[0]:.2f} | {covered[3]:.1%} | {width[3] / width[1]:.2f} |"
            )


def _compare_draws(
    world: World, labelled: int, judge: tuple[float, float, float], rng: np.random.Generator
) -> tuple[list[float], list[float]]:
    """Coverage and width of gaps: people and judge, people alone; of draws alike, then of guided ones.

    The judge sees people's votes at a rate, leans by a bias where it does not, and is unsure there at a rate.
    """
    (votes, points), (quality, bias, knows) = world.draw(rng), judge
    sees, size = rng.random(len(votes)) < quality, len(votes)
    coin = rng.random(size) < 0.5 + bias * np.sign(votes.first - votes.second)
    sure = np.where(sees | (rng.random(size) >= knows), 0.45, 0.05)
    side = np.where(sees, votes.points, coin.astype(float))
    judged = replace(votes, probability=0.5 + 2 * sure * (side - 0.5))
    pair, n = votes.first * len(votes.names) + votes.second, world.contestants
    sizes = np.full(n * (n - 1) // 2, labelled)
    alike = np.concatenate([rng.permutation(np.flatnonzero(pair == p))[:labelled] for p in np.unique(pair)])
    chosen, weights = draw_guided(pair, judged.points, votes.points, sizes, rng)
    i, j = np.triu_indices(n, 1)
    gap, truth = np.eye(n)[i] - np.eye(n)[j], population_fit(points)
    covered, width = [], []
    for people in (votes.take(alike), replace(votes.take(chosen), weight=weights)):
        for fit in (prediction_powered(people, judged), bradley_terry(people)):
            low, high = fit.spread.interval(fit.strength, gap)
            covered.append(float(np.mean((low <= gap @ truth) & (gap @ truth <= high))))
            width.append(float(np.mean(high - low)))
    return covered, width


def real_battles(data: Path) -> Iterator[tuple[str, pd.DataFrame, pd.DataFrame, Cluster]]:
    """Name, people's votes, a judge's, and what is drawn, of real votes."""
    folder = data / "battles_llmfao"
    words = {"left": "model_a", "right": "model_b", "tie": "tie"}

    def battles(file: str) -> pd.DataFrame:
        rows = pd.read_csv(folder / file)
        rows = rows.rename(
            columns={"left": "model_a", "right": "model_b", "prompt": "question_id", "worker": "voter"}
        )
        return rows.assign(winner=rows["winner"].map(words), question_id=rows["question_id"].astype(str))

    people = battles("crowd_votes_6prompts.csv")
    people = people.assign(voter=people["voter"].astype(str))
    for judge in ("gpt4", "gpt3"):
        yield f"59 models, 6 prompts, {judge}", people, battles(f"{judge}_judge_6prompts.csv"), "battle"
    rows = [json.loads(line) for line in (data / "judge_pandalm/first500.jsonl").read_text().splitlines()]
    outcomes = {"0": "tie", "Tie": "tie", "1": "model_a", "2": "model_b"}

    def pandalm(*columns: str) -> pd.DataFrame:
        return pd.DataFrame(
            {"model_a": a, "model_b": b, "winner": outcome, "voter": column, "question_id": str(number)}
            for number, row in enumerate(rows)
            for a, b in [row["cmp_key"].split("_")[:2]]
            for column in columns
            if (outcome := outcomes.get(str(row[column])))
        )

    people = pandalm("annotator1", "annotator2", "annotator3")
    for judge in ("gpt35_verdict", "pandalm7b_verdict"):
        yield f"PandaLM's pairs, {judge}", people, pandalm(judge), "example"


def real(worlds: int, data: Path) -> Iterator[str]:
    """The same with at least 80% of real people's votes hidden; the truth is the fit to all of them."""
    yield "| votes | labelled | drawn | gaps covered: people alone | people + judge | width | power | reach |"
    yield "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |"
    for name, people, judge, cluster in real_battles(data):
        for share, drawn in ((0.1, "alike"), (0.2, "alike"), (0.2, "guided")):
            found = measure_real(people, judge, cluster, share, worlds, guided=drawn == "guided")
            yield f"| {name} | {share:.0%} | {drawn} | {found} |"


def battle_points(votes: pd.DataFrame) -> pd.DataFrame:
    """Question, pair and mean points of the pair's first name, a row for each battle."""
    turned = votes["model_a"] > votes["model_b"]
    points = votes["winner"].map({"model_a": 1.0, "model_b": 0.0, "tie": 0.5})
    pair = (
        votes["model_a"].where(~turned, votes["model_b"])
        + "/"
        + votes["model_b"].where(~turned, votes["model_a"])
    )
    rows = votes.assign(
        pair=pair, points=points.where(~turned, 1 - points), key=votes["question_id"] + "/" + pair
    )
    return rows.groupby("key", sort=False)[["pair", "points"]].agg({"pair": "first", "points": "mean"})


def measure_real(
    people: pd.DataFrame,
    judge: pd.DataFrame,
    cluster: Cluster,
    share: float,
    worlds: int,
    *,
    guided: bool = False,
) -> str:
    """Coverage of both, width, power and reach of battles drawn without replacement."""
    rng, whole = np.random.default_rng(0), bradley_terry(people, prior=1.0)
    battles = battle_points(people).join(battle_points(judge)["points"].rename("judged"))
    pair, points, judged = (
        pd.factorize(battles["pair"])[0],
        battles["points"].to_numpy(),
        battles["judged"].to_numpy(),
    )
    sizes = np.round(share * np.bincount(pair)).astype(int)
    key = (
        people["question_id"]
        + "/"
        + people[["model_a", "model_b"]].apply(lambda row: "/".join(sorted(row)), axis=1)
    )
    keys = key.unique() if cluster == "battle" else people["question_id"].unique()
    by = key if cluster == "battle" else people["question_id"]
    alone, both, widths, powers, reach = [], [], [], [], []
    for _ in range(worlds):
        some = people[by.isin(rng.choice(keys, round(share * len(keys)), replace=False))]
        if guided:
            chosen, weights = draw_guided(pair, judged, points, sizes, rng)
            of = pd.Series(weights, index=battles.index[chosen])
            some = people[key.isin(of.index)].assign(weight=key.map(of))
        found = prediction_powered(some, judge, cluster=cluster, fewest=30)
        if found is None:
            continue
        truth = whole.strength[[whole.names.index(each) for each in found.names]]
        truth = truth - truth.mean()
        fit = bradley_terry(some)
        contrasts = np.eye(len(truth)) - 1 / len(truth)
        for strength, spread, held in (
            (fit.strength, fit.spread, alone),
            (found.strength, found.spread, both),
        ):
            low, high = spread.interval(strength, contrasts)
            middle, half = (low + high) / 2, (high - low) / 2 * np.sqrt(1 - share)
            held.append(np.mean(np.abs(middle - truth) <= half))
        widths.append(found.narrower)
        powers.append(found.power)
        reach.append(half.mean())
    figures = f"{np.mean(widths):.2f} | {np.mean(powers):.2f} | {np.mean(reach):.3f}"
    return f"{np.mean(alone):.1%} | {np.mean(both):.1%} | {figures}"


SEED_SPREADS = (0.0, 0.02, 0.05, 0.1, 0.3)


def seeds(worlds: int) -> Iterator[str]:
    """Differences of stages trained several times from a base: coverage, width against a known variance."""
    yield f"By spread of seeds, beside 0.3 of examples and of the rest; [right or wrong]; {worlds} worlds."
    yield "| examples, seeds | " + " | ".join(f"{spread:g}" for spread in SEED_SPREADS) + " |"
    yield "| --- |" + " ---: |" * len(SEED_SPREADS)
    rng = np.random.default_rng(0)
    for n, count in [(n, count) for n in (30, 100, 400) for count in (3, 5)]:
        cells = [seed_cell(rng, (n, count), spread, worlds) for spread in SEED_SPREADS]
        yield f"| {n}, {count} | " + " | ".join(cells) + " |"


def seed_cell(rng: np.random.Generator, shape: tuple[int, int], spread: float, worlds: int) -> str:
    n, count = shape
    drawn = rng.normal(0, 0.3, 10**6), rng.normal(0, spread, 10**6)
    gain = float((np.clip(0.6 + sum(drawn), 0, 1) - np.clip(0.4 + drawn[0], 0, 1)).mean())
    known = 2 * 1.96 * np.sqrt(0.09 / n + spread**2 / count + 0.09 / (n * count))
    covered, widths, right = [], [], []
    for _ in range(worlds):
        example, seed = rng.normal(0, 0.3, (n, 1)), rng.normal(0, spread, (1, count))
        table = example + seed + rng.normal(0, 0.3, (n, count))
        half = crossed_margin(table, 0.05)
        covered.append(abs(table.mean()) <= half)
        widths.append(2 * half / known)
        trained = rng.random((n, count)) < np.clip(0.6 + example + seed, 0, 1)
        table = trained * 1.0 - (rng.random((n, 1)) < np.clip(0.4 + example, 0, 1))
        right.append(abs(table.mean() - gain) <= crossed_margin(table, 0.05))
    return f"{np.mean(covered):.1%} ({np.mean(widths):.2f}), [{np.mean(right):.1%}]"


def samples(worlds: int) -> Iterator[str]:
    """Several sampled answers an example: coverage of scores and differences, width beside one answer's."""
    yield f"Right or wrong by each answer, chances of examples from a beta law; {worlds} worlds."
    yield "| examples | answers | score | difference | width of the difference |"
    yield "| ---: | ---: | ---: | ---: | ---: |"
    rng = np.random.default_rng(0)
    for n in (30, 100, 400):
        alone = 0.0
        for count in (1, 2, 4, 8):
            held, widths = [], []
            for _ in range(worlds):
                chance = rng.beta(0.6, 0.4, n), rng.beta(0.5, 0.5, n)
                one, other = (
                    pool_samples([[_answered(rng.random(n) < each, name)] for _ in range(count)])[0]
                    for name, each in zip("ab", chance, strict=True)
                )
                mine, apart = score(one), difference(one, other)
                held.append((mine.low <= 0.6 <= mine.high, apart.low <= 0.1 <= apart.high))
                widths.append(apart.high - apart.low)
            alone = alone or np.mean(widths)
            of_score, of_difference = np.mean(held, axis=0)
            width = np.mean(widths) / alone
            yield f"| {n} | {count} | {of_score:.1%} | {of_difference:.1%} | {width:.2f} |"


def _answered(right: Array, name: str) -> Measurement:
    ids, rows = tuple(map(str, range(len(right)))), tuple((float(each),) for each in right)
    return Measurement(contestant=name, metric="m", kind="mean", example_ids=ids, rows=rows)


TABLES = {
    "ppi": ppi,
    "draws": draws,
    "seeds": seeds,
    "samples": samples,
    "noninferiority": noninferiority,
} | {
    "ratings": ratings,
    "power": power,
    "peeking": peeking,
    "agreement": agreement,
    "length": length,
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", choices=[*TABLES, "real"])
    parser.add_argument("--worlds", type=int, default=400)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("ADAPTER_ARENA_DATA", "data")))
    options = parser.parse_args(arguments)
    lines = (
        real(options.worlds, options.data)
        if options.table == "real"
        else TABLES[options.table](options.worlds)
    )
    for line in lines:
        print(line, flush=True)


if __name__ == "__main__":
    main()
