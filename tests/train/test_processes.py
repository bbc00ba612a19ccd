"""Two processes that train one stage together give what one process gives, and one of them writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.train.test_methods import recipe_of, stage
from toolkit.recipe import Recipe, dump
from toolkit.recipe import load as load_recipe
from toolkit.run import train
from toolkit.run.launch import main

ONE = {"max_steps": 6, "per_device_train_batch_size": 4, "per_device_eval_batch_size": 2, "save_steps": 2}
ONE |= {"learning_rate": 0.01, "gradient_accumulation_steps": 1}


SHARED = {
    "fsdp_version": 2,
    "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
    "fsdp_cpu_ram_efficient_loading": False,
}


def stages(batch: int) -> list[dict[str, Any]]:
    trainer = ONE | {"per_device_train_batch_size": batch}
    return [
        stage("sft", "sft", "answers", trainer=trainer, heldout_share=0.34),
        stage("s", "dpo", "pairs", start="sft", trainer=trainer, heldout_share=0.34),
    ]


def launch(
    recipe: Recipe, results: Path, sharded: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    file, settings = results.with_suffix(".yaml"), results.with_suffix(".accelerate.yaml")
    file.write_text(dump(recipe))
    config: dict[str, Any] = {"compute_environment": "LOCAL_MACHINE", "num_machines": 1, "num_processes": 2}
    # MULTI_GPU starts processes whatever the device; MULTI_CPU would start one, or ask for MPI
    config |= {"distributed_type": "FSDP" if sharded else "MULTI_GPU", "mixed_precision": "no"}
    if sharded:
        config["fsdp_config"] = SHARED | {"fsdp_state_dict_type": sharded}
        environment["ACCELERATE_TORCH_DEVICE"] = "cpu"
    settings.write_text(json.dumps(config))
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(settings)]
    command += ["--main_process_port", "0", "--num_cpu_threads_per_process", "1"]
    command += ["-m", "tests.train.launched", "train", str(file), "--out", str(results)]
    environment = os.environ | {"ACCELERATE_USE_CPU": "1"} | environment
    return subprocess.run(command, check=False, capture_output=True, text=True, env=environment)


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "training.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize(
    "sharded",
    ["", "SHARDED_STATE_DICT"],
    ids=lambda kind: kind or "copies",
)
def test_two_processes_train_what_one_trains(sharded: str, tmp_path: Path, tiny_model: Path):
    """Each with a copy of the model, or with a share of it (FSDP); the latter killed in between."""
    one, two = tmp_path / "one", tmp_path / "two"
    train(recipe_of(tmp_path, tiny_model, stages(4)), one)
    recipe = recipe_of(tmp_path, tiny_model, stages(2))
    if sharded:
        assert launch(recipe, two, sharded, DIE_AT="5").returncode != 0
        assert not (two / "t" / "checkpoints" / "s" / "checkpoint-4" / "optimizer.pt").exists()
    done = launch(recipe, two, sharded)
    assert done.returncode == 0, done.stderr
    assert "2 processes" in done.stderr
    assert done.stdout.count("sft") == 2, done.stdout  # name and method in one table, of one process
    if sharded:
        assert "train sft: done already" in done.stderr
        assert "continuing from checkpoint-4" in done.stderr
    for name in ("sft", "s"):
        ours, theirs = one / "t" / "adapters" / name, two / "t" / "adapters" / name
        losses = [[row["loss"] for row in rows(folder) if "loss" in row] for folder in (ours, theirs)]
        assert losses[1] == pytest.approx(losses[0], abs=1e-4)
        ends = [[row["eval_loss"] for row in rows(folder) if "eval_loss" in row] for folder in (ours, theirs)]
        assert ends[1] == pytest.approx(ends[0], abs=1e-3)
        weights, others = (load_file(folder / "adapter_model.safetensors") for folder in (ours, theirs))
        assert weights.keys() == others.keys()
        for key, weight in weights.items():
            apart = (weight - others[key]).abs()
            assert apart.mean() < 1e-5, key
            # of a gradient that is all rounding Adam makes a step
            assert apart.max() < ONE["learning_rate"], key
        assert not list((two / "t" / "adapters").glob(".*"))
    assert not list((two / "t" / "checkpoints").iterdir())


@pytest.mark.slow
def test_a_run_starts_its_processes_itself(tmp_path: Path, tiny_model: Path):
    """As many as the recipe says, with what one process gives; an error is handed on."""
    trainer = ONE | {"per_device_train_batch_size": 2, "max_steps": 2}
    recipe = recipe_of(tmp_path, tiny_model, [stage("s", "sft", "answers", trainer=trainer)])
    two = recipe.model_copy(update={"processes": 2})
    (result,) = train(two, tmp_path / "two")
    whole = {"trainer": trainer | {"per_device_train_batch_size": 4}}
    (one,) = train(
        recipe.model_copy(update={"stages": (recipe.stages[0].model_copy(update=whole),)}), tmp_path / "one"
    )
    assert result.train_loss == pytest.approx(one.train_loss, abs=1e-4)
    assert load_recipe(tmp_path / "two" / "t" / "recipe.yaml").processes == 2
    broken = two.stages[0].model_copy(update={"trainer": trainer | {"learning_rate": 1e30, "max_steps": 3}})
    run, error = tmp_path / "bad", tmp_path / "error.json"
    run.mkdir()
    (run / "recipe.yaml").write_text(dump(two.model_copy(update={"stages": (broken,)})))
    assert main(run, "s", error) == 1
    assert json.loads(error.read_text())["kind"] == "TrainingError"
