"""How fast stages train, beside the chapter's recipe ported to today's TRL, and which change gave what.

    python perf/training.py                       # SFT: tokens/s, peak memory, held-out loss for the same tokens
    python perf/training.py --method dpo          # DPO: pairs/s
    python perf/training.py --rounds 3 --steps 12

The port: LoRA r=64, alpha 32, dropout 0.1 on all seven projections, 2 rows x 4 accumulated, gradient checkpointing,
float32, cosine schedule. Each line below it adds one change to the line before. Every case is a fresh process on the
demo's data and model; 8 rows a step; the first step is left out of the timing; medians over the rounds.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

MODEL = "smollm2-135m-instruct"
HELDOUT = 16
CHANGES = {
    "port": "the chapter's recipe, ported",
    "whole": "no gradient checkpointing",
    "blocks": "large blocks kept by the allocator",
    "bf16": "bfloat16 autocast",
    "eager": "plain attention instead of sdpa",
    "batch": "8 rows at once, of like length",
    "head": "learned tokens only in the output layer",
    "held": "frozen weights held in bfloat16",
    "reference": "reference log-probabilities precomputed",
}
FOR = {"sft": list(CHANGES)[:-1], "dpo": list(CHANGES)}


def train(method: str, on: set[str], steps: int, seed: int) -> dict[str, float]:
    """Train for some steps with these changes on; what it took and what came of it."""
    import torch
    from transformers import AutoModelForCausalLM, set_seed

    from toolkit.models import allocator, resolve_base
    from toolkit.models.loading import load_tokenizer
    from toolkit.train.head import hold_frozen_weights_in, score_learned_tokens_only

    set_seed(seed)
    if "blocks" in on:
        allocator.prefer_large_blocks()
    folder = resolve_base(MODEL)
    attention = "eager" if "eager" in on else "sdpa"
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation=attention)
    with tempfile.TemporaryDirectory() as scratch:
        trainer = made(method, on, model, load_tokenizer(folder), options(on, steps, seed, scratch))
        if "head" in on:
            score_learned_tokens_only(trainer.model)
        if "held" in on:
            hold_frozen_weights_in(trainer.model, torch.bfloat16)
        clock = Clock()
        trainer.add_callback(clock.callback())
        begun = time.perf_counter()
        trainer.train()
        prepared = clock.begun - begun if "reference" in on else 0.0
        loss = trainer.evaluate()["eval_loss"]
        tokens = [entry["num_tokens"] for entry in trainer.state.log_history if "num_tokens" in entry]
    amount = tokens[steps - 1] - tokens[0] if method == "sft" else 8 * (steps - 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"speed": amount / (clock.seconds + prepared), "memory": peak, "loss": loss}


class Clock:
    """Seconds of all steps but the first, which warms up."""

    def __init__(self) -> None:
        self.begun = self.seconds = self.started = 0.0
        self.steps = 0

    def callback(self) -> Any:
        from transformers import TrainerCallback

        clock = self

        class Timed(TrainerCallback):
            def on_train_begin(self, *_: Any, **__: Any) -> None:
                clock.begun = time.perf_counter()

            def on_step_end(self, *_: Any, **__: Any) -> None:
                clock.steps += 1
                if clock.steps == 1:
                    clock.started = time.perf_counter()
                clock.seconds = time.perf_counter() - clock.started

        return Timed()


def options(on: set[str], steps: int, seed: int, scratch: str) -> dict[str, Any]:
    """The trainer's fields, but for the method's own."""
    rows = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    if "batch" in on:
        rows = {"per_device_train_batch_size": 8, "train_sampling_strategy": "group_by_length"}
    return {
        "output_dir": scratch,
        "max_steps": steps,
        "learning_rate": 2e-4,
        "lr_scheduler_type": "cosine",
        "max_length": 512,
        "gradient_checkpointing": "whole" not in on,
        "bf16": "bf16" in on,
        "use_cpu": True,
        "save_strategy": "no",
        "report_to": "none",
        "logging_steps": 1,
        "disable_tqdm": True,
        "seed": seed,
        **rows,
    }


def made(method: str, on: set[str], model: Any, tokenizer: Any, fields: dict[str, Any]) -> Any:
    """The trainer, on the demo's rows; the last ones are held out."""
    from datasets import Dataset
    from peft import LoraConfig
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

    from toolkit import recipe
    from toolkit.data import Conversation, Preference, load_rows
    from toolkit.train import dpo

    demo = recipe.load("demo")
    rows = load_rows(demo.data[demo.stage(method).data]).rows
    lora = LoraConfig(
        r=64, lora_alpha=32, lora_dropout=0.1, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    if method == "dpo":
        data = dpo.dataset([row for row in rows if isinstance(row, Preference)])
        config: Any = DPOConfig(beta=0.1, precompute_ref_log_probs="reference" in on, **fields)
        trainer: Any = DPOTrainer
    else:
        turns = [[t.as_dict() for t in row.messages] for row in rows if isinstance(row, Conversation)]
        data = Dataset.from_dict({"prompt": [t[:-1] for t in turns], "completion": [t[-1:] for t in turns]})
        config, trainer = SFTConfig(**fields), SFTTrainer
    cut = len(data) - HELDOUT
    return trainer(
        model=model,
        args=config,
        train_dataset=data.select(range(cut)),
        eval_dataset=data.select(range(cut, len(data))),
        processing_class=tokenizer,
        peft_config=lora,
    )


def measure(method: str, changes: list[str], options: argparse.Namespace) -> dict[str, float]:
    command = [
        sys.executable,
        __file__,
        "--method",
        method,
        "--case",
        *changes,
        "--steps",
        str(options.steps),
    ]
    found = []
    for seed in range(options.rounds):
        done = subprocess.run([*command, "--seed", str(seed)], check=True, capture_output=True, text=True)
        found.append(json.loads(done.stdout.splitlines()[-1]))
    return {key: statistics.median(run[key] for run in found) for key in found[0]}


def table(method: str, options: argparse.Namespace) -> None:
    unit = {"sft": "tokens/s", "dpo": "pairs/s"}[method]
    print(f"\n{method}, {options.steps} steps of 8 rows, median of {options.rounds}\n")
    print(f"| | {unit} | against the port | peak memory, GB | held-out loss |")
    print("| --- | ---: | ---: | ---: | ---: |")
    names = FOR[method]
    places = range(len(names)) if not options.ends else (0, len(names) - 1)
    first = 0.0
    for place in places:
        run = measure(method, names[: place + 1], options)
        first = first or run["speed"]
        title = CHANGES[names[place]] if place == 0 or not options.ends else "all changes"
        cells = [f"{run['speed']:.3g}", f"{run['speed'] / first:.2f}x", f"{run['memory'] / 1e9:.1f}"]
        print(
            f"| {'+ ' if place else ''}{title} | " + " | ".join([*cells, f"{run['loss']:.3f}"]) + " |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--method", choices=list(FOR), default="sft")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--ends", action="store_true", help="only the port and everything together")
    parser.add_argument("--case", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        print(json.dumps(train(options.method, set(options.case), options.steps, options.seed)))
        return
    table(options.method, options)


if __name__ == "__main__":
    main()
