"""How long until somebody's own model is scored: the commands a newcomer types, one after the other, timed.

python perf/first_hour.py               # on the packaged model, with a small data set made up here
python perf/first_hour.py --setup       # before that, a fresh clone is set up as `make` does it
python perf/first_hour.py --base DIR    # on another model

The data set is small on purpose: 60 rows to learn and 12 to score on, one epoch. What is measured is the way
there, not a training. `--setup` downloads every dependency; how long that takes is the network's affair.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
THINGS = ["lamp", "kettle", "chair", "radio", "toaster", "clock", "mirror", "stool", "belt", "fan"]
FAULTS = ["does not start", "came broken", "is too loud", "has the wrong colour", "smells odd"]


def rows(count: int, seed: int) -> list[dict[str, str]]:
    """Complaints and one-line summaries of them."""
    draw = random.Random(seed)
    found = []
    for number in range(count):
        thing, fault = draw.choice(THINGS), draw.choice(FAULTS)
        question = f"Case {seed}{number:03d}: I bought a {thing} from you and it {fault}. What now?"
        found.append(
            {"prompt": question, "completion": f"thing={thing}; fault={fault}; case={seed}{number:03d}"}
        )
    return found


def timed(what: str, command: list[str], folder: Path) -> float:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    started = time.monotonic()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - started
    if done.returncode:
        sys.exit(f"{what}: {done.stderr}")
    print(f"{what:36} {seconds:7.1f} s", flush=True)
    return seconds


def set_up(folder: Path) -> tuple[str, float]:
    """Clone and install into a virtual environment of its own; gives its interpreter."""
    clone = folder / "clone"
    seconds = timed("git clone", ["git", "clone", "-q", str(ROOT), str(clone)], folder)
    seconds += timed("make (virtual environment, install)", ["make", ".venv/.installed"], clone)
    return str(clone / ".venv" / "bin" / "python"), seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--setup", action="store_true", help="time a fresh clone and its installation too")
    parser.add_argument("--base", default="smollm2-135m-instruct", help="model to train")
    requested = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        python, total = set_up(folder) if requested.setup else (sys.executable, 0.0)
        for file, count, seed in (("train.jsonl", 60, 1), ("test.jsonl", 12, 2)):
            (folder / file).write_text("".join(json.dumps(row) + "\n" for row in rows(count, seed)))
        ours = [python, "-m", "toolkit.cli"]
        answers = ["--base", requested.base, "--data", "train.jsonl", "--heldout", "test.jsonl"]
        total += timed("adapter-arena doctor", [*ours, "doctor"], folder)
        total += timed("adapter-arena init mine.yaml", [*ours, "init", "mine.yaml", *answers], folder)
        total += timed("adapter-arena check mine.yaml", [*ours, "check", "mine.yaml"], folder)
        short = [
            "--set",
            "stages.0.trainer.num_train_epochs=1",
            "--set",
            "scoring.generation.max_new_tokens=40",
        ]
        total += timed("adapter-arena run mine.yaml", [*ours, "run", "mine.yaml", *short], folder)
        summary = json.loads((folder / "results" / "mine" / "summary.json").read_text())
        print(f"{'all of it':36} {total:7.1f} s")
        for score in summary["scores"]:
            if score["metric"] == "rougeL":
                print(f"ROUGE-L of {score['contestant']}: {score['value']:.2f}")


if __name__ == "__main__":
    main()
