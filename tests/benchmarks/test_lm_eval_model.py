"""Our wrapper answers lm-eval's requests with the figures of lm-eval's own."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from toolkit.benchmarks.lm_eval_model import LoadedLM
from toolkit.models import Loaded, load_base
from toolkit.progress import Progress
from toolkit.recipe import ModelOptions

WORDS = "the a cat dog sat ran on in mat park today again why how it is was".split()


@pytest.fixture(scope="module")
def tiny(tiny_model: Path) -> Loaded:
    return load_base(str(tiny_model), ModelOptions(device="cpu", dtype="float32"))


def sentences(count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(2, 14))) for _ in range(count)]


def likelihoods(pairs: list[tuple[str, str]]) -> list[Instance]:
    return [Instance("loglikelihood", {}, pair, 0) for pair in pairs]


def test_log_likelihoods_are_lm_evals(tiny: Loaded):
    contexts = sentences(12, 1)
    pairs = [(context, " " + ending) for context in contexts for ending in sentences(3, len(context))]
    pairs += [(context, letter) for context in contexts for letter in "ABCD"]  # one input, four answers
    pairs += [(contexts[0] + " x" * 700, " and so on")]  # longer than the context: cut from the left
    theirs = HFLM(pretrained=tiny.model, tokenizer=tiny.tokenizer, batch_size=4)
    expected = theirs.loglikelihood(likelihoods(pairs), disable_tqdm=True)
    found = LoadedLM(tiny).loglikelihood(likelihoods(pairs), disable_tqdm=True)
    assert [value for value, _ in found] == pytest.approx([value for value, _ in expected], abs=1e-3)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]


def test_beginnings_that_requests_share_are_read_once_and_change_no_figure(
    tiny: Loaded, monkeypatch: pytest.MonkeyPatch
):
    worked = " ".join(sentences(6, 8))
    contexts = [f"{worked} {question}" for question in sentences(6, 9)]
    pairs = [
        (context, f" {ending}") for context in contexts for ending in ("on the mat", "on the cat", "ran")
    ]
    theirs = HFLM(pretrained=tiny.model, tokenizer=tiny.tokenizer, batch_size=4)
    expected = theirs.loglikelihood(likelihoods(pairs), disable_tqdm=True)
    read: list[int] = []
    layer = tiny.model.get_input_embeddings()
    hook = layer.register_forward_hook(lambda _module, inputs, _made: read.append(inputs[0].numel()))
    try:
        found = LoadedLM(tiny).loglikelihood(likelihoods(pairs), disable_tqdm=True)
    finally:
        hook.remove()
    requested = sum(len(context + ending) for context, ending in pairs)
    assert sum(read) < requested / 4, "18 requests, 6 questions, 1 beginning"
    assert [value for value, _ in found] == pytest.approx([value for value, _ in expected], abs=1e-3)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]
    monkeypatch.setattr("toolkit.benchmarks.lm_eval_model.supports_custom_masks", lambda *_: False)
    plain = LoadedLM(tiny).loglikelihood(likelihoods(pairs), disable_tqdm=True)
    assert [value for value, _ in plain] == pytest.approx([value for value, _ in found], abs=1e-3)


def test_what_greedy_decoding_would_say_is_known(tiny: Loaded):
    model = LoadedLM(tiny)
    (reply,) = model.generate_until([Instance("generate_until", {}, ("the cat", {"max_gen_toks": 1}), 0)])
    ids = tiny.tokenizer("the cat" + reply)["input_ids"]
    ((_, greedy),) = model._loglikelihood_tokens([(None, ids[:-1], ids[-1:])])
    assert greedy


@pytest.mark.parametrize("requested", ["likelihoods", "texts"])
def test_progress_is_reported_to_the_end(requested: str, tiny: Loaded, progress_updates: list[Progress]):
    model = LoadedLM(tiny)
    model.work = "base: benchmark of a test"
    if requested == "likelihoods":
        model.loglikelihood(likelihoods([(text, " end") for text in sentences(9, 5)]), disable_tqdm=True)
    else:
        settings = {"until": ["z"], "max_gen_toks": 4}
        model.generate_until(
            [Instance("generate_until", {}, (text, settings), 0) for text in sentences(9, 5)]
        )
    assert {one.what for one in progress_updates} == {"base: benchmark of a test"}
    assert [one.done for one in progress_updates] == sorted({one.done for one in progress_updates})
    assert (progress_updates[-1].done, progress_updates[-1].total) == (9, 9)


@pytest.mark.parametrize("until", [[], ["a"], ["the", "\n"]])
def test_generated_texts_are_lm_evals(tiny: Loaded, until: list[str]):
    settings = {"until": until, "max_gen_toks": 24, "do_sample": False}
    requests = [Instance("generate_until", {}, (context, settings), 0) for context in sentences(9, 2)]
    theirs = HFLM(pretrained=tiny.model, tokenizer=tiny.tokenizer, batch_size=4)
    expected = theirs.generate_until(requests, disable_tqdm=True)
    assert LoadedLM(tiny).generate_until(requests) == expected


def test_sampled_texts_differ_between_repeats_and_not_between_runs(tiny: Loaded):
    settings = {"max_gen_toks": 12, "do_sample": True, "temperature": 0.9, "top_p": 0.95}
    requests = [Instance("generate_until", {}, ("the cat", settings), 0) for _ in range(4)]
    reply = LoadedLM(tiny, seed=3).generate_until(requests)
    assert len(set(reply)) > 1
    assert LoadedLM(tiny, seed=3).generate_until(requests) == reply


def test_settings_of_which_we_know_nothing_are_left_to_lm_eval(tiny: Loaded):
    settings = {"max_gen_toks": 8, "do_sample": False, "repetition_penalty": 1.3}
    requests = [Instance("generate_until", {}, (context, settings), 0) for context in sentences(3, 4)]
    theirs = HFLM(pretrained=tiny.model, tokenizer=tiny.tokenizer, batch_size=16)
    assert LoadedLM(tiny).generate_until(requests) == theirs.generate_until(requests, disable_tqdm=True)


def test_sixteen_bit_likelihoods_are_rounded_as_lm_evals_are(tiny_model: Path):
    half = load_base(str(tiny_model), ModelOptions(device="cpu", dtype="bfloat16"))
    pairs = [(context, " " + ending) for context in sentences(6, 5) for ending in sentences(2, len(context))]
    theirs = HFLM(pretrained=half.model, tokenizer=half.tokenizer, batch_size=4)
    expected = [value for value, _ in theirs.loglikelihood(likelihoods(pairs), disable_tqdm=True)]
    found = [value for value, _ in LoadedLM(half).loglikelihood(likelihoods(pairs), disable_tqdm=True)]
    assert torch.tensor(found).bfloat16().tolist() == found  # as coarse as theirs
    assert found == pytest.approx(expected, rel=0.02)
