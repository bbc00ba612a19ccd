"""Our figures beside those of the reference tools, called directly on the same real answers.

python perf/parity.py --data DIR          # the table of docs/scoring.md; about a minute
python perf/parity.py --data DIR --no-model

DIR holds ref_selfinstruct/test.jsonl (252 instructions, a model's answers, people's answers) and
ppl_c4/c4.jsonl; left out: $ADAPTER_ARENA_DATA.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
from bert_score import BERTScorer
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF, TER
from scipy import stats

from toolkit.metrics import intervals, tools
from toolkit.metrics.bertscore import BertScore
from toolkit.metrics.text import Bleu, Chrf, Rouge, Ter

MODEL = "smollm2-135m-instruct"
WRITER = "davinci-self-instruct"

FEW = 60
"""Texts for what takes long: TER, BERTScore."""

Line = tuple[str, str, float, float]
"""Figure, reference tool, ours, theirs."""


def texts(data: Path) -> tuple[list[str], list[str]]:
    rows = [
        json.loads(line) for line in (data / "ref_selfinstruct/test.jsonl").read_text().strip().split("\n")
    ]
    return [row["outputs"][WRITER] for row in rows], [row["reference"] for row in rows]


def text_lines(said: list[str], known: list[str]) -> Iterator[Line]:
    ours = Rouge().compute(predictions=said, references=known)
    direct = [RougeScorer(list(tools.ROUGE)).score(ref, text) for text, ref in zip(said, known, strict=True)]
    for name in tools.ROUGE:
        yield name, "rouge-score", ours[name], float(np.mean([each[name].fmeasure for each in direct]))
    pairs = [known, [ref.lower() for ref in known]]
    several = [list(refs) for refs in zip(*pairs, strict=True)]
    for metric, tool, most in ((Bleu, BLEU, None), (Chrf, CHRF, None), (Ter, TER, FEW)):
        made = metric()
        ((name, value),) = made.compute(predictions=said[:most], references=known[:most]).items()
        yield name, "sacrebleu", value, tool().corpus_score(said[:most], [known[:most]]).score
        (value,) = made.compute(predictions=said[:most], references=several[:most]).values()
        theirs = tool().corpus_score(said[:most], [refs[:most] for refs in pairs]).score
        yield f"{name}, two references", "sacrebleu", value, theirs


def bertscore_lines(said: list[str], known: list[str]) -> Iterator[Line]:
    from toolkit.models import resolve_encoder

    kept = [(text, ref) for text, ref in zip(said, known, strict=True) if text.strip() and ref.strip()]
    said, known = [text for text, _ in kept], [ref for _, ref in kept]
    folder = resolve_encoder("all-minilm-l6-v2")
    for idf, layer in ((False, 4), (True, 4), (False, 6)):
        scorer = BERTScorer(
            model_type=folder, num_layers=layer, idf=idf, idf_sents=known if idf else None, nthreads=0
        )
        theirs = [float(part.double().mean()) for part in scorer.score(said, known)]
        ours = BertScore(layer=layer, idf=idf).compute(predictions=said, references=known)
        for name, value, other in zip(("precision", "recall", "F1"), ours.values(), theirs, strict=True):
            yield f"BERTScore {name}, layer {layer}{', IDF' if idf else ''}", "bert-score", value, other


def interval_lines() -> Iterator[Line]:
    exact = stats.binomtest(81, 263).proportion_ci(method="wilson")
    low, high = intervals.wilson(81, 263)
    yield "interval of 81 of 263, low", "scipy", low, exact.low
    yield "interval of 81 of 263, high", "scipy", high, exact.high
    left, right = np.ones(30), np.ones(30)
    right[:9], left[9] = 0, 0
    yield (
        "p of 9 gains, 1 loss",
        "scipy (exact McNemar)",
        intervals.mcnemar(left, right),
        (stats.binomtest(9, 10).pvalue),
    )


def model_lines(data: Path) -> Iterator[Line]:
    """Perplexity and bits per byte by lm-eval's rolling log-likelihood, in float32."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    from toolkit.data import Text
    from toolkit.metrics import measure_text_perplexity
    from toolkit.models import load_base
    from toolkit.recipe import ModelOptions

    pages = [
        json.loads(row)["text"] for row in (data / "ppl_c4/c4.jsonl").read_text().strip().split("\n")[:4]
    ]
    loaded = load_base(MODEL, ModelOptions(dtype="float32"))
    lm = HFLM(pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=1, max_length=512)
    requests = [Instance("loglikelihood_rolling", {}, (page,), 0) for page in pages]
    nats = -sum(lm.loglikelihood_rolling(requests, disable_tqdm=True))
    tokens = sum(len(loaded.tokenizer(page)["input_ids"]) for page in pages)
    numbered = [Text(id=str(i), text=page) for i, page in enumerate(pages)]
    perplexity, bits = measure_text_perplexity(loaded, numbered, contestant="c", window=512)
    yield "perplexity, windows of 512", "lm-eval", perplexity.value, float(np.exp(nats / tokens))
    size = sum(len(page.encode()) for page in pages)
    yield "bits per byte", "lm-eval", bits.value, nats / np.log(2) / size


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=os.environ.get("ADAPTER_ARENA_DATA"))
    parser.add_argument("--no-model", action="store_true", help="leave out what needs the language model")
    given = parser.parse_args()
    if given.data is None:
        parser.error("name the folder of data: --data DIR")
    said, known = texts(given.data)
    print("| figure | ours | reference tool | it says | difference |\n| --- | ---: | --- | ---: | ---: |")
    lines = [text_lines(said, known), bertscore_lines(said[:FEW], known[:FEW]), interval_lines()]
    for part in lines if given.no_model else [*lines, model_lines(given.data)]:
        for name, tool, ours, theirs in part:
            print(f"| {name} | {ours:.6f} | {tool} | {theirs:.6f} | {abs(ours - theirs):.0e} |", flush=True)


if __name__ == "__main__":
    main()
