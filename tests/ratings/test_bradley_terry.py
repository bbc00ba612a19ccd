"""Bradley-Terry on a worked example, on votes that leave a rating open, and on rows that do not fit."""

import numpy as np
import pandas as pd
import pytest

from toolkit.errors import DataError, RatingError
from toolkit.ratings import bradley_terry, count
from toolkit.types import Vote


def vote(a, b, outcome="a"):
    return Vote(model_a=a, model_b=b, outcome=outcome)


WIKIPEDIA = {"AB": 2, "BA": 3, "AD": 1, "DA": 4, "BC": 5, "CB": 3, "CD": 1, "DC": 3}
"""The 22 games of en.wikipedia.org/wiki/Bradley-Terry_model, a cycle on which naive iterations fail."""


def test_worked_example():
    games = [vote(*pair) for pair, times in WIKIPEDIA.items() for _ in range(times)]
    fit = bradley_terry(games)
    assert fit.prior == 0
    odds = {name: round(float(np.exp(s)), 2) for name, s in zip(fit.names, fit.strength, strict=True)}
    assert odds == {"A": 0.64, "B": 1.04, "C": 0.66, "D": 2.27}


def test_an_unbeaten_contestant_is_finite_unsure_and_said_to_rest_on_a_prior():
    fit = bradley_terry([vote("sft", "base")] * 5)
    best, worst = fit.ratings
    assert (best.contestant, fit.prior) == ("sft", 1.0)
    assert fit.note.startswith("sft never lost")
    assert best.high - best.low > 400
    assert (best.rank, worst.rank) == (1, 1)
    with pytest.raises(RatingError, match=r"sft never lost: .* allow a prior"):
        bradley_terry([vote("sft", "base")] * 5, prior=0)


def test_four_wins_in_four_decide_nothing_and_seven_in_seven_do():
    assert [row.rank for row in bradley_terry([vote("sft", "base")] * 4).ratings] == [1, 1]
    assert [row.rank for row in bradley_terry([vote("sft", "base")] * 7).ratings] == [1, 2]


def test_groups_that_never_met_are_named():
    apart = [vote("a", "b"), vote("b", "a"), vote("x", "y"), vote("y", "x"), vote("x", "y")]
    assert "a, b and x, y never met" in bradley_terry(apart).note
    with pytest.raises(RatingError, match="a, b and x, y never met"):
        bradley_terry(apart, prior=0)


def test_votes_needed_shrink_and_probability_is_a_probability():
    even = [vote("x", "y"), vote("y", "x")]
    few, many = (
        bradley_terry(even * 5 + [vote("x", "y")] * 3),
        bradley_terry(even * 100 + [vote("x", "y")] * 90),
    )
    assert few.votes_needed("x", "y") > many.votes_needed("x", "y") == 0
    assert few.probability("x", "y") + few.probability("y", "x") == pytest.approx(1)
    assert 0.5 < few.confidence("x", "y") < many.confidence("x", "y") <= 1


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("x", "y", "model_a"), ("x", "y", "left")], "row 2.*left"),
        ([("x", "x", "model_a")], "row 1: x is on both sides"),
        ([("x", 3, "model_a")], "row 1: model_b is 3"),
        ([("", "y", "model_a"), ("x", "y", "nobody")], "row 1: model_a is ''"),
        ([("x", None, "model_a")], "row 1: model_b is None"),
    ],
)
def test_bad_rows_are_named(rows, message):
    with pytest.raises(DataError, match=message):
        count(pd.DataFrame(rows, columns=["model_a", "model_b", "winner"]))


def test_no_votes_is_an_error_with_the_mend():
    with pytest.raises(RatingError, match="arena"):
        bradley_terry([])
