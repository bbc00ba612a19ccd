"""Do the intervals of ratings cover what they promise? Simulated arenas with known strengths.

    python perf/ratings_coverage.py            # the table of docs/ratings.md, about an hour
    python perf/ratings_coverage.py --arenas 2000 --sizes 3/15 --kinds default davidson

Each arena: contestants with strengths drawn from N(0, 0.7) log-odds, votes on pairs drawn evenly. A figure is
the share of all 95% intervals, over contestants and arenas, that hold the contestant's true rating.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np

from toolkit.ratings import Bootstrap, Counts, bradley_terry
from toolkit.ratings.table import Array
from toolkit.ratings.ties import TIE_MODELS, Ties

SPREAD = 0.7
NU = 0.8
"""Davidson's tie parameter where there are ties: about 28% of even battles tie."""

ARENAS = ((2, 15), (3, 15), (4, 30), (4, 100), (4, 400), (10, 100), (10, 1000), (20, 400), (20, 10_000))
"""(contestants, votes), small to large."""


@dataclass(frozen=True)
class Coverage:
    """Shares of intervals that hold the truth, and their mean width in points."""

    ratings: float
    differences: float
    width: float


def coverage(
    contestants: int,
    votes: int,
    arenas: int,
    *,
    interval: str | None = None,
    ties: Ties = "half",
    seed: int = 0,
) -> Coverage:
    """Coverage of one kind of interval (`None`: the default) over simulated arenas."""
    rng = np.random.default_rng(seed)
    held, apart, widths = [], [], []
    for number in range(arenas):
        truth = rng.normal(0, SPREAD, contestants)
        truth -= truth.mean()
        counts = arena(truth, votes, ties, rng)
        how = Bootstrap(seed=number) if interval == "bootstrap" else interval
        fit = bradley_terry(counts, ties=ties if counts.ties.any() else "half", interval=how)
        points = {
            name: 1000 + 400 / np.log(10) * value for name, value in zip(counts.names, truth, strict=True)
        }
        for row in fit.ratings:
            held.append(row.low <= points[row.contestant] <= row.high)
            widths.append(row.high - row.low)
        first, second = counts.names[:2]
        gap, error = fit.gap(first, second)
        apart.append(abs(gap - (truth[0] - truth[1])) <= 1.959964 * error)
    return Coverage(float(np.mean(held)), float(np.mean(apart)), float(np.mean(widths)))


def arena(truth: Array, votes: int, ties: Ties, rng: np.random.Generator) -> Counts:
    """The tally of one simulated arena in which everyone fights at least once."""
    n = len(truth)
    i, j = np.triu_indices(n, 1)
    logs = TIE_MODELS[ties].logs(truth[i] - truth[j], np.array(np.log(NU)))
    chances = np.exp(np.array(logs))
    if ties == "half":
        chances[2] = 0
    while True:
        cells = rng.multinomial(votes, (chances / chances.sum()).ravel()).reshape(3, -1)
        counts = Counts(f"c{k:02}" for k in range(n))
        counts.wins[i, j], counts.wins[j, i] = cells[0], cells[1]
        counts.ties[i, j] = counts.ties[j, i] = cells[2]
        counts.wins_squared, counts.ties_squared = counts.wins.copy(), counts.ties.copy()
        counts.battles = counts.met.sum(axis=1).astype(np.int64)
        counts.votes = votes
        if counts.battles.all():
            return counts


KINDS: dict[str, tuple[str | None, Ties]] = {
    "default": (None, "half"),
    "curvature": ("curvature", "half"),
    "sandwich": ("sandwich", "half"),
    "profile": ("profile", "half"),
    "bootstrap": ("bootstrap", "half"),
    "davidson": (None, "davidson"),
}
"""Column of the table -> interval and tie model."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    sizes = [f"{contestants}/{votes}" for contestants, votes in ARENAS]
    parser.add_argument("--arenas", type=int, default=1000)
    parser.add_argument("--sizes", nargs="+", default=sizes, help="contestants/votes")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    options = parser.parse_args()
    print(
        f"{options.arenas} arenas each: % of 95% intervals that hold the true rating (mean width in points)"
    )
    print("| contestants | votes | " + " | ".join(options.kinds) + " |")
    print("| ---: | ---: |" + " ---: |" * len(options.kinds))
    for size in options.sizes:
        contestants, votes = map(int, size.split("/"))
        print(f"| {contestants} | {votes} |", end="", flush=True)
        for kind in options.kinds:
            interval, ties = KINDS[kind]
            cell = coverage(contestants, votes, options.arenas, interval=interval, ties=ties)
            print(f" {100 * cell.ratings:.1f} ({cell.width:.0f}) |", end="", flush=True)
        print()


if __name__ == "__main__":
    main()
