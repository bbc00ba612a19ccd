"""Result files of older and other tools."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from toolkit.benchmarks.results import name_in, scores_of
from toolkit.errors import DataError


def test_results_of_older_lm_eval_and_of_lighteval_are_read(tmp_path: Path):
    old = tmp_path / "old.json"
    old.write_text(
        json.dumps({"results": {"arc_easy": {"acc": 0.5, "acc_stderr": 0.01}}, "versions": {"arc_easy": 0}})
    )
    (score,) = scores_of(old, "m")
    assert (score.metric, score.value) == ("arc_easy/acc", 0.5)
    light = tmp_path / "light.json"
    figures = {"acc": 0.25, "acc_stderr": 0.02}
    results = {"leaderboard|arc:challenge|25": figures, "all": figures}
    light.write_text(json.dumps({"config_general": {"model_name": "m"}, "results": results}))
    (score,) = scores_of(light, "m")
    assert (score.metric, score.value) == ("arc:challenge/acc", 0.25)


@pytest.mark.parametrize("results", [{}, {"t": {"alias": "t"}}, {"t": 3}])
def test_a_result_without_a_figure_is_refused(tmp_path: Path, results: object):
    file = tmp_path / "r.json"
    file.write_text(json.dumps({"results": results}))
    with pytest.raises(DataError, match="no figure in its `results`"):
        scores_of(file, "m")


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("mine", "mine"),
        ("org/name-1.5", "org/name-1.5"),
        ("/data/final", "x"),
        ("./a", "x"),
        ("a/b/c", "x"),
        (3, "x"),
    ],
)
def test_a_hub_id_is_a_name_and_a_path_is_none(model: object, name: str, tmp_path: Path):
    file = tmp_path / "x.json"
    file.write_text(json.dumps({"model_name": model, "results": {}}))
    assert name_in(file) == name


ACC = {"t": {"acc,none": 0.4, "acc_stderr,none": 0.1}}


@pytest.mark.parametrize(
    ("more", "name", "n"),
    [
        ({"config": {"model_args": "pretrained=org/m1,dtype=float16"}}, "org/m1", 0),
        (
            {"config": {"model_args": {"pretrained": "org/m1"}}, "n-samples": {"t": {"effective": 10}}},
            "org/m1",
            10,
        ),
        (
            {"config": {"model_args": "pretrained=org/m1,peft=me/adapter"}, "n-samples": {"t": 10}},
            "me/adapter",
            10,
        ),
        ({"config_general": {"model_config": {"model_name": "org/m2"}}, "config_tasks": None}, "org/m2", 0),
        ({"config": "x", "n-samples": [], "group_subtasks": {"t": ["t"]}}, "x", 0),
        ({"n-samples": {"t": {"effective": -5}}}, "x", 0),
    ],
)
def test_layouts_of_result_files(more: dict[str, object], name: str, n: int, tmp_path: Path):
    file = tmp_path / "x.json"
    file.write_text(json.dumps({"results": ACC} | more))
    (score,) = scores_of(file, "m")
    assert (name_in(file), score.n, score.value) == (name, n, 0.4)


def test_lighteval_counts_and_names_and_percents(tmp_path: Path):
    file = tmp_path / "x.json"
    results = {
        "gsm8k|5": {"em": 0.4, "em_stderr": 0.1},
        "leaderboard|arc|25|0": {"acc": 40.0, "acc_stderr": 1.0},
    }
    counts = {"leaderboard|arc": {"effective_num_docs": 50}}
    file.write_text(json.dumps({"results": results, "config_tasks": counts}))
    first, second = scores_of(file, "m")
    assert (first.metric, second.metric, second.n) == ("gsm8k/em", "arc/acc", 50)
    assert (second.low, second.high) == pytest.approx((38.04, 41.96), abs=0.01)


def test_a_figure_beyond_all_bounds_is_none(tmp_path: Path):
    file = tmp_path / "x.json"
    file.write_text(json.dumps({"results": {"t": {"acc,none": 10**400}}}))
    with pytest.raises(DataError, match="no figure"):
        scores_of(file, "m")
