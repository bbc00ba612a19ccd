"""CPU seconds of the demo's steps with each hand-made path and with the library's own.

OMP_NUM_THREADS=1 python perf/fast_paths.py [judge] [answers] [benchmark] [perplexity] [sft] [dpo]

On the packaged model and some rows of the demo, variants in turn, medians of `--repeats`; the clock is the
CPU time of the process, so that other programs on the machine count little.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from transformers import GenerationConfig

from toolkit import io, recipe
from toolkit.data import load_examples
from toolkit.generate import local
from toolkit.judge.battles import build_battles
from toolkit.judge.logprob import LogprobJudge
from toolkit.judge.prompts import load_prompt
from toolkit.judge.verdicts import both_orders
from toolkit.models import load_base
from toolkit.models.logprobs import Span, SplitModel, sum_nll
from toolkit.recipe import Generation, Judge, ModelOptions
from toolkit.types import Completion, Message

DEMO = recipe.load("demo")
EXAMPLE = Path(__file__).parents[1] / "results" / "demo-example"
NO = lambda *_: False  # noqa: E731
Variants = dict[str, Callable[[], Any]]
"""Name -> what runs it; a number that it gives is its CPU seconds."""


def model() -> Any:
    return load_base(DEMO.base, ModelOptions(device="cpu"))


def judge() -> Variants:
    """Verdicts on the demo's battles of one example per pair."""
    files = sorted((EXAMPLE / "completions").glob("*.jsonl"))
    answers = {file.stem: list(io.read(file, Completion)) for file in files}
    questions = both_orders(build_battles(answers, Judge(reference=True, limit=1)))
    judge = LogprobJudge(model(), load_prompt("pairwise-reference"), reference=True)
    read = lambda: consume(judge.verdicts(questions, {}))  # noqa: E731
    without = patch("toolkit.judge.logprob.supports_custom_masks", NO)
    batches = patch("toolkit.models.prefix_tree.tree_logits", in_batches)
    return {
        "ours": read,
        "a common prefix, then padded batches": with_patches(read, batches),
        "one prompt at a time": with_patches(read, without),
    }


@torch.inference_mode()
def in_batches(model: Any, prompts: Any, requested: Any, rows: Any = None) -> Any:
    order = sorted(requested)
    spans = [Span([*prompts[i], 0], rows[i] if rows else 1) for i in order]
    reader = SplitModel(model)
    for batch, states in reader.batches(spans):
        yield [order[place] for place in batch], reader.logits(states).float()


def answers() -> Variants:
    """Answers of the base with worked examples to 6 held-out messages, 48 tokens at most."""
    loaded = model()
    examples = load_examples(DEMO.data["heldout"])[:6]
    source = local.LocalSource(loaded)
    options = Generation(max_new_tokens=48, batch_size=6)
    worked = io.read_json(EXAMPLE / "shots" / "base-fewshot.json")["prompt"]
    prompt = (*DEMO.contestants["base-fewshot"].prompt, *(Message(**turn) for turn in worked))
    prompts = [
        local.Prompt(each.id, local.prompt_ids(loaded.tokenizer, (*prompt, *each.messages)))
        for each in examples
    ]

    def padded() -> Any:
        width = max(len(prompt.tokens) for prompt in prompts)
        pad = loaded.tokenizer.pad_token_id
        ids = torch.tensor([[pad] * (width - len(each.tokens)) + each.tokens for each in prompts])
        mask = torch.tensor([[0] * (width - len(p.tokens)) + [1] * len(p.tokens) for p in prompts])
        settings = GenerationConfig(
            max_new_tokens=48, eos_token_id=sorted(local.end_tokens(loaded)), pad_token_id=pad
        )
        with torch.inference_mode():
            loaded.model.generate(input_ids=ids, attention_mask=mask, generation_config=settings)

    ours = lambda: consume(source.continue_prompts(loaded.model, prompts, options))  # noqa: E731
    return {"ours": ours, "generate, padded on the left": padded}


