"""Elo by hand, and against evalica's golden file."""

import csv

import pandas as pd
import pytest

from toolkit.ratings import elo, elo_history
from toolkit.types import Vote


def test_by_hand():
    cast = [Vote(model_a="x", model_b="y", outcome="a"), Vote(model_a="x", model_b="y", outcome="tie")]
    history = elo_history(cast, k=32)
    expected = 1 / (1 + 10 ** (-32 / 400))
    assert history.names == ("x", "y")
    assert history.values[0].tolist() == [1016.0, 984.0]
    assert history.values[1, 0] == pytest.approx(1016 + 32 * (0.5 - expected))
    assert elo(cast, k=32, order="file").ratings[0].value == pytest.approx(history.values[-1, 0], abs=1e-3)


@pytest.mark.parametrize("order", ["average", "file"])
def test_value_interval_and_rank_are_of_one_figure(order):
    cast = [Vote(model_a="x", model_b="y", outcome=o) for o in ["a", "a", "a", "tie", "a", "b"] * 40]
    cast += [Vote(model_a="x", model_b="y", outcome="b")] * 12
    result = elo(cast, order=order)
    assert sum(row.value for row in result.ratings) == pytest.approx(2000, abs=0.02)
    assert all(row.low < row.value < row.high for row in result.ratings)
    ranks = {row.contestant: row.rank for row in result.ratings}
    assert ranks == dict(zip(result.decisions.names, result.decisions.ranks(), strict=True))
    assert ranks["x"] == (1 if order == "average" else ranks["x"])
    assert result.ratings[0].contestant == ("x" if order == "average" else result.ratings[0].contestant)


@pytest.mark.parametrize("order", ["average", "file"])
@pytest.mark.parametrize("outcomes", ["aa", "aaaaa", ["tie"] * 9, "a" * 30])
def test_votes_that_are_alike_leave_an_interval_and_few_decide_nothing(order, outcomes):
    result = elo([Vote(model_a="x", model_b="y", outcome=o) for o in outcomes], order=order)
    assert all(row.high - row.low > 10 for row in result.ratings)
    assert result.decisions.above.any() == (len(outcomes) == 30)


def test_the_average_over_orders_has_not_the_spread_of_one_order():
    cast = [Vote(model_a="x", model_b="y", outcome=o) for o in "aabab" * 60]
    average, file = elo(cast), elo(cast, order="file")
    assert average.ratings[0].high - average.ratings[0].low < 0.9 * (
        file.ratings[0].high - file.ratings[0].low
    )


def test_agrees_with_evalicas_golden_scores(shared_data):
    folder = shared_data / "battles_food"
    winners = {"left": "model_a", "right": "model_b", "tie": "tie"}
    frame = pd.read_csv(folder / "food.csv")
    frame = frame.rename(columns={frame.columns[0]: "model_a", frame.columns[1]: "model_b"})
    frame["winner"] = frame["winner"].map(winners)
    with (folder / "food-golden.csv").open() as file:
        golden = {
            row["item"]: float(row["score"]) for row in csv.DictReader(file) if row["algorithm"] == "elo"
        }
    ours = {row.contestant: row.value for row in elo(frame, k=4, order="file").ratings}
    assert golden
    assert ours == pytest.approx(golden, abs=0.01)
