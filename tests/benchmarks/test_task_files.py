"""Task files: what a benchmark opens."""

from __future__ import annotations

from pathlib import Path

from toolkit.benchmarks.task_files import task_content
from toolkit.recipe import Benchmark, source_file


def test_what_a_benchmark_opens_counts_by_content_wherever_it_lies(tmp_path: Path):
    """Also rows that come with the package, which the demo's benchmark has."""
    packaged = Benchmark(task="tickets_choice", files={"test": "package:tickets/choice.jsonl"})
    copy = tmp_path / "choice.jsonl"
    copy.write_bytes(source_file("package:tickets/choice.jsonl").read_bytes())
    copied = packaged.model_copy(update={"files": {"test": str(copy)}})
    assert task_content(copied) == task_content(packaged)
    copy.write_text(copy.read_text() + "\n")
    assert task_content(copied) != task_content(packaged)


def test_python_files_that_a_tasks_functions_import_count(tmp_path: Path):
    files = {
        "mine.yaml": "task: mine\ndoc_to_target: !function target.target\n",
        "target.py": "import os\nfrom helper import right\n\ndef target(row):\n    return right(row)\n",
        "helper.py": "from package.rule import rule\nimport helper\n\ndef right(row):\n    return rule(row)\n",  # noqa: E501
        "package/rule.py": "def rule(row):\n    return 1\n",
        "other.py": "unused = 1\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    task = Benchmark(task=str(tmp_path / "mine.yaml"))
    before = task_content(task)
    (tmp_path / "other.py").write_text("unused = 2\n")
    assert task_content(task) == before
    for name in ("target.py", "helper.py", "package/rule.py"):
        (tmp_path / name).write_text(files[name].replace("return", "return  "))
        assert task_content(task) != before
        (tmp_path / name).write_text(files[name])
