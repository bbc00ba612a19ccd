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
from toolkit.run import train

ONE = {"max_steps": 6, "per_device_train_batch_size": 4, "per_device_eval_batch_size": 2, "save_steps": 2}
ONE |= {"learning_rate": 0.01, "gradient_accumulation_steps": 1}


def stages(batch: int) -> list[dict[str, Any]]:
    trainer = ONE | {"per_device_train_batch_size": batch}
    return [
        stage("sft", "sft", "answers", trainer=trainer, heldout_share=0.34),
        stage("dpo", "dpo", "pairs", start="sft", trainer=trainer, heldout_share=0.34),
    ]


def launch(recipe: Recipe, results: Path, *extra: str) -> subprocess.CompletedProcess[str]:
    file = results.with_suffix(".yaml")
    file.write_text(dump(recipe))
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    # `--multi_gpu` starts processes whatever the device; `--cpu` would start one, or ask for MPI
    command += ["--num_machines", "1", "--mixed_precision", "no", "--main_process_port", "0"]
    command += ["--dynamo_backend", "no", "--num_cpu_threads_per_process", "1"]
    command += ["-m", "toolkit.cli", "train", str(file), "--out", str(results), *extra]
    return subprocess.run(
        command, check=False, capture_output=True, text=True, env=os.environ | {"ACCELERATE_USE_CPU": "1"}
    )


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "training.jsonl").read_text().splitlines()]


def test_two_processes_train_what_one_trains(tmp_path: Path, tiny_model: Path):
    one, two = tmp_path / "one", tmp_path / "two"
    train(recipe_of(tmp_path, tiny_model, stages(4)), one)
    recipe = recipe_of(tmp_path, tiny_model, stages(2))
    first = launch(recipe, two, "sft")
    assert first.returncode == 0, first.stderr
    assert "2 processes" in first.stderr
    assert first.stdout.count("sft") == 2, first.stdout  # name and method in one table, of one process
    done = launch(recipe, two)
    assert done.returncode == 0, done.stderr
    assert "train sft: done already" in done.stderr
    for name in ("sft", "dpo"):
        ours, theirs = one / "t" / "adapters" / name, two / "t" / "adapters" / name
        losses = [[row["loss"] for row in rows(folder) if "loss" in row] for folder in (ours, theirs)]
        assert losses[1] == pytest.approx(losses[0], abs=1e-4)
        ends = [[row["eval_loss"] for row in rows(folder) if "eval_loss" in row] for folder in (ours, theirs)]
        assert ends[1] == pytest.approx(ends[0], abs=1e-3)
        weights, others = (load_file(folder / "adapter_model.safetensors") for folder in (ours, theirs))
        for key, weight in weights.items():
            assert (weight - others[key]).abs().max() < 1e-3, key
        assert not list((two / "t" / "adapters").glob(".*"))
    assert not list((two / "t" / "checkpoints").iterdir())
