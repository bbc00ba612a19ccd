"""Our figures beside those of the reference tools, called directly on the same real answers.

python perf/parity.py --data DIR          # the table of docs/measurements.md; some minutes
python perf/parity.py --data DIR --no-model

DIR holds ref_selfinstruct/test.jsonl (252 instructions, models' answers, people's answers),
arena_gsm8k/model_solutions.jsonl (solutions that end in a number), and ppl_c4/c4.jsonl; left out:
$ADAPTER_ARENA_DATA. SQuAD's formulas are those of its descendant MLQA, whose script lm-eval ships.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF, TER
from scipy import stats

from toolkit.metrics import intervals, reference_scorers
from toolkit.metrics.text import Bleu, Chrf, Match, Rouge, Shape, Ter

MODEL = "smollm2-135m-instruct"
WRITER, BETTER = "davinci-self-instruct", "text-davinci-003"

SOLVER = "6b_finetuning"

FEW = 60
"""Texts for what takes long: TER, BERTScore."""

WINDOW = 512
"""Tokens a model sees at once."""

Line = tuple[str, str, float, float]
"""Figure, reference tool, ours, theirs."""


def load_rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().strip().split("\n")]


def texts(data: Path) -> tuple[list[str], list[str], list[str]]:
    """A model's answers, people's, and a better model's, which stand for further references."""
    rows = load_rows(data / "ref_selfinstruct/test.jsonl")
    reply, better = ([row["outputs"][name] for row in rows] for name in (WRITER, BETTER))
    return reply, [row["reference"] for row in rows], better


def text_lines(reply: list[str], known: list[str], further: list[str]) -> Iterator[Line]:
    several = [list(refs) for refs in zip(known, further, strict=True)]
    scorer = RougeScorer(list(reference_scorers.ROUGE))
    for more, references in (("", [[ref] for ref in known]), (", two references", several)):
        ours = Rouge().compute(predictions=reply, references=references)
        direct = [scorer.score_multi(refs, text) for text, refs in zip(reply, references, strict=True)]
        for name in reference_scorers.ROUGE:
            theirs = float(np.mean([each[name].fmeasure for each in direct]))
            yield f"{name}{more}", "rouge-score", ours[name], theirs
    for metric, tool, most in ((Bleu, BLEU, None), (Chrf, CHRF, None), (Ter, TER, FEW)):
        made = metric()
        ((name, value),) = made.compute(predictions=reply[:most], references=known[:most]).items()
        yield name, "sacrebleu", value, tool().corpus_score(reply[:most], [known[:most]]).score
        (value,) = made.compute(predictions=reply[:most], references=several[:most]).values()
        theirs = tool().corpus_score(reply[:most], [known[:most], further[:most]]).score
        yield f"{name}, two references", "sacrebleu", value, theirs


def match_lines(data: Path) -> Iterator[Line]:
    """Exact match of the last lines of solutions, and token F1 of whole ones."""
    from lm_eval.api.metrics import exact_match_hf_evaluate
    from lm_eval.tasks.mlqa.utils import exact_match_score, f1_score, normalize_answer

    rows = load_rows(data / "arena_gsm8k/model_solutions.jsonl")
    reply, known = [row[SOLVER]["solution"] for row in rows], [row["ground_truth"] for row in rows]
    ends, right = ([text.strip().split("\n")[-1] for text in side] for side in (reply, known))
    ours = Match().compute(predictions=ends, references=right)["exact_match"]
    theirs = exact_match_hf_evaluate(ends, right, ignore_case=True)["exact_match"]
    yield "exact match of last lines", "evaluate's, in lm-eval", ours, float(theirs)
    for figure, score, one, other in (
        ("exact_match", exact_match_score, ends, right),
        ("token_f1", f1_score, reply, known),
    ):
        ours = Match().compute(
            predictions=[normalize_answer(text, "en") for text in one],
            references=[normalize_answer(text, "en") for text in other],
        )[figure]
        theirs = np.mean([score(text, ref, "en") for text, ref in zip(one, other, strict=True)])
        yield f"{figure}, texts normalised as SQuAD's", "SQuAD's formula", ours, float(theirs)


def form_lines(reply: list[str]) -> Iterator[Line]:
    """Words and n-grams, counted one by one."""
    ours = Shape().compute(predictions=reply, references=reply)
    words = [text.split() for text in reply]
    yield "length_words", "plain count", ours["length_words"], sum(map(len, words)) / len(words)
    for name, size in (("distinct_1", 1), ("distinct_2", 2), ("repetition_4", 4)):
        shares = [_distinct(text, size) for text in words]
        share = sum(shares) / len(shares)
        yield name, "plain count", ours[name], 1 - share if name == "repetition_4" else share


def _distinct(words: list[str], size: int) -> float:
    seen, total = [], 0
    for start in range(len(words) - size + 1):
        gram = words[start : start + size]
        total += 1
        if gram not in seen:
            seen.append(gram)
    return len(seen) / total if total else 1.0


