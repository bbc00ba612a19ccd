"""Result files of older and other tools."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from toolkit.benchmarks import scores_of
from toolkit.benchmarks.results import name_in
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
