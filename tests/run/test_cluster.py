"""A run on a Ray cluster leaves what a local run leaves, also when workers are killed under it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests import forked
from tests.fault_server import FaultServer
from tests.run.test_jury import server
from tests.run.test_run import COMMAND, essence, run
from toolkit.errors import InputError
from toolkit.recipe import ModelOptions
from toolkit.run.launch import worker_resources

__all__ = ["server"]

WORKER = "ray::"
"""What Ray's worker processes are called while they do a task, with the task's name behind it."""


def machine(**resources: float) -> dict[str, object]:
    return {"Alive": True, "Resources": resources}


def test_a_gpu_for_each_model_where_there_are_gpus_else_a_machine():
    auto, cpu = ModelOptions(), ModelOptions(device="cpu")
    with_gpus = [machine(CPU=16, GPU=4), machine(CPU=8, GPU=1), machine(CPU=32)]
    assert worker_resources(with_gpus, auto) == ({"num_cpus": 1, "num_gpus": 1}, 5)
    assert worker_resources(with_gpus, cpu) == ({"num_cpus": 8}, 7)
    assert worker_resources([machine(CPU=2), machine(CPU=2), machine(memory=1)], auto) == ({"num_cpus": 2}, 2)
    gone = machine(CPU=2) | {"Alive": False}
    assert worker_resources([machine(CPU=4), gone], auto) == ({"num_cpus": 4}, 1)


@pytest.mark.slow
def test_an_address_without_a_cluster_is_one_clear_line(small_recipe: Path, tmp_path: Path):
    pytest.importorskip("ray")
    arguments = ["run", str(small_recipe), "--out", str(tmp_path / "out"), "--on", "ray"]
    code, _, err = forked.command(arguments, tmp_path, forked.environment, {"RAY_ADDRESS": "127.0.0.1:1"})
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


@pytest.fixture
def with_jury(small_recipe: Path, server: FaultServer) -> Path:
    """The small recipe without its last stage, and with a jury: its base, and a model elsewhere."""
    raw = yaml.safe_load(small_recipe.read_text())
    raw["contestants"] = {"base": {}, "sft": {"stage": "sft"}}
    raw["stages"] = raw["stages"][:1]
    raw["scoring"]["metrics"] = [{"exact_match": {}}]  # whose workers import little
    raw["judge"] = {"jury": [{}, {"endpoint": {"url": server.url, "model": "first"}, "method": "written"}]}
    small_recipe.write_text(yaml.safe_dump(raw))
    return small_recipe


@pytest.mark.slow
def test_with_workers_killed_it_ends_like_a_local_run(with_jury: Path, tmp_path: Path, two_machines):
    here, there = tmp_path / "here", tmp_path / "ray"
    code, _, err = run(with_jury, here)
    assert code == 0, err
    command = [*COMMAND, "run", str(with_jury), "--out", str(there), "--on", "ray"]
    log = (tmp_path / "log").open("w+")
    driver = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    killed: list[str] = []
    while driver.poll() is None:
        step = next((s for s in ("train sft", "judge part 1") if s not in killed), None)
        pid = worker_at(step) if step else None
        if pid:
            assert step
            os.kill(pid, signal.SIGKILL)
            killed.append(step)
        time.sleep(0.2)
    err = Path(log.name).read_text()
    assert driver.returncode == 0, err
    assert killed == ["train sft", "judge part 1"]
    assert "2 models at a time" in err
    assert "judge part 3 of 3: done" in err
    assert essence(there / "small") == essence(here / "small")

    # A local run finds it all done, and takes nothing up again.
    code, out, _ = run(with_jury, there)
    assert code == 0
    assert "Nothing to do" in out
