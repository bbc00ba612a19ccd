"""What a full disk, a folder that cannot be written, torn files and a clock that jumps do to a run."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import forked
from tests.run.test_run import essence, run
from toolkit import io
from toolkit.errors import DataError
from toolkit.run.cache import Step, StepCache
from toolkit.run.folder import RunFolder

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_leaves_no_half_file(tmp_path: Path):
    example, out = ROOT / "results" / "demo-example", tmp_path / "sub" / "report"
    run = tmp_path / "run"
    run.mkdir()
    for file in ("summary.json", "recipe.yaml"):
        (run / file).write_bytes((example / file).read_bytes())
    code, _, err = forked.command(["report", str(run)], tmp_path, forked.small_files, 5_000)
    assert code == 1
    assert err.splitlines() == ["error: File too large"]
    assert sorted(path.name for path in run.iterdir()) == ["recipe.yaml", "summary.json"]
    assert not out.exists()
    assert forked.command(["report", str(run)], tmp_path)[0] == 0


@pytest.mark.slow
def test_a_run_continues_when_there_is_room_again(small_recipe: Path, tmp_path: Path):
    whole, short = tmp_path / "whole", tmp_path / "short"
    code, _, err = run(small_recipe, whole)
    assert code == 0, err
    for size in (500, 60_000):
        code, _, err = run(small_recipe, short, forked.small_files, size)
        assert code == 1, err
        assert "Traceback" not in err
    code, _, err = run(small_recipe, short)
    assert code == 0, err
    assert essence(short / "small") == essence(whole / "small")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "taken").write_text("a file")
    for place in (tmp_path / "taken" / "run", Path("/proc/adapter-arena")):
        with pytest.raises(DataError, match="cannot be written"), RunFolder(place).locked():
            pass


def counted(cache: StepCache, step: Step) -> bool:
    """Do a step; whether it was skipped."""
    before = len(cache.skipped)
    cache.do(step)
    return len(cache.skipped) > before


def test_a_step_cut_short_is_not_done_and_its_work_is_kept(tmp_path: Path):
    folder, out = RunFolder(tmp_path), tmp_path / "out.jsonl"

    def full() -> None:
        out.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        StepCache(folder).do(Step("answer x", lambda: "1", full, (out,)))
    assert io.read_json(folder.manifest)["steps"]["answer x"]["done"] is False
    seen = []
    cache = StepCache(folder)
    assert not counted(cache, Step("answer x", lambda: "1", lambda: seen.append(out.read_text()), (out,)))
    assert seen == ["half"]
    assert counted(StepCache(folder), Step("answer x", lambda: "1", lambda: None, (out,)))
    # Of other inputs, what was left is removed first.
    other = Step("answer x", lambda: "2", lambda: seen.append(str(out.exists())), (out,))
    StepCache(folder).do(other)
    assert seen[-1] == "False"


def test_a_torn_manifest_is_named(tmp_path: Path):
    RunFolder(tmp_path).manifest.write_text('{"steps": {"train s')
    with pytest.raises(DataError, match=r"manifest\.json:1: not JSON"):
        StepCache(RunFolder(tmp_path))


@pytest.mark.parametrize("jump", [-1e9, 1e9])
def test_a_clock_that_jumps_changes_no_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: float):
    """Durations come from the monotonic clock; the time of day decides nothing."""
    now = time.time
    cache = StepCache(RunFolder(tmp_path))
    cache.do(Step("a", lambda: "1", lambda: monkeypatch.setattr(time, "time", lambda: now() + jump)))
    assert 0 <= cache.seconds < 60
    assert counted(StepCache(RunFolder(tmp_path)), Step("a", lambda: "1", lambda: None))


DANGEROUS = "S102,S301,S302,S307,S506,S602,S604,S605,S609"


def test_no_code_is_made_of_data():
    """No exec, eval, pickle, unsafe YAML or shell in the package, except where a model's programs are run."""
    pytest.importorskip("ruff")
    ruff = [sys.executable, "-m", "ruff", "check", "--isolated", "--ignore-noqa", "--select", DANGEROUS]
    message = subprocess.run(
        [*ruff, "--output-format", "concise", "toolkit", "apps"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    found = {tuple(line.split(":")[::3][:2]) for line in message.splitlines() if ": S" in line}
    assert {(file, rule.split()[0]) for file, rule in found} == {
        ("toolkit/sandbox_process.py", "S102"),  # the sandbox of benchmarks that run programs
        ("toolkit/benchmarks/task_files.py", "S506"),  # loaders made from SafeLoader
    }
