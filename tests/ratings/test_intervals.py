"""Intervals, ranks and chances: that they hold what they say, by simulation and by what is known of them."""

import numpy as np
import pandas as pd
import pytest

from perf.ratings_coverage import coverage
from tests.ratings.logs import simulated
from toolkit.errors import RatingError
from toolkit.ratings import Bootstrap, bradley_terry, mle
from toolkit.ratings.intervals import joint_quantile
from toolkit.ratings.ranking import ranks_of
from toolkit.types import Vote

LOG = simulated(6, 900, seed=2)


def widths(fit):
    return {row.contestant: row.high - row.low for row in fit.ratings}


@pytest.mark.slow
@pytest.mark.parametrize(("contestants", "votes"), [(2, 15), (4, 30), (4, 400), (20, 400), (20, 10_000)])
def test_default_intervals_cover_what_they_promise(contestants, votes):
    """Nominal 95%; over so many intervals the error of the simulation itself is about one point at most."""
    arenas = min(500, 4000 // contestants)
    assert coverage(contestants, votes, arenas).ratings == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize("over", ["examples", "voters"])
def test_votes_that_go_together_widen_the_intervals(over):
    """Each example (or voter) says the same ten times, so there is a tenth of the votes' information."""
    column = "question_id" if over == "examples" else "voter"
    once = simulated(3, 400, seed=5)
    log = pd.concat([once.assign(**{column: [f"g{k}" for k in range(400)]})] * 10)
    alone = widths(bradley_terry(log, interval=Bootstrap(seed=1)))
    together = widths(bradley_terry(log, interval=Bootstrap(over=over, seed=1)))
    for name, width in together.items():
        assert width / alone[name] == pytest.approx(np.sqrt(10), rel=0.15)
    with pytest.raises(
        RatingError, match=f"not every vote says its {over[:-1]}: fill in the column {column}"
    ):
        bradley_terry(once, interval=Bootstrap(over=over))


def test_a_bootstrap_has_a_seed():
    ends = [
        [(row.low, row.high) for row in bradley_terry(LOG, interval=Bootstrap(seed=seed)).ratings]
        for seed in (0, 0, 1)
    ]
    assert ends[0] == ends[1] != ends[2]


def test_simultaneous_intervals_reach_as_far_as_is_known_for_independent_ones():
    """The largest of five independent |z| stays below 2.569 in 95% of draws: (2 Phi(x) - 1)^5 = 0.95."""
    assert joint_quantile(np.eye(5), np.eye(5), 0.95) == pytest.approx(2.569, abs=0.04)
    assert joint_quantile(np.eye(1), np.eye(1), 0.95) == pytest.approx(1.96, abs=0.04)


def test_simultaneous_intervals_are_wider_and_around_the_same_ratings():
    fit = bradley_terry(LOG)
    for one, joint in zip(fit.ratings, fit.simultaneous(), strict=True):
        assert joint.value == one.value
        assert joint.low < one.low < one.high < joint.high


def test_ranks_count_who_is_surely_better():
    low, high = np.array([10.0, 4.0, 0.0, 0.0]), np.array([12.0, 9.0, 5.0, 1.0])
    assert ranks_of(low, high).tolist() == [1, 2, 2, 3]


def test_rank_ranges_hold_the_truth_and_are_wider_where_votes_are_few():
    few, many = (bradley_terry(simulated(5, votes, seed=7)).rank_ranges() for votes in (60, 20_000))
    assert many == {"m4": (1, 1), "m3": (2, 2), "m2": (3, 3), "m1": (4, 4), "m0": (5, 5)}
    for name, (best, worst) in many.items():
        assert few[name][0] <= best <= worst <= few[name][1]
    assert few != many


def test_the_confidence_in_an_order_is_how_often_it_is_right():
    """Over simulated arenas of equals in all but luck: of orders held at 70 to 90%, so many are right."""
    rng = np.random.default_rng(3)
    held, right = [], []
    for _ in range(1500):
        gap = rng.normal(0, 0.5)
        wins = rng.binomial(40, 1 / (1 + np.exp(-gap)))
        if 0 < wins < 40:
            votes = [Vote(model_a="x", model_b="y", outcome="a")] * wins
            votes += [Vote(model_a="x", model_b="y", outcome="b")] * (40 - wins)
            sure = bradley_terry(votes, interval="curvature").confidence("x", "y")
            if 0.7 < max(sure, 1 - sure) < 0.9:
                held.append(max(sure, 1 - sure))
                right.append((gap > 0) == (sure > 0.5))
    assert np.mean(right) == pytest.approx(np.mean(held), abs=0.06)


def test_the_votes_said_to_be_needed_decide():
    """12 : 8, and then the same share in as many votes more as were said: 0 is just outside the interval."""

    def cast(wins, losses):
        outcomes = "a" * wins + "b" * losses
        return [Vote(model_a="x", model_b="y", outcome=outcome) for outcome in outcomes]

    before = bradley_terry(cast(12, 8), interval="curvature")
    needed = before.votes_needed("x", "y")
    assert needed == pytest.approx(1.96**2 / np.log(1.5) ** 2 / 0.24 - 20, abs=1)
    after = [
        bradley_terry(cast(round(0.6 * votes), round(0.4 * votes)), interval="curvature")
        for votes in (20 + needed - 5, 20 + needed + 5)
    ]
    assert after[0].votes_needed("x", "y") > 0 == after[1].votes_needed("x", "y")


def test_a_fit_that_does_not_converge_is_an_error(monkeypatch):
    monkeypatch.setattr(mle, "STEPS", 1)
    with pytest.raises(RatingError, match="the fit did not converge"):
        bradley_terry(LOG)
