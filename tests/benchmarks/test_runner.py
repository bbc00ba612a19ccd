"""Benchmarks run on a loaded model, adapter by adapter, and leave what lm-eval's own tools read."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from lm_eval.utils import make_table
from peft import LoraConfig, get_peft_model

from toolkit import io
from toolkit.benchmarks.results import interval, scores_of, values_of
from toolkit.benchmarks.runner import run_benchmarks
from toolkit.benchmarks.task_files import task_file
from toolkit.errors import DataError
from toolkit.models import Loaded, load_base
from toolkit.recipe import Benchmark, ModelOptions


@pytest.fixture(scope="module")
def tuned(tiny_model: Path) -> Loaded:
    """The tiny model with a random adapter, `sft`."""
    import torch

    loaded = load_base(str(tiny_model), ModelOptions(device="cpu", dtype="float32"))
    torch.manual_seed(5)
    config = LoraConfig(r=8, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    loaded.model = get_peft_model(loaded.model, config, "sft").eval()
    loaded.adapters.append("sft")
    return loaded


def choices() -> Benchmark:
    return Benchmark(task="tickets_choice", files={"test": "package:tickets/choice.jsonl"}, limit=12)


@pytest.fixture
def sums(tmp_path: Path) -> Benchmark:
    rows = [{"question": f"What is {i} + 1?", "answer": f"One more.\n#### {i + 1}"} for i in range(6)]
    file = tmp_path / "sums.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Benchmark(task="gsm8k", files={"train": str(file), "test": str(file)}, num_fewshot=2, limit=4)


def test_base_and_adapter_are_each_measured_as_they_are(tuned: Loaded, tmp_path: Path, sums: Benchmark):
    """Also after a benchmark that generates, the bare base must stay bare."""

    def values(name: str, adapter: str | None, *benchmarks: Benchmark) -> list[list[object]]:
        out = tmp_path / name / "c.json"
        run_benchmarks(tuned, benchmarks, contestant="c", adapter=adapter, out=out)
        lines = (out.with_suffix("") / "samples_tickets_choice.jsonl").read_text().splitlines()
        return [json.loads(line)["filtered_resps"] for line in lines]

    bare = load_base(str(tuned.folder), ModelOptions(device="cpu", dtype="float32"))
    run_benchmarks(bare, [choices()], contestant="c", out=tmp_path / "bare" / "c.json")
    expected = [
        json.loads(line)["filtered_resps"]
        for line in (tmp_path / "bare/c/samples_tickets_choice.jsonl").read_text().splitlines()
    ]
    assert values("alone", None, choices()) == expected
    assert values("after", None, sums, choices()) == expected
    assert values("sft", "sft", choices()) != expected


def test_results_are_in_lm_evals_format(tuned: Loaded, tmp_path: Path, sums: Benchmark):
    out = tmp_path / "base.json"
    scores = run_benchmarks(tuned, [choices(), sums], contestant="base", out=out)
    result = io.read_json(out)
    assert set(result["results"]) == {"tickets_choice", "gsm8k"}
    assert {"versions", "n-shot", "n-samples", "configs", "config", "date"} <= result.keys()
    assert result["n-shot"] == {"tickets_choice": 0, "gsm8k": 2}
    assert result["configs"]["gsm8k"]["metadata"]["chat_template"] is False
    assert [(score.metric, score.n) for score in scores] == [
        ("tickets_choice/acc", 12),
        ("gsm8k/exact_match,strict-match", 4),
        ("gsm8k/exact_match,flexible-extract", 4),
    ]
    assert scores == scores_of(out, "base")


def test_lm_evals_own_table_is_made_of_results(tuned: Loaded, tmp_path: Path, sums: Benchmark):
    scores = run_benchmarks(tuned, [choices(), sums], contestant="base", out=tmp_path / "base.json")
    lines = make_table(io.read_json(tmp_path / "base.json")).splitlines()
    shown = [[cell.strip() for cell in line.split("|")] for line in lines[2:] if line.strip()]
    assert {round(score.value, 4) for score in scores} == {float(cells[7]) for cells in shown}
    assert [cells[5] for cells in shown] == ["exact_match", "exact_match", "acc"]


def test_results_say_nothing_of_the_machine(tuned: Loaded, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    out = tmp_path / "base.json"
    run_benchmarks(tuned, [choices()], contestant="base", out=out)
    text = out.read_text().replace(tuned.name, "the base as the recipe names it")
    for word in (tempfile.gettempdir(), str(Path.home()), "git"):
        assert word not in text
    assert "git" not in capfd.readouterr().err


def test_every_answer_is_logged(tuned: Loaded, tmp_path: Path):
    out = tmp_path / "base.json"
    (score,) = run_benchmarks(tuned, [choices()], contestant="base", out=out)
    values = values_of(out.with_suffix(""))["tickets_choice/acc"]
    assert len(values) == 12
    assert sum(values.values()) / 12 == pytest.approx(score.value)
    sample = json.loads((tmp_path / "base/samples_tickets_choice.jsonl").read_text().splitlines()[0])
    assert {"doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "acc"} <= sample.keys()


def test_the_chat_template_changes_the_prompt_and_is_stated(tuned: Loaded, tmp_path: Path):
    chat = choices().model_copy(update={"chat_template": True})
    run_benchmarks(tuned, [chat], contestant="base", out=tmp_path / "base.json")
    result = io.read_json(tmp_path / "base.json")
    assert result["configs"]["tickets_choice"]["metadata"]["chat_template"] is True
    sample = json.loads((tmp_path / "base/samples_tickets_choice.jsonl").read_text().splitlines()[0])
    assert sample["arguments"]["gen_args_0"]["arg_0"].startswith("<|start|>user\n")


def test_a_task_file_of_ones_own(tuned: Loaded, tmp_path: Path):
    text = task_file("tickets_choice").read_text().replace("tickets_choice", "something else")
    (tmp_path / "my_choice.yaml").write_text(text)
    mine = choices().model_copy(update={"task": str(tmp_path / "my_choice.yaml")})
    (score,) = run_benchmarks(tuned, [mine], contestant="c", out=tmp_path / "mine.json")
    (known,) = run_benchmarks(tuned, [choices()], contestant="c", out=tmp_path / "known.json")
    assert score.metric == "my_choice/acc"
    assert (score.value, score.n) == (known.value, 12)
    assert str(tmp_path) not in (tmp_path / "mine.json").read_text()
    gone = mine.model_copy(update={"task": str(tmp_path / "gone.yaml")})
    with pytest.raises(DataError, match=r"gone\.yaml: no such task file"):
        run_benchmarks(tuned, [gone], contestant="c", out=tmp_path / "gone.json")


def test_what_lm_eval_prints_does_not_reach_stdout(
    tuned: Loaded, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    run_benchmarks(tuned, [choices()], contestant="base", out=tmp_path / "base.json")
    assert capfd.readouterr().out == ""


def test_trouble_with_a_file_is_not_the_hubs(tuned: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(**_: object) -> None:
        raise OSError(28, "No space left on device", "rows.arrow")

    monkeypatch.setattr("lm_eval.simple_evaluate", full)
    with pytest.raises(DataError, match=r"tickets_choice: rows\.arrow: No space left on device"):
        run_benchmarks(tuned, [choices()], contestant="c", out=tmp_path / "c.json")


def test_code_is_run_only_when_it_is_allowed(tuned: Loaded, tmp_path: Path):
    benchmark = Benchmark(task="humaneval", files={"test": "rows.jsonl"})
    with pytest.raises(DataError, match="humaneval: it runs code that the model writes"):
        run_benchmarks(tuned, [benchmark], contestant="base", out=tmp_path / "base.json")


@pytest.mark.slow
def test_humaneval_runs_the_answers_against_the_tests(tuned: Loaded, tmp_path: Path):
    """One problem that any function body solves, one that none does."""
    problems = [
        {
            "prompt": "def f():\n    return 1\n    ",
            "test": "def check(f):\n    assert f() == 1",
            "entry_point": "f",
        },
        {
            "prompt": "def g():\n    return 1\n    ",
            "test": "def check(g):\n    assert g() == 2",
            "entry_point": "g",
        },
    ]
    file = tmp_path / "problems.jsonl"
    rows = [problem | {"task_id": f"t/{i}", "canonical_solution": ""} for i, problem in enumerate(problems)]
    # The answer of a random model is no Python: it is made a comment.
    rows = [row | {"prompt": row["prompt"] + "# "} for row in rows]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    benchmark = Benchmark(task="humaneval", files={"test": str(file)}, allow_code_execution=True)
    (score,) = run_benchmarks(tuned, [benchmark], contestant="base", out=tmp_path / "base.json")
    assert (score.metric, score.n) == ("humaneval/pass@1,create_test", 2)
    assert score.value in {0.0, 0.5}  # 0 where the comment had a line break
    assert score.low is not None


def test_intervals_follow_the_metric():
    assert interval("acc", 1.0, 0.0, 5) == (pytest.approx(0.566, abs=1e-3), pytest.approx(1.0))
    assert interval("f1", 0.5, 0.1, 30) == (pytest.approx(0.304, abs=1e-3), pytest.approx(0.696, abs=1e-3))
    assert interval("f1", 1.0, 0.0, 5) == (None, None)
    assert interval("acc", 0.5, "N/A", 5) == (None, None)


def _programs(tmp_path: Path, task: str, rows: list[dict], **options: object) -> Benchmark:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Benchmark(task=task, files={"test": str(file)}, num_fewshot=0, **options)


MBPP = {"task_id": 11, "text": "Do nothing.", "code": "pass", "test_list": ["assert True"] * 3}


def test_other_tasks_that_run_code_do_so_in_the_sandbox(tuned: Loaded, tmp_path: Path):
    """lm-eval's mbpp would load `code_eval` from the hub, which confines nothing."""
    outside = tmp_path / "secret.txt"
    outside.write_text("secret")
    rows = [
        MBPP | {"test_list": ["'''", "'''", "assert True"]},
        MBPP | {"test_list": ["'''", "'''", f"open({str(outside)!r})"]},
    ]
    with pytest.raises(DataError, match="it runs code that the model writes"):
        run_benchmarks(
            tuned, [_programs(tmp_path, "mbpp", rows)], contestant="c", out=tmp_path / "refused.json"
        )
    allowed = _programs(tmp_path, "mbpp", rows, allow_code_execution=True)
    (score,) = run_benchmarks(tuned, [allowed], contestant="c", out=tmp_path / "c.json")
    assert score.n == 2
    assert score.value < 1, "a file outside of the sandbox was read"


def test_tasks_that_run_code_by_means_of_their_own_are_refused(tuned: Loaded, tmp_path: Path):
    (tmp_path / "own.py").write_text("def right(items):\n    exec('1')\n    return 1.0\n")
    text = task_file("tickets_choice").read_text().replace("tickets_choice", "mine")
    (tmp_path / "mine.yaml").write_text(text + "unsafe_code: true\n")
    mine = choices().model_copy(update={"task": str(tmp_path / "mine.yaml"), "allow_code_execution": True})
    with pytest.raises(DataError, match="mine runs the model's code by means of its own"):
        run_benchmarks(tuned, [mine], contestant="c", out=tmp_path / "mine.json")
