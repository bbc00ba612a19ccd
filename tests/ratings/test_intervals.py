"""Intervals and decisions: that they hold what they say, by simulation and by what is known of them."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from perf.coverage import World, measure_ratings
from tests.ratings.logs import simulated
from toolkit import statistics
from toolkit.errors import RatingError
from toolkit.ratings import Table, bradley_terry, decide_anytime, tabulate
from toolkit.ratings.decisions import _draw_t
from toolkit.ratings.intervals import Spread, degrees_of_freedom
from toolkit.types import Vote

LOG = simulated(6, 900, seed=2)


def cast(wins, losses, ties=0):
    outcomes = ["a"] * wins + ["b"] * losses + ["tie"] * ties
    return [Vote(model_a="x", model_b="y", outcome=outcome) for outcome in outcomes]


@pytest.mark.slow
@pytest.mark.parametrize(
    "world",
    [
        World(8, 60, rho=0.8),
        World(12, 30, rho=0.8, equal=True),
        World(12, 30, rho=0.9, lucky=2, equal=True),
        World(2, 60, ties=0.7),
        World(4, 60, rho=0.2, voters=10, taste=0.3, equal=True),
        World(12, 60, rho=0.8, uneven=True, equal=True),
        World(4, 60, rho=0.2, voters=40, taste=0.3, uneven=True, equal=True),
    ],
)
def test_intervals_cover_and_equal_contestants_are_rarely_distinguished(world):
    found = measure_ratings(world, 150)
    assert found.ratings >= 0.92  # 93%, less the error of so small a simulation
    assert found.gaps >= 0.92
    assert found.width <= 1.25
    assert found.false_claims <= 0.05 + 2 * 0.018


def width(fit):
    return {row.contestant: row.high - row.low for row in fit.ratings}


@pytest.mark.parametrize("column", ["question_id", "voter"])
def test_votes_that_go_together_widen_the_intervals(column):
    """Each example (or voter) says the same ten times, so there is a tenth of the votes' information."""
    once = simulated(3, 400, seed=5)
    log = pd.concat([once.assign(**{column: [f"g{k}" for k in range(400)]})] * 10)
    alone, together = width(bradley_terry(log.drop(columns=column))), bradley_terry(log)
    assert together.interval == ("examples" if column == "question_id" else "votes and voters")
    for name, wide in width(together).items():
        assert wide / alone[name] == pytest.approx(np.sqrt(10), rel=0.05)


def test_few_clusters_with_most_votes_count_for_the_degrees_of_freedom():
    """100 examples or voters, of which ten have nine of ten votes."""
    assert degrees_of_freedom(np.repeat(np.arange(100), 7), np.ones(700)) == pytest.approx(99)
    log = simulated(3, 1000, seed=6)
    few = [f"g{k % 10}" if k < 900 else f"g{k % 90 + 10}" for k in range(1000)]
    freedom = 1 / (10 * 0.09**2) - 1
    for labels, over in (({"question_id": few}, "examples"), ({"voter": few}, "votes and voters")):
        fit = bradley_terry(log.assign(**labels))
        assert fit.interval == over
        assert fit.spread.freedom == pytest.approx(freedom, abs=0.2)
    one = ["ann"] * 900 + [f"g{k}" for k in range(100)]
    assert "for these 101 voters" in bradley_terry(log.assign(voter=one)).settings, (
        "most votes are one voter's"
    )


def test_fewer_than_ten_voters_are_named_as_what_the_intervals_are_for():
    fit = bradley_terry(LOG.assign(voter=[f"v{k % 9}" for k in range(len(LOG))]))
    assert "over votes, for these 9 voters" in fit.settings
    more = bradley_terry(LOG.assign(voter=[f"v{k % 10}" for k in range(len(LOG))]))
    assert "over votes and voters" in more.settings


def test_ties_are_half_points_that_vary_less_than_coin_flips():
    """The textbook error of a mean of points, on the scale of the gap: se / (p q)."""
    points = np.repeat([1.0, 0.0, 0.5], [60, 30, 210])
    fit = bradley_terry(cast(60, 30, 210))
    p = points.mean()
    expected = points.std(ddof=1) / np.sqrt(300) / (p * (1 - p))
    assert fit.gap("x", "y")[1] == pytest.approx(expected, rel=0.01)


