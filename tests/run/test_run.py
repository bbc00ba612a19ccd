"""A run is skipped when done, continued when killed, and ends the same either way."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import forked
from toolkit.cli.progress import ProgressHandler

COMMAND = [sys.executable, "-W", "ignore", "-m", "toolkit.cli"]


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )


def run(recipe: Path, out: Path, *happens: Any) -> tuple[int, str, str]:
    """The command, forked; its exit code, stdout and stderr."""
    return forked.command(["run", str(recipe), "--out", str(out)], recipe.parent, *happens)


def dying(sign: str) -> None:
    """This process dies, as by kill -9, when a line of its progress holds `sign`."""
    emit = ProgressHandler.emit

    def emit_and_die(self: ProgressHandler, record: logging.LogRecord) -> None:
        emit(self, record)
        if sign in record.getMessage():
            os.kill(os.getpid(), signal.SIGKILL)

    ProgressHandler.emit = emit_and_die


def essence(run: Path) -> dict[str, object]:
    """What must not depend on how often a run was interrupted."""
    texts = {
        str(path.relative_to(run)): path.read_text()
        for folder in ("completions", "measurements")
        for path in sorted((run / folder).glob("*.jsonl"))
    }
    summary = json.loads((run / "summary.json").read_text())
    stages = [{key: stage[key] for key in ("name", "train_loss", "heldout")} for stage in summary["stages"]]
    verdicts = sorted((run / "verdicts.jsonl").read_text().splitlines())
    kept = {key: summary[key] for key in ("scores", "differences", "ratings", "notes", "contestants")}
    return {**texts, **kept, "stages": stages, "verdicts": verdicts}


@pytest.mark.slow
def test_killed_at_every_step_it_ends_like_an_unbroken_run(small_recipe: Path, tmp_path: Path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    code, out, err = run(small_recipe, whole)
    assert code == 0, err
    assert "report.html" in out
    log = (whole / "small" / "run.log").read_text()
    assert "INFO toolkit.run.cache: train sft" in log
    assert "step 1 of 6" not in log  # progress is in the stages' own logs

    signs = ["step 1 of 6", "train dpo ...", "answer base ...", "measure sft ...", "judge ...", "report ..."]
    for sign in signs:
        code, _, err = run(small_recipe, broken, dying, sign)
        assert code == -signal.SIGKILL, err
    code, _, err = run(small_recipe, broken)
    assert code == 0, err
    assert "train sft: done already" in err
    assert essence(broken / "small") == essence(whole / "small")

    # Done and unchanged: nothing is touched, and it says so.
    before = {path: path.stat().st_mtime_ns for path in (whole / "small" / "completions").iterdir()}
    code, out, _ = run(small_recipe, whole)
    assert code == 0
    assert "Nothing to do" in out
    assert before == {path: path.stat().st_mtime_ns for path in before}

    # A changed judge prompt touches the judge's step and what follows, and no training.
    changed = yaml.safe_load(small_recipe.read_text()) | {"judge": {"limit": 3}}
    small_recipe.write_text(yaml.safe_dump(changed))
    code, _, err = run(small_recipe, whole)
    assert code == 0
    assert "train dpo: done already" in err
    assert "judge: inputs changed" in err


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bass": "x"}, "bass: unknown key; did you mean `base`?"),
        ({"data": {"sft": {"source": "gone.jsonl"}}}, "no data set is named `pairs`"),
        ({"base": "/nowhere/at/all"}, "no such model"),
        ({"base": "~nobody-here/model"}, "no such model"),
        ({"base": "x/" * 3000}, "no such model"),
        ({"base": "a\0b"}, "no such model"),
        ({"base": "x" * 300 + ".gguf"}, "no such GGUF file"),
        ({"judge": {"prompt": "single"}}, "error: judge.prompt: `single` grades answers one by one"),
    ],
)
def test_a_bad_recipe_gives_a_clear_line_and_exit_code_2(small_recipe: Path, tmp_path: Path, change, message):
    small_recipe.write_text(yaml.safe_dump(yaml.safe_load(small_recipe.read_text()) | change))
    code, out, err = run(small_recipe, tmp_path / "out")
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert out == ""


def test_a_bad_row_is_named_by_file_and_line(small_recipe: Path, tmp_path: Path):
    rows = (tmp_path / "sft.jsonl").read_text().splitlines()
    rows[3] = json.dumps({"prompt": [{"role": "usr", "content": "x"}], "completion": "y"})
    (tmp_path / "sft.jsonl").write_text("\n".join(rows) + "\n")
    code, _, err = run(small_recipe, tmp_path / "out")
    assert code == 2
    assert "sft.jsonl:4: `prompt`[0] has the unknown role 'usr'" in err


def test_two_processes_do_not_share_a_run_folder(small_recipe: Path, tmp_path: Path):
    first = start("run", small_recipe, "--out", tmp_path / "out")
    assert first.stderr is not None
    first.stderr.readline()
    code, _, err = run(small_recipe, tmp_path / "out")
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    assert code == 1
    assert "is at work here" in err
