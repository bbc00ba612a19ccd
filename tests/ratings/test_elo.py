"""Elo by hand, and against evalica's golden file."""

import csv

import pandas as pd
import pytest

from toolkit.errors import DataError
from toolkit.ratings import elo, elo_history, read_votes
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


def test_vote_files_read_alike(tmp_path):
    frame = pd.DataFrame(
        {"model_a": ["x", "y"], "model_b": ["y", "x"], "winner": ["model_a", "tie (bothbad)"]}
    )
    frame.to_csv(tmp_path / "v.csv", index=False)
    frame.to_json(tmp_path / "v.jsonl", orient="records", lines=True)
    frame.to_parquet(tmp_path / "v.parquet")
    for name in ("v.csv", "v.jsonl", "v.parquet"):
        assert read_votes(tmp_path / name).to_dict() == frame.to_dict()


def test_broken_files_are_named(tmp_path):
    (tmp_path / "v.csv").write_text("model_a,winner\nx,model_a\n")
    with pytest.raises(DataError, match=r"v\.csv: no column model_b"):
        read_votes(tmp_path / "v.csv")
    with pytest.raises(DataError, match="no such vote file"):
        read_votes(tmp_path / "gone.csv")