def test_a_judges_probabilities_are_points():
    rng = np.random.default_rng(1)
    p = np.clip(rng.normal(0.51, 0.01, 80), 0, 1)
    votes = [
        Vote(model_a="x", model_b="y", outcome="a", probability_a=value, example_id=f"e{k}")
        for k, value in enumerate(p)
    ]
    fit = bradley_terry(votes)
    assert fit.strength[0] - fit.strength[1] == pytest.approx(np.log(p.mean() / (1 - p.mean())))
    error = p.std(ddof=1) / np.sqrt(80) / (p.mean() * (1 - p.mean()))
    assert fit.gap("x", "y")[1] == pytest.approx(error, rel=0.1)


def gaps_of(n):
    i, j = np.triu_indices(n, 1)
    return np.eye(n)[i] - np.eye(n)[j]


def test_variances_that_are_alike_are_known_from_all_pairs_and_unlike_ones_are_not():
    pairs, floor = gaps_of(12), np.eye(12) / 2  # an independent gap has a variance of 1
    rng = np.random.default_rng(0)
    for truth, alike in ((np.full(12, 4.0), True), (np.geomspace(1, 400, 12), False)):
        draws = rng.normal(0, np.sqrt(truth / 2), (30, 12))
        spread = Spread(np.cov(draws.T), (floor,), 29.0, "examples")
        errors, freedom = spread.moderated(pairs)
        true = np.sqrt(pairs**2 @ truth / 2)
        own, pooled = (np.abs(np.log(each / true)).mean() for each in (spread.errors(pairs), errors))
        assert freedom > 60 if alike else freedom < 40
        assert pooled < (0.7 if alike else 1.2) * own


def test_the_prior_of_variances_is_that_of_smyth_2004():
    """Variances of independent pairs from a scaled inverse chi-square with 8 degrees of freedom and 3."""
    rng = np.random.default_rng(1)
    n, freedom = 1000, 20
    variance = 3 * 8 / rng.chisquare(8, n) * rng.chisquare(freedom, n) / freedom
    spread = Spread(np.diag(variance), (np.eye(n),), freedom, "examples")
    errors, found = spread.moderated(np.eye(n))
    assert found - freedom == pytest.approx(8, rel=0.2)
    expected = (8 * 3 + freedom * variance) / (8 + freedom)
    assert errors**2 == pytest.approx(np.maximum(expected, 1), rel=0.05)


def test_where_there_is_nothing_to_compare_with_each_variance_stands_alone():
    covariance = np.diag([1.0, 2.0, 3.0])
    for floor in (covariance, np.zeros((3, 3))):  # online Elo; people and judge together
        spread = Spread(covariance, (floor,), 9.0, "examples")
        assert np.array_equal(spread.moderated(gaps_of(3))[0], spread.errors(gaps_of(3)))
        assert spread.moderated(gaps_of(3))[1] == 9


@pytest.mark.parametrize("seed", range(6))
def test_no_pair_is_decided_whose_own_interval_holds_zero(seed):
    rng = np.random.default_rng(seed)
    fit = bradley_terry(World(6, 20, rho=0.8).draw(rng)[0])
    i, j = np.nonzero(fit.decisions.above)
    low, _ = fit.spread.interval(fit.strength, np.eye(6)[i] - np.eye(6)[j])
    assert len(i)
    assert (low > -0.02).all()  # the score test and Wald's interval differ a little


def test_simultaneous_reach_is_as_is_known_for_independent_ones():
    """The largest of five independent |z| stays below 2.569 in 95% of draws: (2 Phi(x) - 1)^5 = 0.95."""
    assert np.quantile(_draw_t(np.eye(5), 1e9).max(axis=0), 0.95) == pytest.approx(2.569, abs=0.04)
    assert np.quantile(_draw_t(np.eye(1), 9), 0.95) == pytest.approx(stats.t.ppf(0.975, 9), abs=0.09)


def test_rank_ranges_hold_the_truth_and_are_wider_where_votes_are_few():
    few, many = (bradley_terry(simulated(5, votes, seed=7)).decisions.rank_ranges() for votes in (60, 20_000))
    assert many == {"m4": (1, 1), "m3": (2, 2), "m2": (3, 3), "m1": (4, 4), "m0": (5, 5)}
    for name, (best, worst) in many.items():
        assert few[name][0] <= best <= worst <= few[name][1]
    assert few != many


@pytest.mark.parametrize("votes", [60, 300, 3000])
def test_rank_pairs_and_votes_needed_follow_one_decision(votes):
    fit = bradley_terry(simulated(5, votes, seed=3))
    rank = {row.contestant: row.rank for row in fit.ratings}
    for one in fit.names:
        assert rank[one] == 1 + sum(fit.decisions.better(other, one) for other in fit.names)
        for other in set(fit.names) - {one}:
            decided = fit.decisions.decided(one, other)
            sure = max(fit.confidence(one, other), fit.confidence(other, one))
            assert decided == (fit.votes_needed(one, other) == 0) == (sure > 0.975)


