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
    assert elo(cast, k=32, shuffles=0).ratings[0].value == pytest.approx(history.values[-1, 0], abs=1e-3)


def test_points_are_only_moved_and_the_spread_holds_the_value():
    cast = [Vote(model_a="x", model_b="y", outcome=o) for o in ["a", "a", "b", "tie", "a", "b"] * 5]
    result = elo(cast)
    assert sum(row.value for row in result.ratings) == pytest.approx(2000, abs=0.02)
    assert all(row.low <= row.high for row in result.ratings)


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
    ours = {row.contestant: row.value for row in elo(frame, k=4, shuffles=0).ratings}
    assert golden
    assert ours == pytest.approx(golden, abs=0.01)
