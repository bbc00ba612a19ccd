"""`select`: the checkpoint whose answers on an evaluation split are best is what a stage publishes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.train.test_methods import WORDS, recipe_of, stage
from tests.train.test_resume import command, killing, later
from toolkit.errors import RecipeError
from toolkit.recipe import Recipe, dump, load, parse
from toolkit.report.charts import drawings
from toolkit.train import train_stage
from toolkit.train.selection import CheckpointSelection

STEPS = {"max_steps": 8, "per_device_train_batch_size": 4, "learning_rate": 0.01}
VALUES = {0: 0.1, 2: 0.2, 4: 0.9, 6: 0.9, 8: 0.4}


def selecting(folder: Path, model: Path, stages: list[dict[str, Any]], **scoring: Any) -> Recipe:
    plain = recipe_of(folder, model, [*stages[:-1], stages[-1] | {"select": None}])
    for name, words in (("dev", WORDS[:4]), ("test", WORDS[4:8])):
        rows = [{"prompt": f"the {word}", "completion": f"a {word}"} for word in words]
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    raw = plain.model_dump(mode="json") | {"stages": stages}
    raw["data"] |= {name: {"source": f"{name}.jsonl"} for name in ("dev", "test")}
    generation = {"max_new_tokens": 6}
    raw["scoring"] = {"examples": "test", "validation": "dev", "generation": generation, "primary": "chrf"}
    raw["scoring"] |= {"metrics": ["chrf"]} | scoring
    return parse(raw, folder / "r.yaml")


def scripted(monkeypatch: pytest.MonkeyPatch, values: dict[int, float] = VALUES) -> None:
    monkeypatch.setattr(CheckpointSelection, "_measure", lambda self, step: values[step])


def logged(run: Path, name: str = "s") -> list[dict[str, Any]]:
    return [
        json.loads(line) for line in (run / "adapters" / name / "training.jsonl").read_text().splitlines()
    ]


METHODS: dict[str, list[dict[str, Any]]] = {
    "sft": [stage("s", "sft", "answers", trainer=STEPS)],
    "full": [stage("s", "sft", "answers", trainer=STEPS | {"learning_rate": 0.001}, adapter="none")],
    "dpo": [
        stage("sft", "sft", "answers", trainer=STEPS),
        stage("s", "dpo", "pairs", start="sft", trainer=STEPS, adapter={"r": 4}),
    ],
    "continued": [
        stage("sft", "sft", "answers", trainer=STEPS),
        stage("s", "kto", "rated", start="sft", trainer=STEPS, heldout_share=0),
    ],
    "prompt": [
        stage("s", "sft", "answers", trainer=STEPS, adapter={"type": "prompt", "num_virtual_tokens": 4})
    ],
    "grpo": [
        stage("good", "reward", "pairs", trainer=STEPS),
        stage("s", "grpo", "answers", rewards={"good": 1.0}, trainer=STEPS | {
            "num_generations": 4, "max_completion_length": 6, "num_generations_eval": 2}),
    ],
}  # fmt: skip


QUICK = ("sft", "dpo")


@pytest.mark.matrix
@pytest.mark.parametrize("kind", [kind if kind in QUICK else later(kind) for kind in METHODS])
def test_the_best_checkpoint_is_published(kind, tiny_model, tmp_path, monkeypatch):
    stages = METHODS[kind]
    last = stages[-1] | {"select": {"every": 2}}
    recipe = selecting(tmp_path, tiny_model, [*stages[:-1], last])
    measured: dict[int, float] = {}
    measure = CheckpointSelection._measure

    def first_is_best(self: CheckpointSelection, step: int) -> float:
        measured[step] = measure(self, step)
        return -float(step)

    monkeypatch.setattr(CheckpointSelection, "_measure", first_is_best)
    run = tmp_path / "run"
    for part in recipe.stages:
        result = train_stage(recipe, part, run)
    assert result.selected_step == 2
    assert list(measured) == [0, 2, 4, 6, 8]
    # its weights are those of a training that ends there, with the same schedule
    short = tmp_path / "short"
    for part in recipe.stages[:-1]:
        train_stage(recipe, part, short)
    stopped = recipe.stages[-1].model_copy(update={"select": None})
    monkeypatch.setattr("toolkit.train.callbacks.InterruptCallback.on_step_end", _stop_at(2))
    train_stage(recipe, stopped, short)
    name = "model.safetensors" if kind == "full" else "adapter_model.safetensors"
    chosen, expected = (load_file(each / "adapters" / "s" / name) for each in (run, short))
    assert chosen.keys() == expected.keys()
    assert all(torch.allclose(chosen[key], expected[key], atol=1e-6) for key in expected)


def _stop_at(step: int) -> Any:
    def on_step_end(self: Any, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_training_stop = state.global_step == step

    return on_step_end


def killing_with_values(step: int) -> None:
    CheckpointSelection._measure = lambda self, at: VALUES[at]  # type: ignore[method-assign]
    killing(step)


@pytest.mark.parametrize("step", [5, pytest.param(7, marks=pytest.mark.slow)])
def test_a_killed_selection_goes_on_to_the_same_choice(step, tiny_model, tmp_path, monkeypatch):
    one = stage("s", "sft", "answers", trainer=STEPS, adapter={"r": 4, "dropout": 0.1}, select={"every": 2})
    recipe = selecting(tmp_path, tiny_model, [one])
    scripted(monkeypatch)
    whole = tmp_path / "whole"
    assert train_stage(recipe, recipe.stages[0], whole).selected_step == 6, "the later of two alike"
    results = tmp_path / "cut"
    assert command(recipe, results, killing_with_values, step)[0] == -9
    moved = results.rename(tmp_path / "moved")  # the state names its best checkpoint by path
    run = moved / "t"
    again = load(run / "recipe.yaml")
    assert train_stage(again, again.stages[0], run).selected_step == 6
    first, second = (
        load_file(each / "adapters" / "s" / "adapter_model.safetensors") for each in (whole, run)
    )
    assert all(torch.equal(first[key], second[key]) for key in first)
    curve = {row["step"]: row["validation/chrf"] for row in logged(run) if "validation/chrf" in row}
    assert curve == VALUES
    last = logged(run)[-1]
    assert (last["step"], last["selected_step"]) == (8, 6)
    assert "eval_loss" in last, "held-out figures are of what is published"
    (loss, chosen), _ = drawings(logged(run))
    assert chosen[0] == "chrF on the evaluation split, step 6 published"
    assert "from 0.1 at 0 to 0.4 at 8" in chosen[2]
    assert loss[0] == "Loss"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"select": "best"}, "should be `primary`, or options"),
        ({"select": {"every": 0}}, "greater than or equal to 1"),
        ({"select": {"evry": 2}}, "did you mean `every`"),
        ({"select": "primary", "method": "reward", "data": "pairs"}, "a reward model writes no answers"),
        ({"select": "primary", "trainer": {"load_best_model_at_end": True}}, "leave out trainer.load_best"),
        ({"select": "primary", "trainer": {"save_strategy": "best"}}, "leave out trainer.save_strategy"),
    ],
)
def test_what_a_selection_cannot_be(change, message, tiny_model, tmp_path):
    with pytest.raises(RecipeError, match=message):
        selecting(tmp_path, tiny_model, [stage("s", "sft", "answers") | change])


@pytest.mark.parametrize(
    ("validation", "message"),
    [(None, "name a data set"), ("test", "is the test set"), ("dve", "did you mean")],
)
def test_a_selection_needs_an_evaluation_split(validation, message, tiny_model, tmp_path):
    one = stage("s", "sft", "answers", select="primary")
    with pytest.raises(RecipeError, match=message):
        selecting(tmp_path, tiny_model, [one], validation=validation)


def test_a_recipe_without_a_selection_is_written_as_before(tiny_model, tmp_path):
    recipe = recipe_of(tmp_path, tiny_model, [stage("s", "sft", "answers")])
    assert "select:" not in dump(recipe)
