"""Task files: what a benchmark opens."""

from __future__ import annotations

from pathlib import Path

from toolkit.benchmarks.local import task_content
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