def bertscore_lines(reply: list[str], known: list[str]) -> Iterator[Line]:
    from bert_score import BERTScorer

    from toolkit.metrics.bertscore import BertScore
    from toolkit.models import resolve_encoder

    kept = [(text, ref) for text, ref in zip(reply, known, strict=True) if text.strip() and ref.strip()]
    reply, known = [text for text, _ in kept], [ref for _, ref in kept]
    folder = resolve_encoder("all-minilm-l6-v2")
    with tempfile.TemporaryDirectory() as place:
        baseline = Path(place) / "baseline.tsv"
        lines = [f"{layer},{0.2 + layer / 50},{0.25 + layer / 50},{0.3 + layer / 50}" for layer in range(7)]
        baseline.write_text("\n".join(["LAYER,P,R,F", *lines, ""]))
        for layer, idf, rescale in (
            (4, False, False),
            (4, True, False),
            (6, False, False),
            (6, True, False),
            (4, False, True),
            (4, True, True),
        ):
            scorer = BERTScorer(
                model_type=folder,
                num_layers=layer,
                idf=idf,
                idf_sents=known if idf else None,
                nthreads=0,
                lang="en",
                rescale_with_baseline=rescale,
                baseline_path=str(baseline) if rescale else None,
            )
            theirs = [float(part.double().mean()) for part in scorer.score(reply, known)]
            made = BertScore(layer=layer, idf=idf, rescale=baseline if rescale else False)
            ours = made.compute(predictions=reply, references=known)
            how = f"layer {layer}{', IDF' if idf else ''}{', rescaled' if rescale else ''}"
            for name, value, other in zip(("P", "R", "F1"), ours.values(), theirs, strict=True):
                yield f"BERTScore {name}, {how}", "bert-score", value, other


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
    """Perplexity and bits per byte of whole texts and of answers, in float32."""
    from lm_eval.api.instance import Instance
    from lm_eval.api.metrics import bits_per_byte, weighted_perplexity
    from lm_eval.models.huggingface import HFLM

    from toolkit.data import Text
    from toolkit.metrics import measure_perplexity, measure_text_perplexity
    from toolkit.models import load_base
    from toolkit.recipe import ModelOptions
    from toolkit.types import Example, Message

    pages = [row["text"] for row in load_rows(data / "ppl_c4/c4.jsonl")[:4]]
    loaded = load_base(MODEL, ModelOptions(dtype="float32"))
    model, tokenizer = loaded.model, loaded.tokenizer
    ids = [tokenizer(page)["input_ids"] for page in pages]
    numbered = [Text(id=str(i), text=page) for i, page in enumerate(pages)]
    perplexity, bits = measure_text_perplexity(loaded, numbered, contestant="c", window=WINDOW)

    lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1, max_length=WINDOW)
    requests = [Instance("loglikelihood_rolling", {}, (page,), 0) for page in pages]
    rolling = lm.loglikelihood_rolling(requests, disable_tqdm=True)
    by_token = weighted_perplexity([(sum_nll, len(each)) for sum_nll, each in zip(rolling, ids, strict=True)])
    yield f"perplexity, windows of {WINDOW}", "lm-eval", perplexity.value, float(by_token)
    by_byte = bits_per_byte([(n, len(page.encode())) for n, page in zip(rolling, pages, strict=True)])
    yield f"bits per byte, windows of {WINDOW}", "lm-eval", bits.value, float(by_byte)

    starts = [(tokenizer.bos_token_id, each) for each in ids]
    theirs = plain_perplexity(model, [part for start, each in starts for part in windows(start, each)])
    yield f"perplexity, windows of {WINDOW}", "plain transformers loop", perplexity.value, theirs

    some = load_rows(data / "ref_selfinstruct/test.jsonl")[:20]
    examples = [
        Example(
            id=str(i), messages=(Message(role="user", content=row["prompt"]),), reference=row["reference"]
        )
        for i, row in enumerate(some)
    ]
    answers = measure_perplexity(loaded, examples, contestant="c")[0].value
    chats = [
        [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["reference"]}]
        for row in some
    ]
    theirs = plain_perplexity(model, [answered(tokenizer, chat) for chat in chats])
    yield "perplexity of answers given questions", "plain transformers loop", answers, theirs


def windows(start: int, ids: Sequence[int]) -> Iterator[tuple[list[int], int]]:
    """Windows that follow each other, each with the token before it; all of their tokens are predicted."""
    for begin in range(0, len(ids), WINDOW):
        end = min(begin + WINDOW, len(ids))
        before = max(0, end - WINDOW - 1)
        yield ([start] if before == 0 and begin == 0 else []) + list(ids[before:end]), end - begin


def answered(tokenizer: Any, chat: list[dict[str, str]]) -> tuple[list[int], int]:
    """A question and its answer in the chat template, and how many tokens the answer has with its end."""
    whole = tokenizer.apply_chat_template(chat, tokenize=False).rstrip("\n")
    requested = tokenizer.apply_chat_template(chat[:1], tokenize=False, add_generation_prompt=True)
    ids, question = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (whole, requested))
    return ids, len(ids) - len(question)


def plain_perplexity(model: Any, parts: Sequence[tuple[list[int], int]]) -> float:
    """As transformers' documentation has it: one pass a part, all logits, the mean over the last tokens."""
    import torch

    sum_nll, tokens = 0.0, 0
    for ids, scored in parts:
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        places = range(len(ids) - scored, len(ids))
        sum_nll -= sum(float(logits[place - 1, ids[place]]) for place in places)
        tokens += scored
    return float(np.exp(sum_nll / tokens))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=os.environ.get("ADAPTER_ARENA_DATA"))
    parser.add_argument("--no-model", action="store_true", help="leave out what needs the language model")
    options = parser.parse_args()
    if options.data is None:
        parser.error("name the folder of data: --data DIR")
    reply, known, further = texts(options.data)
    print("| figure | ours | reference tool | it says | difference |\n| --- | ---: | --- | ---: | ---: |")
    lines = [text_lines(reply, known, further), match_lines(options.data), form_lines(reply)]
    lines += [bertscore_lines(reply[:FEW], known[:FEW]), interval_lines()]
    for part in lines if options.no_model else [*lines, model_lines(options.data)]:
        for name, tool, ours, theirs in part:
            print(f"| {name} | {ours:.6f} | {tool} | {theirs:.6f} | {abs(ours - theirs):.0e} |", flush=True)


if __name__ == "__main__":
    main()
