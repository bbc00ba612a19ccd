"""Contestants that were made elsewhere: adapters of plain PEFT, and files of answers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from tests.run.conftest import WORDS
from toolkit import recipe as recipes
from toolkit.cli import main
from toolkit.run.checks import check


def write_answers(file: Path, words: list[str], **columns: Any) -> Path:
    rows = [{"prompt": f"my old {word} broke", "output": f"Product: {word}", **columns} for word in words]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
def adapter(tmp_path: Path, tiny_model: Path) -> Path:
    """A LoRA adapter that plain PEFT saved."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(model, config).save_pretrained(tmp_path / "elsewhere")
    return tmp_path / "elsewhere"


@pytest.fixture
def compare_two(small_recipe: Path, adapter: Path) -> Path:
    """The small recipe without stages: an adapter made elsewhere, a file of answers, the base."""
    raw = yaml.safe_load(small_recipe.read_text())
    heldout = small_recipe.with_name("heldout.jsonl")
    rows = [json.loads(line) for line in heldout.read_text().splitlines()]
    heldout.write_text("".join(json.dumps(row) + "\n" for row in rows))
    raw |= {
        "stages": [],
        "contestants": {
            "base": {},
            "theirs": {"adapter": "elsewhere"},
            "gpt": {"answers": str(write_answers(small_recipe.with_name("gpt.jsonl"), WORDS[:5]).name)},
        },
    }
    raw["scoring"]["metrics"] = ["perplexity", "rouge", "exact_match"]
    small_recipe.write_text(yaml.safe_dump(raw))
    return small_recipe


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(each) for each in arguments])


def test_a_run_compares_an_adapter_and_answers_made_elsewhere(compare_two: Path, tmp_path: Path):
    done = invoke("run", compare_two, "--out", tmp_path / "out", "--json")
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout)
    n = {(score["contestant"], score["metric"]): score["n"] for score in summary["scores"]}
    assert n["gpt", "exact_match"] == 5
    assert n["theirs", "perplexity"] == n["base", "perplexity"] == 6
    assert ("gpt", "perplexity") not in n
    values = {(score["contestant"], score["metric"]): score["value"] for score in summary["scores"]}
    assert values["gpt", "exact_match"] == 1
    assert values["theirs", "perplexity"] != values["base", "perplexity"]
    assert "answers 5 of 6 examples" in done.stderr
    again = invoke("run", compare_two, "--out", tmp_path / "out")
    assert "Nothing to do" in again.output


def test_changed_answers_are_scored_again(compare_two: Path, tmp_path: Path):
    assert invoke("run", compare_two, "--out", tmp_path / "out").exit_code == 0
    write_answers(compare_two.with_name("gpt.jsonl"), WORDS[:6])
    summary = json.loads(invoke("run", compare_two, "--out", tmp_path / "out", "--json").stdout)
    assert {score["n"] for score in summary["scores"] if score["contestant"] == "gpt"} == {6}
    assert {"answer base", "answer theirs"} <= set(summary["skipped"])


@pytest.mark.parametrize(
    ("contestant", "message"),
    [
        ({"answers": "few.jsonl"}, "answers 2 of 6 examples"),
        ({"answers": "none.jsonl"}, "none.jsonl"),
        ({"answers": "other.jsonl"}, "example h0 is another question than the recipe's"),
        ({"answers": "several.jsonl"}, "answers of a, b; name the contestant as one of them"),
        ({"adapter": "empty"}, "not an adapter folder: it has no adapter_config.json"),
        ({"adapter": "elsewhere", "model": "nothere"}, "nothere"),
    ],
)
def test_the_check_finds_what_would_not_compete(compare_two: Path, contestant: dict[str, str], message: str):
    folder = compare_two.parent
    write_answers(folder / "few.jsonl", WORDS[:2])
    write_answers(folder / "other.jsonl", WORDS[:1])
    text = (folder / "other.jsonl").read_text()
    (folder / "other.jsonl").write_text(text.replace("{", '{"id": "h0", ').replace("my old", "your new"))
    both = [write_answers(folder / f"{name}.jsonl", WORDS, generator=name).read_text() for name in "ab"]
    (folder / "several.jsonl").write_text("".join(both).replace('"prompt"', '"instruction"'))
    (folder / "empty").mkdir()
    raw = yaml.safe_load(compare_two.read_text())
    raw["contestants"]["it"] = contestant
    compare_two.write_text(yaml.safe_dump(raw))
    errors = [each.message for each in check(recipes.load(compare_two)).findings if each.severity == "error"]
    assert any(message in each for each in errors), errors