def test_the_confidence_in_an_order_is_how_often_it_is_right():
    """Over simulated arenas of equals in all but luck: of orders held at 70 to 90%, so many are right."""
    rng = np.random.default_rng(3)
    held, right = [], []
    for _ in range(600):
        gap = rng.normal(0, 0.5)
        wins = rng.binomial(40, 1 / (1 + np.exp(-gap)))
        if 0 < wins < 40:
            sure = bradley_terry(cast(wins, 40 - wins)).confidence("x", "y")
            if 0.7 < max(sure, 1 - sure) < 0.9:
                held.append(max(sure, 1 - sure))
                right.append((gap > 0) == (sure > 0.5))
    assert np.mean(right) == pytest.approx(np.mean(held), abs=0.1)


@pytest.mark.parametrize(("win", "tie"), [(0.6, 0.0), (0.25, 0.7)])
def test_the_votes_needed_decide_in_four_of_five_cases(win, tie):
    pilot = bradley_terry(cast(round(20 * win), round(20 * (1 - win - tie)), round(20 * tie)))
    needed, least, _ = pilot.votes_needed_range("x", "y")
    assert least < needed
    rng, decided = np.random.default_rng(0), 0
    for _ in range(200):
        outcomes = np.repeat([0, 1, 2], rng.multinomial(20 + needed, [win, 1 - win - tie, tie]))
        first = np.zeros(len(outcomes), dtype=int)
        table = Table(("x", "y"), first, first + 1, outcomes, None, {})
        decided += bradley_terry(table).decisions.better("x", "y")
    assert 0.72 <= decided / 200 <= 0.92


def arena(outcomes, examples=None):
    rows = [
        {
            "model_a": "x",
            "model_b": "y",
            "winner": w,
            "question_id": f"q{k if examples is None else examples[k]}",
        }
        for k, w in enumerate(outcomes)
    ]
    return tabulate(pd.DataFrame(rows))


def test_an_open_arenas_decision_is_never_undone_by_more_votes():
    rng = np.random.default_rng(0)
    winners = np.where(rng.random(400) < 0.75, "model_a", "model_b")
    decided = [decide_anytime(arena(winners[:n])).better("x", "y") for n in (20, 60, 120, 200)]
    assert decided == sorted(decided)
    assert decided[-1]
    then_even = [*winners[:200], *["model_b"] * 400]
    assert decide_anytime(arena(then_even)).better("x", "y")


def test_an_open_arena_counts_one_step_an_example_and_the_claims_that_were_named():
    twenty = arena(["model_a"] * 20)
    assert decide_anytime(twenty).better("x", "y")
    assert not decide_anytime(arena(["model_a"] * 20, examples=[0] * 20)).better("x", "y")
    others = [("x", f"z{k}") for k in range(4000)]
    assert not decide_anytime(twenty, [("y", "x"), *others]).better("x", "y")
    unnamed = decide_anytime(twenty, others[:1])
    assert not unnamed.is_tested("x", "y")
    assert not unnamed.better("x", "y")


def test_looking_after_every_vote_misleads_in_one_of_twenty_arenas_at_most():
    rng, wrong = np.random.default_rng(5), 0
    for _ in range(150):
        wrong += decide_anytime(arena(rng.choice(["model_a", "model_b"], 500))).above.any()
    assert wrong / 150 <= 0.05 + 2 * 0.018


def test_a_fit_that_does_not_converge_is_an_error(monkeypatch):
    monkeypatch.setattr(statistics, "STEPS", 1)
    with pytest.raises(RatingError, match="the fit did not converge"):
        bradley_terry(LOG)


def test_no_number_of_votes_is_named_where_those_there_would_do_by_their_error():
    """Probabilities near a half have small errors, on examples too few to decide by."""
    rows = [("x", "y", 0.51, "e1"), ("x", "y", 0.52, "e2"), ("x", "y", 0.505, "e3")]
    votes = pd.DataFrame(rows, columns=["model_a", "model_b", "probability_a", "question_id"])
    fit = bradley_terry(votes.assign(winner="model_a"))
    assert not fit.decisions.decided("x", "y")
    assert fit.votes_needed_text("x", "y") == "unknown"
    assert fit.votes_needed("x", "y") >= 1