def benchmark() -> Variants:
    """The demo's multiple choice, 4 questions."""
    from toolkit.benchmarks import runner

    assert DEMO.scoring is not None
    task = DEMO.scoring.benchmarks[0].model_copy(update={"limit": 4})
    loaded = model()

    def run() -> Any:
        with tempfile.TemporaryDirectory() as folder:
            runner.run_benchmarks(loaded, [task], contestant="c", out=Path(folder) / "r.json")

    without = patch("toolkit.benchmarks.lm_eval_model.supports_fast_paths", NO)
    no_tree = patch("toolkit.benchmarks.lm_eval_model.supports_custom_masks", NO)
    return {"ours": run, "no tree": with_patches(run, no_tree), "lm-eval's": with_patches(run, without)}


def perplexity() -> Variants:
    """The likelihood of 8 references after the baseline's prompt."""
    rows = list(io.read(EXAMPLE / "completions" / "base.jsonl", Completion))[:8]
    prompt = DEMO.contestants["base-fewshot"].prompt
    loaded = model()
    spans = []
    for row in rows:
        ids = local.prompt_ids(loaded.tokenizer, (*prompt, *row.messages))
        answer = loaded.tokenizer(row.reference)["input_ids"]
        spans.append(Span([*ids, *answer], len(answer)))
    run = lambda: consume(sum_nll(loaded.model, spans))  # noqa: E731
    no_prefix = patch("toolkit.models.logprobs.common_prefix", lambda *_: [])
    no_head = patch("toolkit.models.logprobs.supports_split_head", NO)
    return {
        "ours": run,
        "each prefix again": with_patches(run, no_prefix),
        "all logits": with_patches(run, no_head),
    }


def sft() -> Variants:
    """8 rows of the demo's SFT stage."""
    return training("sft", 8, {"head": ["toolkit.train.sft.install_target_logprob_head"]})


def dpo() -> Variants:
    """4 pairs of the demo's DPO stage, from the base."""
    module = "toolkit.train.preference.install_"
    return training(
        "dpo", 4, {"head": [f"{module}target_logprob_head"], "cache": [f"{module}hidden_state_cache"]}
    )


def training(name: str, rows: int, parts: dict[str, list[str]]) -> Variants:
    from toolkit.train import stage as stages

    stage = DEMO.stage(name).model_copy(update={"start": "base", "heldout": None, "heldout_share": 0.0})
    data = DEMO.data | {stage.data: DEMO.data[stage.data].model_copy(update={"limit": rows})}
    changed = DEMO.model_copy(update={"stages": (stage,), "data": data})

    fit, seconds = stages._fit, list[float]()

    def timed(*args: Any, **options: Any) -> Any:
        began = time.process_time()
        try:
            return fit(*args, **options)
        finally:
            seconds.append(time.process_time() - began)

    def run() -> float:  # without loading the model, and what is published
        with tempfile.TemporaryDirectory() as folder, patch.object(stages, "_fit", timed):
            stages.train_stage(changed, stage, Path(folder))
        return seconds[-1]

    nothing = lambda *_: None  # noqa: E731
    without = {
        f"without {part}": with_patches(run, *(patch(n, nothing) for n in names))
        for part, names in parts.items()
    }
    return {"ours": run, **without}


def consume(values: Iterable[Any]) -> None:
    for _ in values:
        pass


def with_patches(run: Callable[[], Any], *patches: Any) -> Callable[[], Any]:
    def patched() -> Any:
        for each in patches:
            each.start()
        try:
            return run()
        finally:
            for each in patches:
                each.stop()

    return patched


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    steps = {each.__name__: each for each in (judge, answers, benchmark, perplexity, sft, dpo)}
    parser.add_argument("steps", nargs="*", help=f"of {', '.join(steps)}")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print("| step | variant | CPU seconds | times ours |\n| --- | --- | ---: | ---: |")
    for name in options.steps or steps:
        variants = steps[name]()
        seconds: dict[str, list[float]] = {variant: [] for variant in variants}
        for _ in range(options.repeats):
            for variant, run in variants.items():
                began = time.process_time()
                seconds[variant].append(run() or time.process_time() - began)
                print(f"{name}, {variant}: {seconds[variant][-1]:.1f}", file=sys.stderr, flush=True)
        for variant, each in seconds.items():
            ratio = median(a / b for a, b in zip(each, seconds["ours"], strict=True))
            print(f"| {name} | {variant} | {median(each):.1f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
