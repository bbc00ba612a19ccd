"""A new metric, training method, judge method and data format: a class or function, and one entry each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from tests.judge.example_battles import RuleJudge
from toolkit import recipe as recipes
from toolkit.cli import main
from toolkit.data.formats import Preference
from toolkit.metric_info import METRICS, MetricInfo, MetricSpec
from toolkit.metrics.text import Table, TextMetric
from toolkit.registry import (
    DATA_FORMATS,
    JUDGE_METHODS,
    TRAINING_METHODS,
    DataFormat,
    JudgeMethod,
    TrainingMethod,
)
from toolkit.run import run
from toolkit.train import preference
from toolkit.types import digest

HERE = "tests.run.test_registries"
trained: list[str] = []


class Endings(TextMetric):
    """Share of answers that end with a full stop."""

    def rows(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Table:
        return {"full_stops": ("mean", [(float(text.endswith(".")),) for text in predictions])}


def simpo_trainer(base: Any, stage: Any, train: Any, *more: Any) -> Any:
    trained.append(stage.method)
    return preference.dpo_trainer(base, stage, train, *more)


def ranked_row(row: Mapping[str, Any], row_id: str) -> Preference:
    prompt = recipes.Contestant(prompt=[{"role": "user", "content": row["question"]}]).prompt
    return Preference(id=row_id, prompt=prompt, chosen=row["ranked"][0], rejected=row["ranked"][-1])


def longer_judge(judge: Any, name: str, *_: Any) -> RuleJudge:
    made = RuleJudge(
        lambda one, other: "a" if len(one) > len(other) else "b", name=f"{Path(name).name}@000000"
    )
    made.prompt_key = digest(judge.method)
    return made


def no_weights(*_: Any) -> str:
    return "000000"


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    figures = {"full_stops": MetricInfo("Ends with a full stop", better=-1, digits=2)}
    method = TrainingMethod(f"{HERE}:simpo_trainer", "trl:DPOConfig", ("preference",), {"beta": 0.3})
    judge = JudgeMethod(f"{HERE}:longer_judge", None, probabilities=False, fingerprint=f"{HERE}:no_weights")
    monkeypatch.setitem(METRICS, "endings", MetricSpec(f"{HERE}:Endings", figures, needs_reference=False))
    monkeypatch.setitem(TRAINING_METHODS, "own-dpo", method)
    monkeypatch.setitem(JUDGE_METHODS, "longer", judge)
    columns = frozenset({"question", "ranked"})
    monkeypatch.setitem(DATA_FORMATS, "ranked", DataFormat(columns, row=f"{HERE}:ranked_row"))


@pytest.mark.slow
@pytest.mark.usefixtures("registered")
def test_one_entry_each_is_all_that_a_run_needs(small_recipe: Path, tmp_path: Path):
    raw = yaml.safe_load(small_recipe.read_text())
    pairs = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text().splitlines()]
    rows = [
        {"question": f"{row['prompt'][0]['content']}?", "ranked": [f"Product {i}.", "no"]}
        for i, row in enumerate(pairs)
    ]
    (tmp_path / "ranked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    raw["data"] |= {"ranked": {"source": "ranked.jsonl"}}
    raw["stages"] = [
        raw["stages"][1] | {"start": "base", "heldout_share": 0, "data": "ranked", "method": "own-dpo"}
    ]
    raw["scoring"]["metrics"] = ["endings"]
    raw["judge"] = {"method": "longer"}
    small_recipe.write_text(yaml.safe_dump(raw))
    checked = CliRunner().invoke(main, ["check", str(small_recipe), "--json"])
    assert not [found for found in json.loads(checked.stdout)["findings"] if found["severity"] == "error"]
    summary = run(recipes.load(small_recipe), tmp_path / "results")
    assert set(trained) == {"own-dpo"}
    assert [stage.method for stage in summary.stages] == ["own-dpo"]
    assert {score.metric for score in summary.scores} == {"full_stops"}
    votes = (tmp_path / "results/small/votes.jsonl").read_text().splitlines()
    assert {json.loads(vote)["voter"].rpartition("@")[2] for vote in votes} == {"000000"}
    report = (tmp_path / "results/small/report.md").read_text()
    assert "Ends with a full stop" in report
    assert "less is better" in report
    schema = json.dumps(recipes.Recipe.model_json_schema())
    assert all(f'"{name}"' in schema for name in ("endings", "own-dpo", "longer", "ranked"))


def test_an_unregistered_name_is_refused_with_the_known_ones(small_recipe: Path):
    raw = yaml.safe_load(small_recipe.read_text())
    raw["stages"][0]["method"], raw["data"]["sft"]["format"] = "own-dpo", "ranked"
    with pytest.raises(recipes.loader.RecipeError) as refused:
        recipes.parse(raw, small_recipe)
    assert "stages.0.method: should be 'text', 'sft'" in str(refused.value).replace("Input s", "s")
    assert "data.sft.format" in str(refused.value)
