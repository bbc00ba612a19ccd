"""Scores and ratings reach MLflow and TensorBoard, offline."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolkit import io
from toolkit.recipe import Recipe, load
from toolkit.run.summary import flatten_figures, log_figures
from toolkit.types import Summary

EXAMPLE = Path(__file__).parents[2] / "results" / "demo-example"


@pytest.fixture
def summary() -> Summary:
    return Summary.model_validate(io.read_json(EXAMPLE / "summary.json", finite=False))


def reporting(*trackers: str) -> Recipe:
    recipe = load(EXAMPLE / "recipe.yaml")
    first = recipe.stages[0].model_copy(
        update={"trainer": dict(recipe.stages[0].trainer) | {"report_to": list(trackers)}}
    )
    return recipe.model_copy(update={"stages": (first, *recipe.stages[1:])})


def test_every_score_and_rating_is_a_figure(summary: Summary):
    figures = flatten_figures(summary)
    score = summary.scores[0]
    assert figures[f"scores/{score.metric}/{score.contestant}"] == score.value
    rating = summary.ratings.judge[0]
    assert figures[f"ratings/judge/{rating.contestant}"] == rating.value


def test_mlflow_and_tensorboard_take_them(summary: Summary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    mlflow = pytest.importorskip("mlflow")
    io.write_json(tmp_path / "summary.json", summary)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a folder, in place of a database and its packages
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    monkeypatch.chdir(tmp_path)
    log_figures(reporting("mlflow", "tensorboard"), summary, tmp_path)
    (found,) = mlflow.search_runs(output_format="list")
    assert found.data.metrics == pytest.approx(flatten_figures(summary))
    events = next((tmp_path / "tensorboard" / "scores").glob("events.out.tfevents*"))
    assert f"scores/{summary.scores[0].metric}".encode() in events.read_bytes()


def test_a_tracker_that_fails_is_a_warning(
    summary: Summary, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "tensorboard").write_text("a file where the folder should be")
    log_figures(reporting("tensorboard"), summary, tmp_path)
    assert "tensorboard: scores were not sent" in caplog.text
    log_figures(reporting("none"), summary, tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()
