"""Bootstrap replicates of a fit: votes, whole examples or whole voters drawn again.

Votes are resampled as counts: each cell of the tally becomes a Poisson number with that mean (the Poisson
bootstrap, Hanley and MacGibbon 2006), so a replicate costs the same however many votes there are. All
replicates are solved together, by steps that share one inverse curvature.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from toolkit.ratings.connectivity import is_strongly_connected
from toolkit.ratings.counts import Counts
from toolkit.ratings.intervals import curvature_covariance
from toolkit.ratings.mle import Games, Likelihood, chord, solve
from toolkit.ratings.table import Array, Codes, Table
from toolkit.ratings.ties import Three

ResamplingUnit = Literal["votes", "examples", "voters"]

TOLERANCE = 1e-6
"""Of a replicate, in log-odds: 0.0002 rating points."""
BLOCK_CELLS = 400_000
"""About how many pairs times replicates are solved at a time: they stay in the processor's cache."""


@dataclass(frozen=True)
class Bootstrap:
    """Intervals from replicates. Over examples or voters, where votes on or by the same one go together."""

    over: ResamplingUnit = "votes"
    replicates: int = 1000
    seed: int = 0


def replicates(
    likelihood: Likelihood, theta: Array, counts: Counts, table: Table | None, how: Bootstrap, fallback: float
) -> Array:
    """The parameters of every replicate, shape (replicates, m).

    Args:
        likelihood: of the votes as they are.
        theta: its maximum.
        counts: of the votes.
        table: the votes one by one; only votes resampled in groups need it.
        how: what to resample, and how often.
        fallback: prior of replicates that leave a rating infinite.
    """
    games = likelihood.games
    block = max(1, BLOCK_CELLS // max(1, len(games.first)))
    starts = range(0, how.replicates, block)
    seeds = np.random.SeedSequence(how.seed).spawn(len(starts))
    inverse = curvature_covariance(likelihood, theta)
    draw = _of_counts(counts) if how.over == "votes" or table is None else _of_groups(table, games, how.over)

    def work(start: int, seed: np.random.SeedSequence) -> Array:
        drawn = draw(np.random.default_rng(seed), min(block, how.replicates - start))
        again = replace(likelihood, games=replace(games, outcomes=drawn))
        found, good = chord(again, theta, inverse, tolerance=TOLERANCE)
        for log in np.flatnonzero(~good):
            found[log] = _one(again, int(log), theta, fallback)
        return found

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return np.concatenate(list(pool.map(work, starts, seeds)))


def _of_counts(counts: Counts) -> Callable[[np.random.Generator, int], Three]:
    """Draws of votes. Weighted cells count as the number of equal votes with the same sum and spread."""
    cells = Games.of(counts).outcomes
    squares = Games.of(counts, squared=True).outcomes
    sizes = [square / np.maximum(cell, 1e-300) for cell, square in zip(cells, squares, strict=True)]

    def draw(rng: np.random.Generator, logs: int) -> Three:
        wins, losses, ties = (
            rng.poisson(np.divide(cell, size, out=np.zeros_like(cell), where=size > 0), (logs, cell.shape[1]))
            * size
            for cell, size in zip(cells, sizes, strict=True)
        )
        return wins, losses, ties

    return draw


def _of_groups(
    table: Table, games: Games, over: ResamplingUnit
) -> Callable[[np.random.Generator, int], Three]:
    """Draws of whole examples or voters, as many as there are."""
    labels = table.label("example" if over == "examples" else "voter")
    groups, group = np.unique(labels.codes, return_inverse=True)
    cell, pairs = _cells(table, games)
    weight = np.ones(len(table)) if table.weight is None else table.weight

    def draw(rng: np.random.Generator, logs: int) -> Three:
        times = rng.multinomial(len(groups), np.full(len(groups), 1 / len(groups)), size=logs)
        found = np.array([np.bincount(cell, weight * row[group], minlength=3 * pairs) for row in times])
        return found[:, :pairs], found[:, pairs : 2 * pairs], found[:, 2 * pairs :]

    return draw


def _cells(table: Table, games: Games) -> tuple[Codes, int]:
    """Of each vote its place in the outcomes of the pairs laid end to end (wins, losses, ties)."""
    pairs = len(games.first)
    place = np.full((games.n, games.n), -1)
    place[games.first, games.second] = np.arange(pairs)
    place[games.second, games.first] = np.arange(pairs)
    swapped = table.first > table.second
    outcome = np.where(swapped & (table.outcome < 2), 1 - table.outcome, table.outcome)  # noqa: PLR2004
    return outcome.astype(np.int64) * pairs + place[table.first, table.second], pairs


def _one(likelihood: Likelihood, log: int, theta: Array, fallback: float) -> Array:
    """One replicate that is unlike the votes it was drawn from."""
    games = likelihood.games.select(slice(log, log + 1))
    wins, losses, ties = games.outcomes
    points = np.zeros((games.n, games.n))
    shared = 0 * ties if likelihood.model.has_parameter else ties / 2
    points[games.first, games.second] = (wins + shared)[0]
    points[games.second, games.first] = (losses + shared)[0]
    prior = likelihood.prior if is_strongly_connected(points > 0) else max(fallback, likelihood.prior)
    if likelihood.model.has_parameter and not ties.any():
        ties = np.full_like(ties, 0.5 / ties.size)  # not one tie was drawn: count half of one
    again = replace(likelihood, games=replace(games, outcomes=(wins, losses, ties)), prior=prior)
    return np.asarray(solve(again, theta[None])[0])
