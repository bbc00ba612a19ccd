"""Training that was cut short goes on as if it had not been: killed, interrupted, on a full disk ..."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests import forked
from tests.train.test_methods import recipe_of, stage
from toolkit.recipe import Recipe, dump
from toolkit.run import train
from toolkit.train.callbacks import TrainingLog

STEPS = {"max_steps": 8, "per_device_train_batch_size": 4, "learning_rate": 0.01, "save_steps": 2}
ONLINE = STEPS | {"num_generations": 4, "max_completion_length": 6, "num_generations_eval": 2}
DROPOUT = {"r": 4, "dropout": 0.1}  # draws random numbers in every step

STAGES: dict[str, list[dict[str, Any]]] = {
    "sft": [stage("s", "sft", "answers", trainer=STEPS, adapter=DROPOUT)],
    "full": [stage("s", "sft", "answers", trainer=STEPS | {"learning_rate": 0.001}, adapter="none")],
    "dpo": [
        stage("sft", "sft", "answers", trainer=STEPS),
        stage("s", "dpo", "pairs", start="sft", trainer=STEPS, adapter=DROPOUT),
    ],
    "orpo": [stage("s", "orpo", "pairs", trainer=STEPS, adapter=DROPOUT)],
    "reward": [stage("s", "reward", "pairs", trainer=STEPS, adapter=DROPOUT)],
    "grpo": [
        stage("good", "reward", "pairs", trainer=STEPS),
        stage("s", "grpo", "answers", rewards={"good": 1.0}, trainer=ONLINE),
    ],
}


QUICK = ("sft", "dpo")


def later(value: Any) -> Any:
    return pytest.param(value, marks=pytest.mark.slow)


def killing(step: int) -> None:
    """This process dies at the end of a step of stage `s`, as by kill -9."""

    def on_step_end(self: Any, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == step and Path(args.output_dir).name == "s":
            os.kill(os.getpid(), signal.SIGKILL)

    TrainingLog.on_step_end = on_step_end


def interrupting(step: int) -> None:
    """Ctrl-C in the middle of a step of stage `s`."""

    def on_step_begin(self: Any, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == step and Path(args.output_dir).name == "s":
            os.kill(os.getpid(), signal.SIGINT)

    TrainingLog.on_step_begin = on_step_begin


def command(
    recipe: Recipe, results: Path, prepare: Callable[[int], None] = forked.nothing, value: int = 0
) -> tuple[int, str]:
    """`adapter-arena train` in a process that something happens to: its exit code, and what it told."""
    file, folder = results.with_suffix(".yaml"), results.with_suffix(".told")
    file.write_text(dump(recipe))
    folder.mkdir(exist_ok=True)
    code, _, output = forked.command(["train", str(file), "--out", str(results)], folder, prepare, value)
    return code, output


def rows(results: Path, name: str = "s") -> list[dict[str, Any]]:
    file = results / "t" / "adapters" / name / "training.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()]


def losses(results: Path) -> list[tuple[int, float]]:
    return [(row["step"], row["loss"]) for row in rows(results) if "loss" in row]


def weights(results: Path) -> dict[str, torch.Tensor]:
    folder = results / "t" / "adapters" / "s"
    (file,) = folder.glob("*.safetensors")
    return load_file(file)


def same(one: Path, other: Path, steps: int = 8, close: float = 1e-6) -> None:
    assert [step for step, _ in losses(one)] == list(range(1, steps + 1))
    assert losses(other) == [(step, pytest.approx(loss, abs=close)) for step, loss in losses(one)]
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    for name, weight in ours.items():
        assert torch.allclose(weight, theirs[name], atol=close), name
    ends = [[row for row in rows(place) if "eval_loss" in row][-1] for place in (one, other)]
    assert ends[0]["eval_loss"] == pytest.approx(ends[1]["eval_loss"], abs=close)


def last_line(output: str) -> str:
    assert "Traceback" not in output
    return output.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def whole_sft(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """The run that nothing happened to."""
    folder = tmp_path_factory.mktemp("whole")
    train(recipe_of(folder, tiny_model, STAGES["sft"]), folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("method", [name if name in QUICK else later(name) for name in STAGES])
def test_killed_training_continues_as_if_it_had_not_been(method: str, tmp_path: Path, tiny_model: Path):
    recipe = recipe_of(tmp_path, tiny_model, STAGES[method])
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train(recipe, whole)
    if method in ("dpo", "rloo", "grpo"):  # what the stage stands on is as it was
        shutil.copytree(whole / "t" / "adapters", broken / "t" / "adapters")
        shutil.rmtree(broken / "t" / "adapters" / "s")
        (broken / "t" / "manifest.json").write_text((whole / "t" / "manifest.json").read_text())
    code, output = command(recipe, broken, killing, 5)
    assert code == -signal.SIGKILL, output
    assert not (broken / "t" / "adapters" / "s").exists()
    assert (broken / "t" / "checkpoints" / "s" / "checkpoint-4").is_dir()
    train(recipe, broken)
    same(whole, broken)
    assert not (broken / "t" / "checkpoints" / "s").exists()


@pytest.mark.slow
def test_an_interrupt_keeps_the_step_it_came_in(whole_sft: Path, tmp_path: Path, tiny_model: Path):
    recipe = recipe_of(tmp_path, tiny_model, STAGES["sft"])
    broken = tmp_path / "broken"
    code, output = command(recipe, broken, interrupting, 4)
    assert code == 130
    assert last_line(output) == "interrupted; the same command continues where it stopped"
    assert (broken / "t" / "checkpoints" / "s" / "checkpoint-5").is_dir()
    train(recipe, broken)
    same(whole_sft, broken)


@pytest.mark.slow
def test_a_truncated_newest_checkpoint_is_passed_over(whole_sft: Path, tmp_path: Path, tiny_model: Path):
    recipe = recipe_of(tmp_path, tiny_model, STAGES["sft"])
    broken = tmp_path / "broken"
    for number, name in enumerate(["adapter_model.safetensors", "optimizer.pt", "rng_state.pth"]):
        command(recipe, broken, killing, 7)
        torn = broken / "t" / "checkpoints" / "s" / "checkpoint-6" / name
        torn.write_bytes(torn.read_bytes()[:-100])
        if number == 2:
            train(recipe, broken)
    same(whole_sft, broken)


@pytest.mark.slow
def test_a_file_that_cannot_be_written_is_reported_and_training_continues(
    whole_sft: Path, tmp_path: Path, tiny_model: Path
):
    recipe = recipe_of(tmp_path, tiny_model, STAGES["sft"])
    broken = tmp_path / "broken"
    for size in (10_000, 60_000):  # too little for the adapter; for the optimizer
        code, output = command(recipe, broken, forked.small_files, size)
        assert code == 1
        assert "make room, then run again" in last_line(output)
    train(recipe, broken)
    same(whole_sft, broken)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk takes root")
@pytest.mark.parametrize("kilobytes", [48, later(200), 400])
def test_a_full_disk_is_reported_in_one_line_and_training_continues(
    kilobytes: int, whole_sft: Path, tmp_path: Path, tiny_model: Path
):
    recipe = recipe_of(tmp_path, tiny_model, STAGES["sft"])
    broken = tmp_path / "broken"
    broken.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(broken)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        code, output = command(recipe, broken)
        assert code == 1, output
        assert "make room, then run again" in last_line(output)
        subprocess.run(["mount", "-o", "remount,size=100m", str(broken)], check=True)
        train(recipe, broken)
        same(whole_sft, broken)
    finally:
        subprocess.run(["umount", str(broken)], check=True)


def test_a_loss_that_is_no_number_stops_before_it_is_kept(tmp_path: Path, tiny_model: Path):
    steep = STEPS | {"learning_rate": 1e30, "max_grad_norm": 0, "warmup_steps": 0}
    recipe = recipe_of(tmp_path, tiny_model, [stage("s", "sft", "answers", trainer=steep)])
    broken = tmp_path / "broken"
    code, output = command(recipe, broken)
    assert code == 1
    assert "lower the learning rate" in last_line(output)
    for checkpoint in (broken / "t" / "checkpoints" / "s").glob("checkpoint-*"):
        kept = load_file(checkpoint / "adapter_model.safetensors").values()
        assert all(weight.isfinite().all() for weight in kept)
    calm = recipe_of(tmp_path, tiny_model, STAGES["sft"])
    train(calm, broken)
    assert len(losses(broken)) == 8
