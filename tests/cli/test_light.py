"""Without torch: votes, ratings and reports work, and other commands say what is missing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
LIGHT = ROOT / "requirements-light.txt"

SCRIPT = """
import json, sys
from importlib.machinery import PathFinder

absent, commands = map(json.loads, sys.argv[1:])
find = PathFinder.find_spec
PathFinder.find_spec = staticmethod(
    lambda name, *rest: None if name.partition(".")[0] in absent else find(name, *rest)
)

import apps.server

apps.server.serve = lambda *_: None
from click.testing import CliRunner
from toolkit.cli import main

found = []
for command in commands:
    done = CliRunner().invoke(main, command)
    found.append([done.exit_code, done.stderr, repr(done.exception)])
print("found", json.dumps(found))
"""

ABSENT = (
    *(
        "torch",
        "transformers",
        "tokenizers",
        "peft",
        "trl",
        "accelerate",
        "bitsandbytes",
        "lm_eval",
    ),
    *("bert_score", "gguf"),
)


def run(folder: Path, commands: list[list[str]]) -> list[tuple[int, str, str]]:
    script = [sys.executable, "-c", textwrap.dedent(SCRIPT), json.dumps(ABSENT), json.dumps(commands)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(script, cwd=folder, capture_output=True, text=True, check=False, env=environment)
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("found ")] or [done.stderr]
    return [tuple(each) for each in json.loads(line.removeprefix("found "))]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "results" / "demo-example", tmp_path / "demo")
    votes = "model_a,model_b,winner,question_id\nx,y,model_a,1\ny,x,tie,2\n"
    (tmp_path / "votes.csv").write_text(votes)
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    return tmp_path


@pytest.mark.slow
def test_votes_ratings_and_reports_need_no_torch(folder: Path):
    commands = [
        ["ratings", "votes.csv"],
        ["agreement", "votes.csv", "votes.csv"],
        ["leaderboard", "demo"],
        ["report", "demo"],
        ["gate", "demo", "--require", "fields_right: better than base"],
        ["votes", "import", "votes.csv", "demo"],
        ["votes", "export", "demo", "out.csv"],
        ["preferences", "--from-votes", "demo", "--voters", "judge", "--out", "pairs.jsonl"],
        ["runs", "--out", "."],
        ["selftest", "demo"],
        ["score", "demo/completions/sft.jsonl", "demo/completions/dpo.jsonl"],
        ["metrics", "demo/completions/sft.jsonl"],
        ["export", "demo", "data"],
        ["serve", "demo/completions/sft.jsonl", "demo/completions/dpo.jsonl", "--out", "arena"],
    ]
    for command, (code, _, error) in zip(commands, run(folder, commands), strict=True):
        assert code == 0, (command, error)


@pytest.mark.slow
def test_what_is_missing_is_one_line_with_the_command(folder: Path):
    commands = [
        ["check", "demo"],
        ["run", "demo"],
        ["train", "demo"],
        ["metrics", "demo/completions/sft.jsonl", "--metric", "bertscore"],
        ["answer", "base", "rows.jsonl", "--out", "answers.jsonl"],
        ["judge", "demo"],
        ["export-model", "demo", "dpo", "--to", "vllm", "--out", "shipped"],
        ["merge", "demo", "dpo", "--out", "merged"],
        ["perplexity", "base", "rows.jsonl"],
        ["bench", "base", "gsm8k"],
    ]
    for command, (code, error, _) in zip(commands, run(folder, commands), strict=True):
        assert code == 2, command
        assert f"error: {command[0]} needs " in error.splitlines()[-1]
        assert "pip install adapter-arena" in error
    (_, _, exception), *_ = run(folder, [["doctor"]])
    assert "ModuleNotFoundError" not in exception


def test_light_requirements_are_those_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    whole = {Requirement(text).name.lower(): text for text in project["dependencies"]}
    light = [line for line in LIGHT.read_text().splitlines() if line and not line.startswith("#")]
    assert light
    assert all(whole[Requirement(line).name.lower()] == line for line in light)
    assert not {Requirement(line).name.replace("-", "_") for line in light} & set(ABSENT)
