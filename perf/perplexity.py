"""Tokens a second of perplexity: ours, lm-eval's rolling log-likelihood, and the way of evaluate's metric.

python perf/perplexity.py --data DIR              # five interleaved repetitions, then the table
python perf/perplexity.py --data DIR --memory     # peak memory over the length of one text

DIR holds ppl_c4/c4.jsonl and ppl_wikitext2/valid.txt (left out: $ADAPTER_ARENA_DATA). All have the same
texts, windows, number type and loaded model, and start from text. evaluate's metric itself comes from the hub
and loads the model anew at each call; what is timed here is what it does then: batches of 16 in the order
given, padded to the longest, logits of every position, text beyond the window cut off.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from toolkit.data import Text
from toolkit.metrics import measure_text_perplexity
from toolkit.models import Loaded, load_base
from toolkit.recipe import ModelOptions

MODEL = "smollm2-135m-instruct"


def ours(loaded: Loaded, texts: Sequence[str], window: int) -> float:
    numbered = [Text(id=str(i), text=text) for i, text in enumerate(texts)]
    return measure_text_perplexity(loaded, numbered, contestant="c", window=window)[0].table[:, 0].sum()


def lm_eval(batch: int) -> Callable[[Loaded, Sequence[str], int], float]:
    def rolling(loaded: Loaded, texts: Sequence[str], window: int) -> float:
        lm = HFLM(pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=batch, max_length=window)
        requests = [Instance("loglikelihood_rolling", {}, (text,), 0) for text in texts]
        return -sum(lm.loglikelihood_rolling(requests, disable_tqdm=True))

    return rolling


@torch.no_grad()
def as_evaluate(loaded: Loaded, texts: Sequence[str], window: int) -> float:
    start = loaded.tokenizer.bos_token_id
    total = 0.0
    for begin in range(0, len(texts), 16):
        some = list(texts[begin : begin + 16])
        read = loaded.tokenizer(
            some, padding=True, truncation=True, max_length=window, return_tensors="pt", padding_side="right"
        )
        first = torch.full((len(some), 1), start)
        ids = torch.cat([first, read["input_ids"]], dim=1)
        mask = torch.cat([torch.ones_like(first), read["attention_mask"]], dim=1)
        logits = loaded.model(ids, attention_mask=mask).logits
        each = torch.nn.functional.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none")
        total += float((each * mask[:, 1:]).sum())
    return total


WAYS = {"ours": ours, "lm-eval, 1": lm_eval(1), "lm-eval, 8": lm_eval(8), "as evaluate": as_evaluate}


def speed(data: Path, dtype: str, texts: int, window: int, repeats: int) -> None:
    loaded = load_base(MODEL, ModelOptions(dtype=dtype))
    rows = (data / "ppl_c4/c4.jsonl").read_text().strip().split("\n")[:texts]
    pages = [json.loads(row)["text"] for row in rows]
    sizes = [len(loaded.tokenizer(page)["input_ids"]) for page in pages]
    tokens = {way: sum(sizes) for way in WAYS} | {"as evaluate": sum(min(size, window) for size in sizes)}
    ours(loaded, pages[:1], window)
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    sum_nll: dict[str, float] = {}
    for number in range(repeats):
        for way, measure in WAYS.items():
            began = time.perf_counter()
            sum_nll[way] = float(measure(loaded, pages, window))
            seconds[way].append(time.perf_counter() - began)
        latest = {way: round(tokens[way] / taken[-1]) for way, taken in seconds.items()}
        print(f"repetition {number + 1}: {latest}", file=sys.stderr, flush=True)
    print(f"{len(pages)} web pages, {sum(sizes)} tokens, window {window}, {dtype}, {repeats} repetitions")
    print("| | tokens/s (median) | ours is faster by | nats a token |\n| --- | ---: | ---: | ---: |")
    for way, taken in seconds.items():
        rates = [tokens[way] / each for each in taken]
        faster = [mine / theirs for mine, theirs in zip(_rates(seconds, tokens, "ours"), rates, strict=True)]
        print(f"| {way} | {median(rates):.0f} | {median(faster):.2f} | {sum_nll[way] / tokens[way]:.6f} |")


def _rates(seconds: dict[str, list[float]], tokens: dict[str, int], way: str) -> list[float]:
    return [tokens[way] / each for each in seconds[way]]


def memory(data: Path, dtype: str, window: int) -> None:
    """Each way in a process of its own, over texts of 1, 4 and 16 times the length."""
    print(f"GB of resident memory at the peak, the model among it; window {window}, {dtype}")
    print("| tokens in one text | ours | lm-eval, one window at a time | lm-eval, 8 windows at a time |")
    print("| ---: | ---: | ---: | ---: |")
    for characters in (8_000, 32_000, 128_000):
        cells: list[str] = []
        for way in ("ours", "lm-eval, 1", "lm-eval, 8"):
            command = [sys.executable, __file__, "--data", str(data), "--dtype", dtype, "--way", way]
            command += ["--window", str(window), "--characters", str(characters)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found = json.loads(done.stdout.splitlines()[-1])
            cells.append(f"{found['peak']:.2f}")
            print(f"{way}: {found}", file=sys.stderr, flush=True)
        print(f"| {found['tokens']} | {' | '.join(cells)} |", flush=True)


def one_text(data: Path, dtype: str, way: str, window: int, characters: int) -> None:
    """Measure one text, and print how long it was and what memory it took, in GB."""
    loaded = load_base(MODEL, ModelOptions(dtype=dtype))
    text = (data / "ppl_wikitext2/valid.txt").read_text()[:characters]
    WAYS[way](loaded, [text], window)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    print(json.dumps({"tokens": len(loaded.tokenizer(text)["input_ids"]), "peak": peak}))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=os.environ.get("ADAPTER_ARENA_DATA"))
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--texts", type=int, default=16)
    parser.add_argument("--window", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--characters", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.data is None:
        parser.error("name the folder of data: --data DIR")
    if options.way:
        one_text(options.data, options.dtype, options.way, options.window, options.characters)
    elif options.memory:
        memory(options.data, options.dtype, options.window)
    else:
        speed(options.data, options.dtype, options.texts, options.window, options.repeats)


if __name__ == "__main__":
    main()
