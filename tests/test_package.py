"""The wheel and the sdist hold everything, and the wheel runs where the sources are not."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tarfile
import time
import urllib.request
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


def call(*command: str | Path, where: Path) -> str:
    """What a command prints, run without a way to the sources."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=where,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def build(sources: Path, out: Path) -> tuple[Path, Path]:
    """A wheel and an sdist, by the build backend that `pip wheel` would call."""
    pytest.importorskip("hatchling")
    call(sys.executable, "-m", "hatchling", "build", "-d", out, where=sources)
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return wheel, sdist


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return build(ROOT, tmp_path_factory.mktemp("dist"))


def packaged(names: list[str]) -> set[str]:
    return {name for name in names if name.startswith(("toolkit/", "apps/")) and "__pycache__" not in name}


def test_every_file_of_the_package_is_in_the_wheel_and_a_wheel_from_the_sdist_is_the_same(built, tmp_path):
    wheel, sdist = built
    tracked = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "toolkit", "apps"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    inside = packaged(zipfile.ZipFile(wheel).namelist())
    assert inside == set(tracked)
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    assert (unpacked / "LICENSE").is_file()
    again, _ = build(unpacked, tmp_path / "again")
    assert packaged(zipfile.ZipFile(again).namelist()) == inside


def test_the_wheel_runs_in_an_environment_of_its_own(built, tmp_path):
    """Installed without what it depends on, which comes from the environment of the tests."""
    clean = tmp_path / "clean"
    call(sys.executable, "-m", "venv", "--without-pip", clean, where=tmp_path)
    python = clean / "bin" / "python"
    install = ("-m", "pip", "--python", python, "install", "--no-deps", "--no-index", "-q", built[0])
    call(sys.executable, *install, where=tmp_path)
    (site,) = clean.glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")

    where = call(python, "-c", "import toolkit, apps; print(toolkit.__file__, apps.__file__)", where=tmp_path)
    assert all(str(clean) in path for path in where.split())
    command = clean / "bin" / "adapter-arena"
    assert call(command, "--version", where=tmp_path).startswith("adapter-arena, version ")
    (tmp_path / "votes.csv").write_text(
        "model_a,model_b,winner\n" + "x,y,model_a\nx,y,model_b\nx,y,model_a\n"
    )
    rated = json.loads(call(command, "ratings", "votes.csv", "--json", where=tmp_path))
    assert [row["contestant"] for row in rated["ratings"]] == ["x", "y"]
    example = Path(shutil.copytree(ROOT / "results" / "demo-example", tmp_path / "example"))
    report = call(command, "report", example, where=tmp_path)
    assert Path(report.strip()).stat().st_size > 10_000
    assert arena_opens(command, example)


def arena_opens(command: Path, run: Path) -> bool:
    """Whether the installed arena serves a run's pages."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    fault_server = subprocess.Popen(
        [command, "serve", run, "--port", str(port)], cwd=run.parent, env=environment, start_new_session=True
    )
    try:
        for _ in range(240):
            assert fault_server.poll() is None
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health") as answer:
                    return bool(answer.status == 200)
            except OSError:
                time.sleep(0.5)
        return False
    finally:
        os.killpg(fault_server.pid, signal.SIGTERM)
        fault_server.wait()
