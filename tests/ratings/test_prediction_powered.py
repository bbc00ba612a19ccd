"""People and judge in one figure, and how firm first place is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from perf.coverage import measure_real, real_battles
from toolkit.ratings import Table, bradley_terry, first_place, prediction_powered, tabulate
from toolkit.ratings.vote_table import Labels

NAMES = ("a", "b", "c")


def world(
    rng: np.random.Generator, quality: float, *, examples: int = 400, labelled: int = 120, bias: float = 0.0
) -> tuple[Table, Table]:
    """People's votes on some examples, the judge's on all; a is the best, c the worst."""
    first, second = (np.tile(side, examples) for side in np.triu_indices(3, 1))
    example = np.repeat(np.arange(examples), 3)
    strength = np.array([0.8, 0.3, 0.0])
    won = rng.random(len(first)) < 1 / (1 + np.exp(strength[second] - strength[first]))
    coin = rng.random(len(first)) < 0.5 + bias
    seen = np.where(rng.random(len(first)) < quality, won, coin).astype(float)
    labels = {"example": Labels(example, tuple(map(str, range(examples))))}
    people = Table(NAMES, first, second, np.where(won, 0, 1), None, labels)
    judge = Table(NAMES, first, second, np.where(seen > 0.5, 0, 1), None, labels, seen)
    chosen = rng.choice(examples, labelled, replace=False)
    return people.take(np.flatnonzero(np.isin(example, chosen))), judge


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("quality", "bias", "width"),
    [(0.0, 0.4, (0.97, 1.001)), (0.6, -0.4, (0.8, 0.97)), (0.95, 0.0, (0.5, 0.72))],
)
def test_gaps_are_covered_whatever_the_judge_is_worth(
    quality: float, bias: float, width: tuple[float, float]
):
    rng, held, widths = np.random.default_rng(0), [], []
    for _ in range(60):
        people, judge = world(rng, quality, bias=bias)
        found = prediction_powered(people, judge)
        assert found is not None
        low, high = found.spread.interval(found.strength, np.array([[1.0, -1.0, 0.0], [1.0, 0.0, -1.0]]))
        held += [*((low <= (0.5, 0.8)) & (high >= (0.5, 0.8)))]
        rates = {(each.first, each.second): each for each in found.win_rates}
        held.append(rates["a", "b"].low <= 1 / (1 + np.exp(-0.5)) <= rates["a", "b"].high)
        widths.append(found.narrower)
    assert np.mean(held) > 0.92
    assert width[0] < np.mean(widths) < width[1]


def test_no_figure_below_a_hundred_labels_and_none_wider_than_peoples():
    rng = np.random.default_rng(1)
    people, judge = world(rng, 0.9, labelled=99)
    assert prediction_powered(people, judge) is None
    assert prediction_powered(people, judge, fewest=99) is not None
    people, judge = world(rng, 0.0, bias=0.5)
    found, alone = prediction_powered(people, judge), bradley_terry(people)
    assert found is not None
    for mine, theirs in zip(sorted(found.ratings, key=str), sorted(alone.ratings, key=str), strict=True):
        assert mine.high - mine.low <= 1.05 * (theirs.high - theirs.low)


def test_a_judge_that_saw_only_what_people_saw_adds_nothing():
    people, judge = world(np.random.default_rng(2), 0.9)
    same = judge.take(np.flatnonzero(np.isin(judge.labels["example"].codes, people.labels["example"].codes)))
    found = prediction_powered(people, same)
    assert found is not None
    assert found.strength == pytest.approx(bradley_terry(people).strength, abs=1e-6)


def test_sides_and_order_of_the_judges_votes_do_not_matter():
    people, judge = world(np.random.default_rng(3), 0.8)
    turned = Table(
        NAMES,
        judge.second,
        judge.first,
        np.where(judge.outcome == 0, 1, 0),
        None,
        judge.labels,
        1 - judge.points,
    )
    one, other = (
        prediction_powered(people, judge),
        prediction_powered(people, turned.take(np.arange(len(judge))[::-1])),
    )
    assert one is not None
    assert other is not None
    assert one.strength == pytest.approx(other.strength, abs=1e-9)


def test_real_votes_with_four_fifths_hidden_are_covered(shared_data: Path):
    """PandaLM's pairs: three people each, and a judge on all; the truth is the fit to all people's votes."""
    _, people, judge, cluster = list(real_battles(shared_data))[3]
    alone, both, width, power, _ = measure_real(people, judge, cluster, 0.2, 25).split(" | ")
    assert float(both.rstrip("%")) > 90
    assert float(alone.rstrip("%")) > 90
    assert float(width) < 0.97
    assert float(power) > 0


def log(wins: dict[tuple[str, str, str], int]) -> pd.DataFrame:
    """(winner, loser, voter) -> how often."""
    rows = [
        {"model_a": a, "model_b": b, "winner": "model_a", "voter": voter, "question_id": f"{a}{b}{voter}{i}"}
        for (a, b, voter), count in wins.items()
        for i in range(count)
    ]
    return pd.DataFrame(rows)


def test_first_place_hangs_on_as_few_votes_as_it_does():
    votes = log({("x", "y", "ann"): 12, ("x", "y", "ben"): 8, ("y", "x", "cid"): 14})
    found = first_place(votes)
    assert found is not None
    assert (found.first, found.rival, found.dropped, found.votes) == ("x", "y", 7, 34)
    assert found.voter == "ann"
    assert "without 7 of 34 votes, or without the voter ann" in found.sentence
    left = tabulate(votes).take(np.arange(6, 34))
    assert bradley_terry(left).ratings[0].value == bradley_terry(left).ratings[1].value  # 14 : 14


def test_a_first_place_that_no_half_of_the_votes_changes():
    found = first_place(log({("x", "y", "ann"): 40, ("y", "x", "ann"): 1}))
    assert found is not None
    assert (found.dropped, found.voter) == (None, None)
    assert "No removal of up to half of the 41 votes" in found.sentence
    assert first_place(log({("x", "y", "ann"): 9})) is None
