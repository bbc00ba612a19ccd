"""Models of ties: probabilities, derivatives, and the maximum that a general optimiser finds."""

import numpy as np
import pytest
from scipy.optimize import check_grad, minimize

from tests.ratings.logs import simulated
from toolkit.errors import RatingError
from toolkit.ratings import bradley_terry, count
from toolkit.ratings.mle import TIE_MODELS, Games, Likelihood, dot, log_sigmoid
from toolkit.types import Vote

LOG = simulated(5, 800, seed=1)
MODELED = ["davidson", "rao-kupper"]


def by_formula(kind, d, parameter):
    """P(win), P(loss), P(tie) as in the papers, with pi_i / pi_j = exp(d)."""
    pi, one = np.exp(d), 1.0
    if kind == "davidson":
        total = pi + one + parameter * np.sqrt(pi * one)
        return pi / total, one / total, parameter * np.sqrt(pi * one) / total
    win, loss = pi / (pi + parameter * one), one / (one + parameter * pi)
    return win, loss, 1 - win - loss


@pytest.mark.parametrize("kind", MODELED)
def test_probabilities_are_the_papers(kind):
    d = np.linspace(-3, 3, 7)
    logs = TIE_MODELS[kind].logs(d, np.array(0.4))
    for ours, theirs in zip(logs, by_formula(kind, d, np.exp(0.4)), strict=True):
        assert np.exp(ours) == pytest.approx(theirs)


@pytest.mark.parametrize("kind", MODELED)
def test_an_optimiser_finds_no_better(kind):
    counts = count(LOG)
    i, j = np.triu_indices(5, 1)

    def loss(free):
        s = np.append(free[:4], -free[:4].sum())
        win, loss, tie = by_formula(kind, s[i] - s[j], 1.0 + np.exp(free[4]))
        if kind == "davidson":
            win, loss, tie = by_formula(kind, s[i] - s[j], np.exp(free[4]))
        logs = (
            counts.wins[i, j] * np.log(win),
            counts.wins[j, i] * np.log(loss),
            counts.ties[i, j] * np.log(tie),
        )
        return -sum(part.sum() for part in logs)

    found = minimize(
        loss, np.zeros(5), method="Nelder-Mead", options={"maxiter": 20_000, "fatol": 1e-12, "xatol": 1e-9}
    )
    fit = bradley_terry(LOG, ties=kind)
    assert fit.strength[:4] == pytest.approx(found.x[:4], abs=1e-5)
    expected = np.exp(found.x[4]) + (kind == "rao-kupper")
    assert fit.tie_parameter == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("kind", ["half", *MODELED])
def test_derivatives(kind):
    likelihood = Likelihood(Games.of(count(LOG)), TIE_MODELS[kind], 0.7)
    theta = np.array([0.3, -0.2, 0.5, 0.1, -0.4, 0.6])[: likelihood.size]

    def value(t):
        games, eta = likelihood.games, t[5:]
        fit = dot(games.outcomes, likelihood.model.logs(t[games.first] - t[games.second], eta)).sum()
        return fit + 0.7 * (log_sigmoid(t[:5]) + log_sigmoid(-t[:5])).sum() / 2

    _, curvature = likelihood.derivatives(theta)
    assert check_grad(value, lambda t: likelihood.derivatives(t)[0], theta) < 1e-3
    step = 1e-5 * np.eye(likelihood.size)
    slopes = [
        (likelihood.derivatives(theta - h)[0] - likelihood.derivatives(theta + h)[0]) / 2e-5 for h in step
    ]
    assert curvature == pytest.approx(np.array(slopes), rel=1e-5, abs=1e-4)


@pytest.mark.parametrize("kind", MODELED)
def test_clustered_intervals_are_those_of_independent_votes_where_each_is_a_cluster(kind):
    plain = bradley_terry(LOG, ties=kind)
    labelled = bradley_terry(LOG.assign(question_id=[f"q{k}" for k in range(len(LOG))]), ties=kind)
    for row, expected in zip(labelled.ratings, plain.ratings, strict=True):
        assert row.value == expected.value
        assert row.high - row.low == pytest.approx(expected.high - expected.low, rel=1e-3)


@pytest.mark.parametrize("kind", MODELED)
@pytest.mark.parametrize(
    ("outcomes", "message"), [("ab", "no vote is a tie"), (["tie", "tie"], "no vote is decided")]
)
def test_without_ties_or_with_nothing_else_there_is_nothing_to_fit(kind, outcomes, message):
    with pytest.raises(RatingError, match=message):
        bradley_terry([Vote(model_a="x", model_b="y", outcome=outcome) for outcome in outcomes], ties=kind)


@pytest.mark.parametrize("kind", MODELED)
def test_wins_and_ties_without_a_loss_need_a_prior(kind):
    """The tie parameter could explain ever more of them: the maximum is at infinity."""
    cast = [Vote(model_a="x", model_b="y", outcome=outcome) for outcome in ["a", "a", "tie", "tie"]]
    fit = bradley_terry(cast, ties=kind)
    assert fit.note.startswith("x never lost")
    assert bradley_terry(cast).note is None
    with pytest.raises(RatingError, match="x never lost"):
        bradley_terry(cast, ties=kind, prior=0)


@pytest.mark.parametrize("kind", ["half", *MODELED])
def test_expected_points_are_what_happens(kind):
    fit = bradley_terry(LOG, ties=kind)
    assert fit.probability("m0", "m4") + fit.probability("m4", "m0") == pytest.approx(1)
    met = LOG[
        (LOG["model_a"] == "m4") & (LOG["model_b"] == "m0")
        | (LOG["model_a"] == "m0") & (LOG["model_b"] == "m4")
    ]
    winner = np.where(
        met["winner"] == "tie", "tie", np.where(met["winner"] == "model_a", met["model_a"], met["model_b"])
    )
    seen = (winner == "m4").mean() + (winner == "tie").mean() / 2
    assert fit.probability("m4", "m0") == pytest.approx(seen, abs=0.1)
