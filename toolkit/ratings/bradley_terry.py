"""Bradley-Terry ratings from pairwise votes, by maximum likelihood.

Contestant i beats contestant j with probability 1 / (1 + exp(s_j - s_i)) (Bradley and Terry 1952). Ratings
are 1000 + 400 / ln(10) * s, as LMArena's. Ties are half a win for both, or have a model of their own.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from toolkit.errors import RatingError
from toolkit.ratings.decisions import (
    CENTRE,
    Decisions,
    RatingTable,
    decide_anytime,
    decide_fixed,
    index_of,
    leaderboard,
    votes_needed,
)
from toolkit.ratings.intervals import Spread, compute_spread, contrasts_to
from toolkit.ratings.mle import TIE_MODELS, Games, Likelihood, TieModel, Ties, solve
from toolkit.ratings.vote_table import Array, Counts, Votes, count, identifiability_problem, tabulate
from toolkit.statistics import LEVEL
from toolkit.types import Pair

PRIOR = 1.0
"""Imagined games against an average contestant, half of them won, where the votes alone do not do."""


@dataclass(frozen=True)
class BradleyTerry(RatingTable):
    """Ratings, best first, and how they were made."""

    ties: Ties
    tie_parameter: float | None
    """Davidson's nu or Rao and Kupper's theta, where ties have a model."""
    prior: float
    """Imagined games per contestant; 0: plain maximum likelihood."""
    note: str | None
    """Why there is a prior though none was requested."""
    interval: str
    """What the intervals are over: `votes`, `examples`, or `examples and voters`."""
    anchor: str | None
    centre: float
    names: tuple[str, ...]
    strength: Array
    """In log-odds, in the order of `names`, their mean 0."""
    spread: Spread
    """Covariance of `strength`."""
    decisions: Decisions
    """Who is better than whom, right for all pairs together."""
    eta: float
    dispersion: float
    """Variance of the points of a vote, over that of a vote without ties."""
    voters: int | None
    """How many cast the votes, where that is known."""

    @property
    def settings(self) -> str:
        """How the figures were made, in one sentence."""
        parts = [f"{self.votes} votes; intervals: {LEVEL:.0%}, over {self.interval}"]
        if self.voters and "voters" not in self.interval:
            voters = "this voter" if self.voters == 1 else f"these {self.voters} voters"
            parts[0] += f", for {voters}"
        if self.tie_parameter is not None:
            parts.append(f"tie parameter {self.tie_parameter:.3f}")
        if self.note:
            parts.append(self.note)
        elif self.prior:
            parts.append(f"prior: {self.prior:g} imagined games each against an average contestant")
        return f"{'; '.join([*parts, self.decisions.meaning])}."

    def for_open_arena(self, votes: Votes, claims: Collection[Pair] | None = None) -> Self:
        """The same ratings, with ranks and decisions that hold however often the votes are looked at.

        `votes` are those that were rated, in the order of their time; `claims` as of `decide_anytime`.
        """
        decisions = decide_anytime(tabulate(votes), claims)
        return replace(self.ranked_by(decisions), decisions=decisions)

    def probability(self, first: str, second: str) -> float:
        """Points `first` can expect from its next battle with `second`, a tie being half a win.

        Averaged over what the gap may be, so that few votes promise less (MacKay 1992's approximation).
        """
        gap, error = self.gap(first, second)
        shrunk = gap / (1 + np.pi * error**2 / 8) ** 0.5
        return TIE_MODELS[self.ties].expected(shrunk, self.eta)

    def confidence(self, first: str, second: str) -> float:
        """How sure `first` is the stronger: above 0.975 where it is decided, all pairs together."""
        i, j = (index_of(self.names, name) for name in (first, second))
        half = float(self.decisions.p_values[i, j]) / 2
        return 1 - half if self.strength[i] >= self.strength[j] else half

    def votes_needed(self, first: str, second: str) -> int:
        """About how many more votes on this pair would decide it with 80% power; 0 when it is decided."""
        return self.votes_needed_range(first, second)[0]

    def votes_needed_range(
        self, first: str, second: str, *, peeking: bool = True
    ) -> tuple[int, int, int | None]:
        """The votes needed, and those if the gap is a standard error larger or smaller.

        The last is `None` where nothing can be planned: that gap is none, or by the gap's error the votes
        would do, but the rule, which knows how few examples they are on, does not decide. Without `peeking`:
        if votes were counted once, at the end.
        """
        if self.decisions.decided(first, second):
            return 0, 0, 0
        gap, error = self.gap(first, second)
        rule = self.decisions if peeking else replace(self.decisions, basis="fixed-sample")
        found = []
        for size in (abs(gap), abs(gap) + error, abs(gap) - error):
            p = 1 / (1 + np.exp(-size))
            found.append(votes_needed(size, error, p * (1 - p) / self.dispersion, rule.reach))
        least_one = [max(1, number) for number in found]
        return least_one[0], least_one[1], least_one[2] if abs(gap) > error and found[0] > 0 else None

    def votes_needed_text(self, first: str, second: str) -> str:
        """`decided`, or the votes needed and their range, e.g. `120 (40 to 900)`.

        `unknown` where no number would be of use: see `votes_needed_range`.
        """
        if not self.decisions.is_tested(first, second):
            return "no claim"
        needed, least, most = self.votes_needed_range(first, second)
        if not needed:
            return "decided"
        return "unknown" if most is None else f"{needed:,} ({least:,} to {most:,})"

    def gap(self, first: str, second: str) -> tuple[float, float]:
        """How much stronger `first` is than `second`, in log-odds, and the standard error of that."""
        i, j = (index_of(self.names, name) for name in (first, second))
        contrast = np.eye(len(self.names))[[i]] - np.eye(len(self.names))[[j]]
        return float(self.strength[i] - self.strength[j]), float(self.spread.errors(contrast)[0])


def bradley_terry(
    votes: Votes | Counts,
    *,
    ties: Ties = "half",
    prior: float | None = None,
    anchor: str | None = None,
    centre: float = CENTRE,
) -> BradleyTerry:
    """Rate every contestant; intervals are over examples, and over voters where there are at least ten.

    Args:
        votes: records, a pandas frame (`model_a`, `model_b`, `winner`), a table, or a tally, whose
            votes count as independent.
        ties: half a win for both, or Davidson's (1970) or Rao and Kupper's (1967) model of ties.
        prior: imagined games of each contestant against an average one. Left out: none where the votes
            determine every rating, else `PRIOR`, and `note` says why.
        anchor: contestant whose rating is `centre`, without an interval; left out, the mean of all is.
        centre: that rating.

    Raises:
        RatingError: no votes; votes that leave a rating infinite or without meaning, with `prior=0`; a
            model of ties where everything or nothing tied; an unknown anchor; a fit that did not converge.
        DataError: a row does not fit; the message names it.
    """
    table = None if isinstance(votes, Counts) else tabulate(votes)
    if table is not None and ties != "half":
        table = replace(table, probability=None)
    counts = count(votes if table is None else table)
    model = _model(counts, ties)
    chosen, note = select_prior(counts, ties, prior)
    likelihood = Likelihood(Games.of(counts), model, chosen)
    theta, n = solve(likelihood), len(counts.names)
    spread, dispersion = compute_spread(likelihood, theta, counts, table)
    strength, spread = theta[:n], spread.select(n)
    step = 0.0 if n > 2 or counts.graded else (0.25 if counts.blunted else 0.5)  # noqa: PLR2004
    lattice = step / (counts.votes * dispersion) ** 0.5
    decisions = decide_fixed(counts.names, strength, spread, lattice=lattice)
    contrasts = contrasts_to(n, None if anchor is None else index_of(counts.names, anchor))
    eta = float(theta[-1]) if model.has_parameter else 0.0
    labels = None if table is None else table.labels.get("voter")
    return BradleyTerry(
        ratings=leaderboard(decisions, strength, spread, contrasts, counts.battles, centre),
        votes=counts.votes,
        ties=ties,
        tie_parameter=model.parameter(eta),
        prior=chosen,
        note=note,
        interval=spread.over,
        anchor=anchor,
        centre=centre,
        names=counts.names,
        strength=strength,
        spread=spread,
        decisions=decisions,
        eta=eta,
        dispersion=dispersion,
        voters=None if labels is None else len(np.unique(labels.codes[labels.codes >= 0])),
    )


def _model(counts: Counts, ties: Ties) -> TieModel:
    model = TIE_MODELS[ties]
    if not counts.votes:
        raise RatingError("no votes to rate; collect some in the arena, or let a judge vote")
    if model.has_parameter and not (counts.ties.any() and counts.wins.any()):
        what = "is a tie" if counts.wins.any() else "is decided"
        raise RatingError(f"no vote {what}, so {ties} has no tie parameter to fit; count ties as half wins")
    return model


def select_prior(counts: Counts, ties: Ties, requested: float | None) -> tuple[float, str | None]:
    """The prior to use, and why there is one if none was requested; `RatingError`: 0 where one is needed."""
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