def files_alone(folder: Path, **changes: Any) -> Path:
    """A recipe of two files of answers, and of no model."""
    right = write_answers(folder / "one.jsonl", WORDS[:5]).read_text()
    (folder / "two.jsonl").write_text(right.replace(f"Product: {WORDS[0]}", "Product: none"))
    rows = [{"prompt": f"my old {word} broke", "completion": f"Product: {word}"} for word in WORDS[:5]]
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    raw = {
        "name": "files",
        "data": {"test": {"source": "test.jsonl"}},
        "contestants": {"one": {"answers": "one.jsonl"}, "two": {"answers": "two.jsonl"}},
        "scoring": {"examples": "test", "metrics": [{"exact_match": {}}]},
    }
    file = folder / "files.yaml"
    file.write_text(yaml.safe_dump(raw | changes))
    return file


@pytest.mark.slow
def test_files_of_answers_need_neither_a_base_nor_torch(tmp_path: Path):
    recipe = files_alone(tmp_path)
    program = (
        "import sys; from toolkit.cli import main\n"
        "main(['run', sys.argv[1], '--out', sys.argv[2], '--json'], standalone_mode=False)\n"
        "assert 'torch' not in sys.modules"
    )
    command = [sys.executable, "-c", program, str(recipe), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    scores = {score["contestant"]: score["value"] for score in json.loads(done.stdout)["scores"]}
    assert scores == {"one": 1.0, "two": 0.8}
    again = invoke("run", recipe, "--out", tmp_path / "out")
    assert "Nothing to do" in again.stdout


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"contestants": {"one": {"answers": "one.jsonl"}, "plain": {}}}, "contestants.plain"),
        ({"stages": [{"name": "sft", "method": "sft", "data": "test"}]}, "stages.sft"),
    ],
)
def test_what_stands_on_a_base_requires_one(tmp_path: Path, changes: dict[str, Any], key: str):
    found = invoke("check", files_alone(tmp_path, **changes))
    assert found.exit_code == 2
    assert f"base: is required, by {key}" in found.output


def test_a_judge_without_a_base_has_to_be_named(tmp_path: Path):
    found = invoke("check", files_alone(tmp_path, judge={}))
    assert found.exit_code == 2
    assert "judge.model" in found.output


def test_train_without_stages_is_no_success(tmp_path: Path):
    found = invoke("train", files_alone(tmp_path), "--out", tmp_path / "out")
    assert (found.exit_code, found.stdout) == (2, "")
    assert "there is none to train" in found.stderr
    assert not (tmp_path / "out").exists()


def test_likelihoods_of_files_are_found_missing_before_the_run(tmp_path: Path):
    scoring = {"examples": "test", "metrics": ["perplexity"]}
    alone = invoke("run", files_alone(tmp_path, scoring=scoring), "--out", tmp_path / "out")
    assert (alone.exit_code, alone.stdout) == (2, "")
    assert "\nerror: scoring.metrics: likelihoods are of models here" in alone.stderr
    found = check(
        recipes.load(files_alone(tmp_path, scoring=scoring | {"guard": "test", "metrics": ["length"]}))
    )
    assert [(each.severity, each.place) for each in found.findings if each.code == "no-likelihood"] == [
        ("warning", "scoring.guard")
    ]
