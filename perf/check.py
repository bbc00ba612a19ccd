"""Time and peak memory of `check` on a million rows of a hundred words.

    python perf/check.py [--rows 1000000] [--words 100]

Prints seconds, peak memory and what was found. Rows are random words of a vocabulary of ten thousand, and
a thousand held-out examples are compared with them.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RECIPE = """
name: large
base: smollm2-135m-instruct
data:
  train: {source: train.jsonl}
  heldout: {source: heldout.jsonl}
stages:
  - {name: sft, method: sft, data: train}
scoring: {examples: heldout, metrics: [rouge]}
"""


def write(folder: Path, rows: int, words: int) -> None:
    """A recipe and its data."""
    rng = random.Random(0)
    vocabulary = ["".join(rng.choices("abcdefghijklmnoprstuvw", k=rng.randint(2, 9))) for _ in range(10_000)]

    def text(count: int) -> str:
        reply = rng.choices(vocabulary, k=count)
        return f"{' '.join(reply[: count // 2]).capitalize()}, {' '.join(reply[count // 2 :])}."

    def row() -> str:
        turns = [{"role": "user", "content": text(words // 4)}]
        turns.append({"role": "assistant", "content": text(words - words // 4)})
        return json.dumps({"messages": turns}) + "\n"

    with (folder / "train.jsonl").open("w") as file:
        file.writelines(row() for _ in range(rows))
    with (folder / "heldout.jsonl").open("w") as file:
        file.writelines(row() for _ in range(1000))
    (folder / "recipe.yaml").write_text(RECIPE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--words", type=int, default=100)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, chosen.rows, chosen.words)
        size = (folder / "train.jsonl").stat().st_size
        command = [sys.executable, "-m", "toolkit.cli", "check", str(folder / "recipe.yaml"), "--json"]
        started = time.monotonic()
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds = time.monotonic() - started
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"{chosen.rows} rows, {size / 1e6:.0f} MB: {seconds:.0f} s (CPU {usage.ru_utime:.0f} s),", end=" ")
    print(f"peak memory {usage.ru_maxrss / 1e6:.2f} GB, exit code {found.returncode}")
    for finding in json.loads(found.stdout)["findings"]:
        print(f"{finding['severity']:<7} {finding['place']}: {finding['message']}")


if __name__ == "__main__":
    main()
