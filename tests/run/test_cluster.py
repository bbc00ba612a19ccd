"""A run on a Ray cluster leaves what a local run leaves, also when workers are killed under it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.run.test_run import COMMAND, essence, finish
from toolkit.errors import InputError
from toolkit.recipe import ModelOptions
from toolkit.run import cluster

WORKER = "ray::"
"""What Ray's worker processes are called while they do a task, with the task's name behind it."""


def machine(**resources: float) -> dict[str, object]:
    return {"Alive": True, "Resources": resources}


def test_a_gpu_for_each_model_where_there_are_gpus_else_a_machine():
    auto, cpu = ModelOptions(), ModelOptions(device="cpu")
    with_gpus = [machine(CPU=16, GPU=4), machine(CPU=8, GPU=1), machine(CPU=32)]
    assert cluster.needs(with_gpus, auto) == ({"num_cpus": 1, "num_gpus": 1}, 5)
    assert cluster.needs(with_gpus, cpu) == ({"num_cpus": 8}, 7)
    assert cluster.needs([machine(CPU=2), machine(CPU=2), machine(memory=1)], auto) == ({"num_cpus": 2}, 2)
    gone = machine(CPU=2) | {"Alive": False}
    assert cluster.needs([machine(CPU=4), gone], auto) == ({"num_cpus": 4}, 1)


def test_an_address_without_a_cluster_is_one_clear_line(small_recipe: Path, tmp_path: Path):
    pytest.importorskip("ray")
    os.environ["RAY_ADDRESS"] = "127.0.0.1:1"
    try:
        code, _, err = finish("run", small_recipe, "--out", tmp_path / "out", "--on", "ray")
    finally:
        del os.environ["RAY_ADDRESS"]
    assert code == InputError.exit_code
    assert "Ray: 127.0.0.1:1 cannot be used" in err
    assert "Traceback" not in err


@pytest.fixture
def two_machines(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """A cluster of two machines of one core each, and a head that works at nothing."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    yield cluster
    cluster.shutdown()


def worker_at(step: str) -> int | None:
    """The process that does a step."""
    psutil = pytest.importorskip("psutil")
    for process in psutil.process_iter(["cmdline"]):
        if " ".join(process.info["cmdline"] or []).startswith(f"{WORKER}{step}"):
            return int(process.pid)
    return None


@pytest.mark.slow
def test_with_workers_killed_it_ends_like_a_local_run(small_recipe: Path, tmp_path: Path, two_machines):
    code, _, err = finish("run", small_recipe, "--out", tmp_path / "here")
    assert code == 0, err

    command = [*COMMAND, "run", str(small_recipe), "--out", str(tmp_path / "ray"), "--on", "ray"]
    log = (tmp_path / "log").open("w+")
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    killed: list[str] = []
    while run.poll() is None:
        step = next((s for s in ("train sft", "answer dpo", "judge part 1") if s not in killed), None)
        pid = worker_at(step) if step else None
        if pid:
            assert step
            os.kill(pid, signal.SIGKILL)
            killed.append(step)
        time.sleep(0.05)
    err = Path(log.name).read_text()
    assert run.returncode == 0, err
    assert killed == ["train sft", "answer dpo", "judge part 1"]
    assert "2 models at a time" in err
    assert essence(tmp_path / "ray" / "small") == essence(tmp_path / "here" / "small")

    # A local run finds it all done, and takes nothing up again.
    code, _, err = finish("run", small_recipe, "--out", tmp_path / "ray")
    assert code == 0
    assert "Nothing to do" in _
