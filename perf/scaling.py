"""How long a run takes on 1 GPU, 8 GPUs and several machines: an estimate, `python perf/scaling.py --help`.

Nothing is measured here. The steps are those of a real recipe (`toolkit.run.plan.plan_steps`), the seconds of
each follow from floating-point operations and bytes read by the formulas below, and steps are given out as
`adapter-arena run --on ray` gives them out: a GPU each, as soon as what they come after is done.
"""

from __future__ import annotations

import argparse
import heapq
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from toolkit.recipe import Recipe
from toolkit.run.cache import Step
from toolkit.run.folder import RunFolder
from toolkit.run.plan import plan_steps
from toolkit.run.resolve import Execution


@dataclass(frozen=True)
class Assumptions:
    """A 7B base in bfloat16 on GPUs like an A100; every figure is an option of the command."""

    parameters: float = 7e9
    flops: float = 312e12
    """Peak of a GPU, bfloat16."""
    bandwidth: float = 2.0e12
    """Bytes a second from a GPU's memory."""
    used_training: float = 0.35
    """Share of the peak that training reaches."""
    used_reading: float = 0.45
    """Share of the peak that reading prompts reaches (judge, perplexity, benchmarks)."""
    start: float = 60.0
    """Seconds until a step has its model in memory."""
    batch_here: int = 16
    """Answers at a time with transformers."""
    batch_server: int = 128
    """Answers at a time on a vLLM server."""
    rows: int = 10_000
    row_tokens: int = 500
    pairs: int = 5_000
    examples: int = 1_000
    prompt_tokens: int = 300
    answer_tokens: int = 200
    judge_tokens: int = 900
    benchmark_tokens: int = 5_000_000
    scaling: float = 0.9
    """What a further GPU adds to training by accelerate, of what the first gives."""


def seconds(step: Step, on: Assumptions, *, train_gpus: int, servers: int, parts: int) -> float:
    """How long a step takes on its GPU (training: on `train_gpus`)."""
    read = 2 * on.parameters / (on.flops * on.used_reading)
    # LoRA: forward, and backward through activations only (4 of the 6 operations a weight and token).
    learn = 4 * on.parameters / (on.flops * on.used_training * (1 + on.scaling * (train_gpus - 1)))
    kind, _, name = step.name.partition(" ")
    if kind == "train":
        tokens = on.rows * on.row_tokens if name == "sft" else on.pairs * 2 * on.row_tokens * 1.5  # reference
        return on.start + learn * tokens
    if kind == "answer":
        batch = on.batch_server * servers if servers else on.batch_here
        step_time = max(2 * on.parameters / on.bandwidth, 2 * on.parameters * on.batch_here / on.flops)
        decode = on.examples * on.answer_tokens / batch * step_time
        return (0 if servers else on.start) + decode + read * on.examples * on.prompt_tokens
    if kind == "judge":
        asked = 6 * on.examples * 2 * on.judge_tokens  # six pairs of four contestants, both orders
        return on.start + read * asked / parts if step.model else 5.0
    per_step = {"measure": on.examples * 500, "benchmark": on.benchmark_tokens}
    return on.start + read * per_step[kind] if kind in per_step else 10.0


def makespan(steps: Sequence[Step], cost: Mapping[str, float], gpus: int) -> float:
    """Seconds until all are done, a GPU a step with a model, others at once when their turn comes."""
    done: dict[str, float] = {}
    free = [0.0] * gpus
    for step in steps:  # the plan's order is one in which every step follows those it comes after
        ready = max((done[name] for name in step.depends_on), default=0.0)
        begin = max(ready, heapq.heappop(free)) if step.model else ready
        done[step.name] = begin + cost[step.name]
        if step.model:
            heapq.heappush(free, done[step.name])
    return max(done.values())


def typical(folder: Path) -> Execution:
    """Four contestants, two stages, benchmarks, a judge: the shape of the demo."""
    raw = {
        "name": "estimate",
        "base": "owner/base-7b",
        "data": {name: {"source": f"{name}.jsonl"} for name in ("rows", "pairs", "test")},
        "stages": [
            {"name": "sft", "method": "sft", "data": "rows"},
            {"name": "dpo", "method": "dpo", "start": "sft", "data": "pairs"},
        ],
        "contestants": {
            "base": {},
            "base-fewshot": {"prompt": [{"role": "system", "content": "As shown."}]},
            "sft": {"stage": "sft"},
            "dpo": {"stage": "dpo"},
        },
        "scoring": {"examples": "test", "benchmarks": [{"task": "mmlu"}]},
        "judge": {},
    }
    return _Estimated(Recipe.model_validate(raw), RunFolder(folder))


class _Estimated(Execution):
    """Makes a plan without a model or data at hand."""

    def weights(self, name: str) -> str:
        return name

    @property
    def data(self) -> dict[str, str]:
        return dict.fromkeys(self.recipe.data, "")


SETUPS = {
    "1 GPU, `run`": (1, 1, 0),
    "1 GPU, answers by vLLM": (1, 1, 1),
    "8 GPUs, `run --on ray`": (8, 1, 0),
    "8 GPUs, `accelerate launch` for training, then `run --on ray`": (8, 8, 0),
    "4 machines of 8 GPUs, the same": (32, 8, 0),
    "4 machines of 8 GPUs, answers by 8 vLLM servers": (32, 8, 8),
}
"""GPUs for steps, GPUs for one training, vLLM servers for answers."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in vars(Assumptions()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    on = Assumptions(**vars(parser.parse_args()))
    print(on, end="\n\n")
    print("| machines | training | answers | the rest | in all, minutes | GPU hours |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder:
        for name, (gpus, train_gpus, servers) in SETUPS.items():
            steps = plan_steps(typical(Path(folder)), judges=gpus)
            parts = max(1, gpus)
            cost = {
                step.name: seconds(step, on, train_gpus=train_gpus, servers=servers, parts=parts)
                for step in steps
            }
            kinds = {"train": 0.0, "answer": 0.0, "rest": 0.0}
            for step in steps:
                kind = step.name.partition(" ")[0]
                kinds[kind if kind in kinds else "rest"] += cost[step.name]
            whole = makespan(steps, cost, gpus)
            used = kinds["train"] * train_gpus + kinds["answer"] * max(1, servers) + kinds["rest"]
            parts_of = " | ".join(f"{kinds[kind] / 60:.0f}" for kind in ("train", "answer", "rest"))
            print(f"| {name} | {parts_of} | {whole / 60:.0f} | {used / 3600:.1f} |")


if __name__ == "__main__":
    main()
