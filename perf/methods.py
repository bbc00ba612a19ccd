"""What every method of training gives and takes: held-out figures before and after, seconds, peak memory.

python perf/methods.py                   # all methods, on the demo's data, each in a process of its own
python perf/methods.py orpo kto --rows 40
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from toolkit.data import Conversation, load_rows
from toolkit.recipe import DataSource

PAIRS = {"source": "package:tickets/pairs.jsonl"}
HELDOUT = {"source": "package:tickets/pairs-heldout.jsonl"}
SFT = {"learning_rate": 1e-3, "per_device_train_batch_size": 4}
TUNE = {"learning_rate": 2e-4, "per_device_train_batch_size": 4}
WHOLE = {"learning_rate": 5e-5, "per_device_train_batch_size": 4}
STEEP = {"learning_rate": 1e-2, "per_device_train_batch_size": 4}
ANSWERS = {"num_generations": 4, "max_completion_length": 80, "per_device_train_batch_size": 8}


def one(name: str, method: str, data: str, **more: Any) -> list[dict[str, Any]]:
    return [{"name": name, "method": method, "data": data, **more}]


def after_sft(name: str, method: str, data: str, **more: Any) -> list[dict[str, Any]]:
    return [*one("sft", "sft", "tickets", trainer=SFT), *one(name, method, data, start="sft", **more)]


STAGES: dict[str, list[dict[str, Any]]] = {
    "text": one("text", "text", "texts", trainer=SFT),
    "sft": one("sft", "sft", "tickets", trainer=SFT),
    "sft-full": one("sft-full", "sft", "tickets", adapter="none", trainer=WHOLE),
    "sft-dora": one("sft-dora", "sft", "tickets", adapter={"r": 16, "use_dora": True}, trainer=SFT),
    "sft-ia3": one(
        "sft-ia3", "sft", "tickets", adapter={"type": "ia3"}, trainer=SFT | {"learning_rate": 1e-2}
    ),
    "sft-qlora": one("sft-qlora", "sft", "tickets", trainer=SFT),
    "dpo": after_sft("dpo", "dpo", "pairs", heldout="heldout", trainer=TUNE),
    "orpo": one("orpo", "orpo", "pairs", heldout="heldout", trainer=SFT),
    "kto": after_sft("kto", "kto", "pairs", heldout="heldout", trainer=TUNE),
    "reward": one("reward", "reward", "pairs", heldout="heldout", trainer=TUNE),
}
for online in ("rloo", "grpo"):
    STAGES[online] = [
        *STAGES["reward"],
        *after_sft(online, online, "tickets", rewards={"reward": 1.0}, trainer=ANSWERS, heldout_share=0.1),
    ]

FIGURES = ("loss", "accuracy", "calibration_error", "reward")


def recipe(name: str, rows: int, folder: Path) -> Path:
    """The file of a recipe that trains a method; rows are those of the demo."""
    texts = [
        {"text": row.messages[-1].content}
        for row in load_rows(DataSource(source="package:tickets/sft.jsonl")).rows
        if isinstance(row, Conversation)
    ]
    (folder / "texts.jsonl").write_text("".join(json.dumps(text) + "\n" for text in texts))
    sources = {
        "texts": {"source": "texts.jsonl"},
        "tickets": {"source": "package:tickets/sft.jsonl"},
        "pairs": PAIRS,
    }
    file = folder / f"{name}.yaml"
    whole = {
        "name": name,
        "base": "smollm2-135m-instruct",
        "model": {"quantization": "nf4" if name == "sft-qlora" else "none"},
        "data": {key: source | {"limit": rows} for key, source in sources.items()} | {"heldout": HELDOUT},
        "stages": STAGES[name],
    }
    file.write_text(yaml.safe_dump(whole))
    return file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("methods", nargs="*", help=f"of {', '.join(STAGES)}")
    parser.add_argument("--rows", type=int, default=80)
    requested = parser.parse_args()
    print(f"{requested.rows} rows each; figures are on held-out rows, before -> after the stage\n")
    print("| method | rows of | " + " | ".join(FIGURES) + " | seconds | peak memory, GB |")
    print("| --- | --- |" + " ---: |" * (len(FIGURES) + 2))
    for name in requested.methods or STAGES:
        with tempfile.TemporaryDirectory() as folder:
            print(line(name, requested.rows, Path(folder)), flush=True)


def line(name: str, rows: int, folder: Path) -> str:
    """Train one method, each stage in a process of its own; its row of the table."""
    file = recipe(name, rows, folder)
    for stage in STAGES[name]:
        command = [sys.executable, "-m", "toolkit.cli", "train", str(file), stage["name"], "--json"]
        done = subprocess.run([*command, "--out", str(folder)], check=False, capture_output=True, text=True)
        if done.returncode:
            return f"| {name} | failed: {done.stderr.strip().splitlines()[-1]} |"
    result = json.loads(done.stdout)["stages"][-1]
    heldout = result["heldout"]
    figures = [
        f"{heldout[f'{figure}_before']:.3g} -> {heldout[figure]:.3g}" if figure in heldout else ""
        for figure in FIGURES
    ]
    memory = result["peak_memory_bytes"] / 1e9
    cells = [name, STAGES[name][-1]["data"], *figures, f"{result['seconds']:.0f}", f"{memory:.1f}"]
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
