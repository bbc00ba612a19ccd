"""Bradley-Terry ratings from pairwise votes, by maximum likelihood.

Contestant i beats contestant j with probability 1 / (1 + exp(s_j - s_i)) (Bradley and Terry 1952). Ratings
are 1000 + 400 / ln(10) * s, as LMArena's. Ties are half a win for both, or have a model of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from toolkit.errors import RatingError
from toolkit.ratings.connectivity import identifiability_problem
from toolkit.ratings.counts import Counts, count
from toolkit.ratings.intervals import (
    contrasts_to,
    curvature_covariance,
    joint_quantile,
    profile,
    sandwich_covariance,
    symmetric,
)
from toolkit.ratings.mle import Games, Likelihood, solve
from toolkit.ratings.ranking import RatingTable, leaderboard, rank_ranges, ranks_of
from toolkit.ratings.resampling import Bootstrap, replicates
from toolkit.ratings.table import Array, Table, tabulate
from toolkit.ratings.ties import TIE_MODELS, TieModel, Ties
from toolkit.ratings.win_probability import NORMAL, SCALE, votes_needed
from toolkit.types import Rating, Vote

if TYPE_CHECKING:
    import pandas as pd

CENTRE = 1000.0
PRIOR = 1.0
"""Imagined games against an average contestant, half of them won, where the votes alone do not do."""
PROFILE_PRIOR = 1.5
"""Imagined games behind profile intervals: the fewest with which 4 : 0 does not pass for significant."""
FEW = 50
"""Profile intervals are the default where somebody was in fewer battles than this ..."""
SMALL = 50
"""... and there are at most so many contestants; elsewhere they are what the curvature gives."""

Interval = Literal["curvature", "sandwich", "profile", "bootstrap"]


@dataclass(frozen=True)
class BradleyTerry(RatingTable):
    """Ratings, best first, and how they were made."""

    ratings: tuple[Rating, ...]
    votes: int
    ties: Ties
    tie_parameter: float | None
    """Davidson's nu or Rao and Kupper's theta, where ties have a model."""
    prior: float
    """Imagined games per contestant; 0: plain maximum likelihood."""
    note: str | None
    """Why there is a prior though none was asked for."""
    interval: Interval
    level: float
    anchor: str | None
    centre: float
    names: tuple[str, ...]
    strength: Array
    """In log-odds, in the order of `names`, their mean 0."""
    covariance: Array
    """Of `strength`."""
    eta: float

    @property
    def settings(self) -> str:
        """How the figures were made, in one sentence."""
        parts = [f"{self.votes} votes; intervals: {self.interval}"]
        if self.tie_parameter is not None:
            parts.append(f"tie parameter {self.tie_parameter:.3f}")
        if self.note:
            parts.append(self.note)
        elif self.prior:
            parts.append(f"prior: {self.prior:g} imagined games each against an average contestant")
        return "; ".join(parts) + "."

    def probability(self, first: str, second: str) -> float:
        """Points `first` can expect from its next battle with `second`, a tie being half a win."""
        gap, _ = self.gap(first, second)
        return TIE_MODELS[self.ties].expected(gap, self.eta)

    def confidence(self, first: str, second: str) -> float:
        """Probability that `first` is the stronger of the two, given the votes (normal approximation)."""
        gap, error = self.gap(first, second)
        return NORMAL.cdf(gap / error) if error > 0 else 0.5

    def votes_needed(self, first: str, second: str) -> int:
        """About how many more votes on this pair would decide it; 0 when it is decided."""
        gap, error = self.gap(first, second)
        return votes_needed(gap, error, level=self.level)

    def gap(self, first: str, second: str) -> tuple[float, float]:
        """How much stronger `first` is than `second`, in log-odds, and the standard error of that."""
        i, j = index_of(self.names, first), index_of(self.names, second)
        c = self.covariance
        variance = max(0.0, float(c[i, i] + c[j, j] - 2 * c[i, j]))
        return float(self.strength[i] - self.strength[j]), variance**0.5

    def rank_ranges(self) -> dict[str, tuple[int, int]]:
        """Contestant -> its best and worst possible rank, right for all of them together at `level`."""
        ranges = rank_ranges(self.strength, self.covariance, self.level)
        return dict(zip(self.names, ranges, strict=True))

    def simultaneous(self) -> tuple[Rating, ...]:
        """The ratings with intervals so wide that all of them hold together at `level`."""
        contrasts = contrasts_to(len(self.names), None)
        reach = joint_quantile(self.covariance, contrasts, self.level)
        error = dict(zip(self.names, SCALE * np.sqrt(np.diag(self.covariance)), strict=True))
        return tuple(
            row.model_copy(
                update={
                    "low": row.value - reach * error[row.contestant],
                    "high": row.value + reach * error[row.contestant],
                }
            )
            for row in self.ratings
        )


def bradley_terry(  # noqa: PLR0913 - every choice of the model by its name, all with a default
    votes: Iterable[Vote] | pd.DataFrame | Table | Counts,
    *,
    ties: Ties = "half",
    prior: float | None = None,
    interval: Interval | Bootstrap | None = None,
    level: float = 0.95,
    anchor: str | None = None,
    centre: float = CENTRE,
) -> BradleyTerry:
    """Rate every contestant.

    Args:
        votes: records, a pandas frame (`model_a`, `model_b`, `winner`), a table, or a running tally.
        ties: half a win for both, or Davidson's (1970) or Rao and Kupper's (1967) model of ties.
        prior: imagined games of each contestant against an average one. Left out: none where the votes
            determine every rating, else `PRIOR`, and `note` says why.
        interval: how the intervals are made. Left out: the profile of the likelihood where votes are few,
            else the curvature of the likelihood, or the sandwich for weighted votes.
        level: of the intervals.
        anchor: contestant whose rating is `centre`, without an interval; left out, the mean of all is.
        centre: that rating.

    Raises:
        RatingError: no votes; votes that leave a rating infinite or without meaning, with `prior=0`; a
            model of ties where everything or nothing tied; an unknown anchor; a fit that did not converge.
        DataError: a row does not fit; the message names it.
    """
    table = None if isinstance(votes, Counts) else tabulate(votes)
    counts = count(votes if table is None else table)
    model = _model(counts, ties)
    chosen, note = select_prior(counts, ties, prior)
    how = Bootstrap() if interval == "bootstrap" else interval or usual_interval(counts)
    likelihood = Likelihood(Games.of(counts), model, chosen)
    theta = solve(likelihood)[0]
    n = len(counts.names)
    covariance, ends = _spread(likelihood, theta, counts, how, table, level)
    low, high = ends(contrasts_to(n, None))
    ranks = ranks_of(low, high)
    strength = values = theta[:n]
    if anchor is not None:
        origin = index_of(counts.names, anchor)
        values = strength - strength[origin]
        low, high = ends(contrasts_to(n, origin))
    eta = float(theta[-1]) if model.has_parameter else 0.0
    return BradleyTerry(
        ratings=leaderboard(
            counts.names,
            centre + SCALE * values,
            (centre + SCALE * np.minimum(low, values), centre + SCALE * np.maximum(high, values)),
            counts.battles,
            ranks,
        ),
        votes=counts.votes,
        ties=ties,
        tie_parameter=model.parameter(eta),
        prior=chosen,
        note=note,
        interval=how if isinstance(how, str) else "bootstrap",
        level=level,
        anchor=anchor,
        centre=centre,
        names=counts.names,
        strength=strength,
        covariance=covariance,
        eta=eta,
    )


def usual_interval(counts: Counts) -> Interval:
    """The intervals that cover what they promise: see docs/ratings.md for the simulation."""
    if counts.weighted:
        return "sandwich"
    few = counts.battles.min() < FEW and len(counts.names) <= SMALL
    return "profile" if few else "curvature"


def _spread(
    likelihood: Likelihood,
    theta: Array,
    counts: Counts,
    how: Interval | Bootstrap,
    table: Table | None,
    level: float,
) -> tuple[Array, Callable[[Array], tuple[Array, Array]]]:
    """The covariance of the strengths, and a function from contrasts of them (k, n) to their intervals."""
    n = likelihood.games.n
    centring = contrasts_to(n, None)
    if isinstance(how, Bootstrap):
        drawn = replicates(likelihood, theta, counts, table, how, PRIOR)[:, :n]
        tails = [(1 - level) / 2, (1 + level) / 2]
        return np.atleast_2d(np.cov(drawn.T)), lambda contrasts: _pair(
            np.quantile(drawn @ contrasts.T, tails, axis=0)
        )
    if how == "sandwich":
        covariance = sandwich_covariance(likelihood, theta, counts)[:n, :n]
    else:
        covariance = curvature_covariance(likelihood, theta)[:n, :n]
    covariance = centring @ covariance @ centring
    if how == "profile":
        penalised = replace(likelihood, prior=max(PROFILE_PRIOR, likelihood.prior))
        top = solve(penalised, theta[None])[0]
        unused = np.zeros((n, penalised.size - n))
        return covariance, lambda contrasts: profile(penalised, top, np.hstack([contrasts, unused]), level)
    return covariance, lambda contrasts: symmetric(theta[:n], covariance, contrasts, level)


def _pair(rows: Array) -> tuple[Array, Array]:
    return rows[0], rows[1]


def _model(counts: Counts, ties: Ties) -> TieModel:
    model = TIE_MODELS[ties]
    if not counts.votes:
        raise RatingError("no votes to rate; collect some in the arena, or let a judge vote")
    if model.has_parameter and not (counts.ties.any() and counts.wins.any()):
        what = "is a tie" if counts.wins.any() else "is decided"
        raise RatingError(f"no vote {what}, so {ties} has no tie parameter to fit; count ties as half wins")
    return model


def select_prior(counts: Counts, ties: Ties, requested: float | None) -> tuple[float, str | None]:
    """The prior to use, and why there is one if none was asked for.

    Raises:
        RatingError: the prior asked for is negative, or 0 where the votes need one.
    """
    if requested is not None and not requested >= 0:
        raise RatingError(f"prior must be 0 or more, got {requested}")
    if requested:
        return requested, None
    reason = identifiability_problem(counts, ties_count=ties == "half")
    if reason is None:
        return 0.0, None
    if requested == 0:
        raise RatingError(f"{reason}: the votes leave a rating infinite; collect more, or allow a prior")
    return PRIOR, f"{reason}, so each contestant is given {PRIOR:g} imagined game against an average one"


def index_of(names: tuple[str, ...], name: str) -> int:
    """Where a contestant is in `names`; raises `RatingError` if it is not."""
    if name not in names:
        raise RatingError(f"no vote is on {name}; contestants: {', '.join(names)}")
    return names.index(name)
