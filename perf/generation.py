"""Tokens a second of greedy answers: ours, and transformers' `pipeline` asked one prompt at a time.

python perf/generation.py --data DIR               # float32 and bfloat16, five interleaved repetitions

DIR holds prompts_arenahard/v01.jsonl (left out: $ADAPTER_ARENA_DATA). Loading is not timed. Texts are
compared with those of the pipeline at the same number type.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from transformers import pipeline

from toolkit.generate import generate_completions
from toolkit.models import Loaded, load_base
from toolkit.recipe import Generation, ModelOptions
from toolkit.types import Example, Message

MODEL = "smollm2-135m-instruct"
TYPES = ("float32", "bfloat16")


def ours(loaded: Loaded, prompts: list[str], options: Generation) -> list[str]:
    examples = [
        Example(id=str(i), messages=(Message(role="user", content=p),)) for i, p in enumerate(prompts)
    ]
    with tempfile.TemporaryDirectory() as folder:
        reply = generate_completions(
            loaded, examples, contestant="c", options=options, out=Path(folder) / "c.jsonl"
        )
    return [completion.completion for completion in reply]


def one_at_a_time(pipe: Any, prompts: list[str], options: Generation) -> list[str]:
    requested = {"max_new_tokens": options.max_new_tokens, "do_sample": False, "return_full_text": False}
    return [
        str(pipe([{"role": "user", "content": prompt}], **requested)[0]["generated_text"])
        for prompt in prompts
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=os.environ.get("ADAPTER_ARENA_DATA"))
    parser.add_argument("--prompts", type=int, default=24)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("name the folder of data: --data DIR")
    rows = (arguments.data / "prompts_arenahard/v01.jsonl").read_text().strip().split("\n")
    prompts = [text for text in (json.loads(row)["prompt"] for row in rows) if len(text) < 400]
    prompts = prompts[: arguments.prompts]
    options = Generation(max_new_tokens=arguments.new_tokens, batch_size=arguments.batch_size)
    models = {dtype: load_base(MODEL, ModelOptions(dtype=dtype)) for dtype in TYPES}
    pipes = {
        dtype: pipeline("text-generation", model=loaded.model, tokenizer=loaded.tokenizer)
        for dtype, loaded in models.items()
    }
    ways = {(dtype, "ours"): lambda d=dtype: ours(models[d], prompts, options) for dtype in TYPES}
    ways |= {
        (dtype, "pipeline"): lambda d=dtype: one_at_a_time(pipes[d], prompts, options) for dtype in TYPES
    }
    rates: dict[tuple[str, str], list[float]] = {way: [] for way in ways}
    texts: dict[tuple[str, str], list[str]] = {}
    for loaded in models.values():
        ours(loaded, prompts[:1], Generation(max_new_tokens=2))
    for number in range(arguments.repeats):
        for way, generate in ways.items():
            began = time.perf_counter()
            texts[way] = generate()
            seconds = time.perf_counter() - began
            made = sum(len(models[way[0]].tokenizer(text)["input_ids"]) for text in texts[way])
            rates[way].append(made / seconds)
        latest = {" ".join(way): round(values[-1]) for way, values in rates.items()}
        print(f"repetition {number + 1}: {latest}", file=sys.stderr, flush=True)
    print(
        f"{len(prompts)} prompts, {arguments.new_tokens} new tokens at most, "
        f"batches of {arguments.batch_size}, {arguments.repeats} repetitions"
    )
    print(
        "| | tokens/s (median) | times pipeline, same type | times pipeline, float32 | texts as pipeline's |"
    )
    print("| --- | ---: | ---: | ---: | ---: |")
    for dtype, who in ways:
        same, full = (ratio(rates, (dtype, who), (other, "pipeline")) for other in (dtype, "float32"))
        pairs = zip(texts[dtype, who], texts[dtype, "pipeline"], strict=True)
        print(
            f"| {who}, {dtype} | {median(rates[dtype, who]):.0f} | {same:.1f} | {full:.1f} "
            f"| {sum(a == b for a, b in pairs)} of {len(prompts)} |"
        )


def ratio(rates: dict[tuple[str, str], list[float]], one: tuple[str, str], other: tuple[str, str]) -> float:
    """Median of the ratios within each repetition."""
    return median(a / b for a, b in zip(rates[one], rates[other], strict=True))


if __name__ == "__main__":
    main()
