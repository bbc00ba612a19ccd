"""How fast training is, and what makes it so: our defaults against the chapter's recipe in plain TRL.

python perf/training.py                     # sft, dpo and their parts, on the packaged tickets
python perf/training.py dpo --repeats 5
python perf/training.py sft --rows-from train.jsonl --heldout-from eval.jsonl

Both train the same rows once, at the same rank, from the same base, each training in a process of its own;
rounds of all variants follow each other, and figures are medians over rounds. The clock runs from rows in
memory to trained weights: making tokens and asking the reference count, loading the model does not. CPU
seconds say what the work took where other programs kept the cores busy. Held-out loss is that of the answers
(DPO: at the chapter's beta), measured alike for all, in fp32.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

BASE = "smollm2-135m-instruct"
BETA = 0.1
RANK = 64

SMALL = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
LOW = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 8, "gradient_checkpointing": True}

VARIANTS: dict[str, dict[str, Any]] = {
    "plain TRL": {"plain": True},
    "ours": {},
    "ours, low memory": {"trainer": LOW, "without": ["allocator"]},
    "ours in fp32": {"model": {"dtype": "float32"}},
    "ours, TRL's output layer": {"without": ["head"]},
    "ours, batch of 2 x 4": {"trainer": SMALL},
    "ours, rows in random order": {"trainer": {"train_sampling_strategy": "random"}},
    "ours, gradient checkpointing": {"trainer": {"gradient_checkpointing": True}},
    "ours, sdpa attention": {"model": {"attention": "sdpa"}},
    "ours, malloc as it is": {"without": ["allocator"]},
    "ours, reference at every step": {"trainer": {"precompute_ref_log_probs": False}},
}
"""What is trained: plain TRL, or ours with changes to the recipe and without some of its parts."""

MAIN = ["plain TRL", "ours", "ours, low memory"]
PARTS = {
    "sft": ["ours", *[name for name in VARIANTS if name not in MAIN and "reference" not in name]],
    "dpo": ["ours", *[name for name in VARIANTS if name not in MAIN and "rows in" not in name]],
}
ROWS = {
    "sft": ("package:tickets/sft.jsonl", "package:tickets/pairs-heldout.jsonl", 24),
    "dpo": ("package:tickets/pairs.jsonl", "package:tickets/pairs-heldout.jsonl", 16),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", nargs="*", help="of sft, dpo, sft-parts, dpo-parts")
    parser.add_argument("--rows", type=int, help="to train on")
    parser.add_argument("--rows-from", help="file of rows to train on")
    parser.add_argument("--heldout-from", help="file of rows to measure on")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", help=argparse.SUPPRESS)  # one training, in this process
    requested = parser.parse_args()
    if requested.one:
        print(json.dumps(one(json.loads(requested.one))))
        return
    for what in requested.what or ["sft", "dpo", "sft-parts", "dpo-parts"]:
        method, _, parts = what.partition("-")
        train, heldout, count = ROWS[method]
        work = {
            "method": method,
            "train": requested.rows_from or train,
            "heldout": requested.heldout_from or heldout,
            "rows": requested.rows or count,
        }
        names = PARTS[method] if parts else MAIN
        report(what, work, names, measure(work, names, requested.repeats, heldout=not parts))


def measure(work: dict[str, Any], names: list[str], repeats: int, *, heldout: bool) -> dict[str, list[Any]]:
    """Figures of every variant, round by round; held-out loss in the first round only."""
    found: dict[str, list[Any]] = {name: [] for name in names}
    for number in range(repeats):
        for name in names:
            task = work | {"variant": name, "measure": heldout and number == 0}
            done = subprocess.run(
                [sys.executable, __file__, "--one", json.dumps(task)],
                check=False,
                capture_output=True,
                text=True,
            )
            if done.returncode:
                sys.exit(f"{name}: {done.stderr}")
            found[name].append(json.loads(done.stdout.splitlines()[-1]))
            print(f"  {name}: {found[name][-1]}", file=sys.stderr, flush=True)
    return found


def report(what: str, work: dict[str, Any], names: list[str], found: dict[str, list[Any]]) -> None:
    """A Markdown table; speed is relative to its first row."""
    unit = "tokens/s" if work["method"] == "sft" else "pairs/s"
    print(f"\n{what}: {work['rows']} rows, median of {len(found[names[0]])} rounds\n")
    print(f"| variant | {unit} | lowest .. highest | times as fast | CPU seconds | peak memory, GB |", end="")
    print(" held-out loss |\n| --- |" + " ---: |" * 6)
    first = statistics.median(run["speed"] for run in found[names[0]])
    for name in names:
        speeds = sorted(run["speed"] for run in found[name])
        speed, memory = statistics.median(speeds), max(run["memory"] for run in found[name])
        loss = found[name][0].get("loss")
        cpu = statistics.median(run["cpu"] for run in found[name])
        cells = [name, f"{speed:.3g}", f"{speeds[0]:.3g} .. {speeds[-1]:.3g}", f"{speed / first:.2f}"]
        cells.append(f"{cpu:.0f}")
        print("| " + " | ".join([*cells, f"{memory / 1e9:.1f}", f"{loss:.3f}" if loss else ""]) + " |")
    sys.stdout.flush()


def one(task: dict[str, Any]) -> dict[str, float]:
    """Train one variant in this process: its speed, its peak memory and, if asked, its held-out loss."""
    from toolkit.data import load_rows
    from toolkit.models import bases, loading
    from toolkit.recipe import DataSource
    from toolkit.train.callbacks import peak_memory

    variant, method = VARIANTS[task["variant"]], task["method"]
    base = bases.resolve_base(BASE)
    rows = load_rows(DataSource(source=task["train"], limit=task["rows"])).rows
    with tempfile.TemporaryDirectory() as folder:
        if variant.get("plain"):
            from plain_port import train

            adapter = Path(folder)
            seconds, cpu = train(method, base, rows, adapter)
        else:
            adapter, seconds, cpu = _ours(task, variant, Path(folder))
        found = {"memory": float(peak_memory())}
        tokenizer = loading.load_tokenizer(base)
        work = sum(map(len, _spans(tokenizer, rows))) if method == "sft" else len(rows)
        found |= {"seconds": seconds, "speed": work / seconds, "cpu": cpu}
        if task["measure"]:
            heldout = load_rows(DataSource(source=task["heldout"], limit=40)).rows
            found["loss"] = _heldout_loss(method, base, adapter, tokenizer, heldout)
    return found


def _ours(task: dict[str, Any], variant: dict[str, Any], folder: Path) -> tuple[Path, float, float]:
    """Our own training at the rank and the length of the chapter; its adapter, seconds and CPU seconds."""
    from toolkit import recipe as recipes
    from toolkit.train import preference, sft, stage, train_stage

    nothing = lambda *_: None  # noqa: E731
    if "head" in variant.get("without", []):
        sft.install_target_logprob_head = preference.install_target_logprob_head = nothing
    if "allocator" in variant.get("without", []):
        from toolkit import compat

        compat.prefer_large_blocks = nothing
    trained = {
        "name": "s",
        "method": task["method"],
        "data": "rows",
        "heldout_share": 0,
        "adapter": {"r": RANK},
        "trainer": {"num_train_epochs": 1, "max_length": 512, "save_strategy": "no"}
        | variant.get("trainer", {}),
    }
    raw = {
        "name": "perf",
        "base": BASE,
        "model": {"device": "cpu"} | variant.get("model", {}),
        "data": {"rows": {"source": task["train"], "limit": task["rows"]}},
        "stages": [trained],
    }
    recipe = recipes.parse(raw, folder / "recipe.yaml")
    cpu = []

    class Timed(stage.TrainingLog):
        def __init__(self, file: Path) -> None:
            super().__init__(file)
            cpu.append(time.process_time())

        def result(self, name: str, method: str) -> Any:
            cpu.append(time.process_time())
            return super().result(name, method)

    stage.TrainingLog = Timed
    result = train_stage(recipe, recipe.stages[0], folder)
    return folder / "adapters" / "s", result.seconds, cpu[1] - cpu[0]


def _spans(tokenizer: Any, rows: list[Any]) -> list[list[int]]:
    from toolkit.data.chat import encode_conversation

    return [encode_conversation(tokenizer, row.messages, 512).input_ids for row in rows]


def _heldout_loss(method: str, base: Path, adapter: Path, tokenizer: Any, rows: list[Any]) -> float:
    """Mean over answer tokens (DPO: over pairs), of the base with the adapter."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from toolkit.data import chat
    from toolkit.data.formats import answer_of, prompt_of
    from toolkit.models.logprobs import Span, sum_nll

    def span(prompt: Any, answer: str) -> Span:
        learned = chat.answer_ids(tokenizer, prompt, answer)
        return Span([*chat.prompt_ids(tokenizer, prompt), *learned], len(learned))

    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), str(adapter)
    ).eval()
    if method == "sft":
        answers = [span(prompt_of(row), answer_of(row)) for row in rows]
        return sum(sum_nll(model, answers)) / sum(answer.scored for answer in answers)
    sides = [span(row.prompt, reply) for row in rows for reply in (row.chosen, row.rejected)]
    now = sum_nll(model, sides)
    with model.disable_adapter():
        before = sum_nll(model, sides)
    gains = torch.tensor([old - new for old, new in zip(before, now, strict=True)]).view(-1, 2)
    return float(-torch.nn.functional.logsigmoid(BETA * (gains[:, 0] - gains[:, 1])).mean())


if __name__ == "__main__":
    main()
