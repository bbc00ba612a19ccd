"""Fast paths give what the library's plain path gives, on every listed type; others take the plain path."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from peft import LoraConfig, PrefixTuningConfig, get_peft_model

from tests.tiny_types import TYPES, tiny_of
from toolkit.benchmarks.lm_eval_model import LoadedLM
from toolkit.generate.local import LocalSource, Prompt
from toolkit.models import Loaded, load_base
from toolkit.models.logprobs import Span, SplitModel, sum_nll
from toolkit.models.prefix_tree import PrefixTree, plain_logits
from toolkit.models.supported_types import (
    FAST_MODEL_TYPES,
    supports_custom_masks,
    supports_fast_paths,
    supports_split_head,
)
from toolkit.recipe import Generation, ModelOptions

TOLERANCE = 2e-4
"""Largest difference of a log-probability or logit, in fp32."""

WIDE: dict[str, Any] = {"vocab_size": 300, "eos_token_id": 0, "bos_token_id": 1, "pad_token_id": 0}
"""For the tiny tokenizer."""

WINDOWED = {kind for kind, fields in TYPES.items() if "sliding_window" in fields}


def model_of(kind: str, *, window: int = 4096) -> Any:
    """One with long windows, unless a short one is asked for."""
    fields = {"sliding_window": window} if kind in WINDOWED else {}
    return tiny_of(kind, **WIDE, **fields)


@pytest.fixture(scope="module")
def tiny(tiny_model: Path) -> Loaded:
    return load_base(str(tiny_model), ModelOptions(device="cpu", dtype="float32"))


def rows(seed: int, lengths: Sequence[int], common: int = 0) -> list[list[int]]:
    chooser = torch.Generator().manual_seed(seed)

    def draw(count: int) -> list[int]:
        return torch.randint(3, 300, (count,), generator=chooser).tolist()

    common_prefix = draw(common)
    return [common_prefix + draw(length) for length in lengths]


@torch.inference_mode()
def plain_nll(model: Any, span: Span) -> float:
    logits = model(input_ids=torch.tensor([list(span.ids)])).logits[0].double().log_softmax(-1)
    start = len(span.ids) - span.scored
    return -float(sum(logits[place - 1, span.ids[place]] for place in range(start, len(span.ids))))


@pytest.mark.parametrize("window", [8, 4096])
@pytest.mark.parametrize("common", [0, 24])
@pytest.mark.parametrize("kind", sorted(TYPES))
def test_likelihoods_are_those_of_one_text_at_a_time(kind: str, common: int, window: int):
    model = model_of(kind, window=window)
    spans = [Span(ids, min(5, len(ids) - 1)) for ids in rows(1, [3, 17, 40, 6, 40], common)]
    assert SplitModel(model).proven == (kind in FAST_MODEL_TYPES)
    assert sum_nll(model, spans) == pytest.approx([plain_nll(model, span) for span in spans], abs=TOLERANCE)


def texts(local: LocalSource, model: Any, prompts: list[Prompt], options: Generation) -> dict[str, str]:
    return {name: reply.text for name, reply in local.continue_prompts(model, prompts, options)}


@torch.inference_mode()
def plain_text(loaded: Loaded, model: Any, prompt: Prompt, count: int) -> str:
    """Greedy, token by token, without a cache."""
    ids, new = list(prompt.tokens), list[int]()
    for _ in range(count):
        token = int(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax())
        if token == 0:
            break
        ids, new = [*ids, token], [*new, token]
    return str(loaded.tokenizer.decode(new, skip_special_tokens=True))


@pytest.mark.matrix
@pytest.mark.parametrize("window", [8, 4096])
@pytest.mark.parametrize("common", [0, 24])
@pytest.mark.parametrize("kind", sorted(TYPES))
def test_texts_are_those_of_one_prompt_at_a_time_without_a_cache(
    tiny: Loaded, kind: str, common: int, window: int
):
    model = model_of(kind, window=window)
    loaded = dataclasses.replace(tiny, model=model)
    prompts = [Prompt(str(n), ids) for n, ids in enumerate(rows(2, [4, 21, 9], common))]
    expected = {prompt.id: plain_text(tiny, model, prompt, 12) for prompt in prompts}
    found = texts(LocalSource(loaded), model, prompts, Generation(max_new_tokens=12, batch_size=2))
    assert found == expected
    assert supports_custom_masks(model, 60) == (
        kind in FAST_MODEL_TYPES and (window > 60 or kind not in WINDOWED)
    )


KERNELS = [(kind, attention) for kind in sorted(FAST_MODEL_TYPES) for attention in ("eager", "sdpa")]
KERNELS.remove(("gemma2", "sdpa"))  # it caps its attention scores, which PyTorch's kernels cannot


@pytest.mark.parametrize(("kind", "attention"), KERNELS)
def test_trees_give_the_logits_of_each_prompt_alone(kind: str, attention: str):
    model = model_of(kind)
    model.set_attn_implementation(attention)
    prompts = [*rows(3, [5, 9, 30, 1], 20), *rows(4, [7, 26])]
    alone = torch.cat([plain_logits(model, prompt) for prompt in prompts])
    for limit in (8, 40, 1000):
        for members, logits in PrefixTree(model, prompts, limit).logits(set(range(len(prompts)))):
            torch.testing.assert_close(logits, alone[list(members)], atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize("kind", sorted(TYPES))
def test_lm_evals_requests_are_answered_as_its_own_wrapper_does(tiny: Loaded, kind: str):
    model = model_of(kind)
    loaded = dataclasses.replace(tiny, model=model)
    theirs = HFLM(pretrained=model, tokenizer=tiny.tokenizer, batch_size=1)
    contexts = [
        "a long beginning that all have in common " * c + "b" * n for c, n in ((2, 1), (2, 9), (0, 4))
    ]
    requested = [(context, choice) for context in contexts for choice in (" yes", " no, not at all")]
    requests = [Instance("loglikelihood", {}, pair, n) for n, pair in enumerate(requested)]
    ours = LoadedLM(loaded).loglikelihood(requests)
    expected = theirs.loglikelihood(requests, disable_tqdm=True)
    assert [value for value, _ in ours] == pytest.approx([value for value, _ in expected], abs=TOLERANCE)
    assert [greedy for _, greedy in ours] == [greedy for _, greedy in expected]
    until = [
        Instance("generate_until", {}, (context, {"until": ["zz"], "max_gen_toks": 6}), n)
        for n, context in enumerate(contexts)
    ]
    assert LoadedLM(loaded).generate_until(until) == theirs.generate_until(until, disable_tqdm=True)


def test_adapters_between_layers_are_proven_and_learned_prompts_are_not():
    lora = get_peft_model(model_of("llama"), LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM"))
    assert supports_fast_paths(lora)
    prefix = get_peft_model(
        model_of("llama"), PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    )
    assert not supports_fast_paths(prefix)
    spans = [Span(ids, 3) for ids in rows(1, [9, 12])]

    def alone(span: Span) -> float:
        with torch.inference_mode():
            logits = prefix(input_ids=torch.tensor([list(span.ids)])).logits[0, -len(span.ids) :].double()
        start = len(span.ids) - span.scored
        chosen = [logits.log_softmax(-1)[p - 1, span.ids[p]] for p in range(start, len(span.ids))]
        return -float(sum(chosen))

    assert sum_nll(prefix, spans) == pytest.approx([alone(span) for span in spans], abs=TOLERANCE)


def test_a_head_that_is_followed_by_a_cap_is_not_used_alone():
    assert supports_split_head(model_of("llama"))
    assert not supports_split_head(model_of("gemma2"))


SETTINGS = {"repetition_penalty": 1.9, "do_sample": True, "temperature": 0.7, "top_k": 5}


def test_a_models_own_sampling_is_taken_only_when_requested(tiny: Loaded, monkeypatch: pytest.MonkeyPatch):
    """The same on both paths: greedy by the recipe, whatever the model's settings say."""
    for kind in ("llama", "gpt_neox"):
        model = model_of(kind)
        loaded = dataclasses.replace(tiny, model=model)
        prompts = [Prompt(str(n), ids, seed=5) for n, ids in enumerate(rows(5, [6, 11]))]
        options = Generation(max_new_tokens=15)
        expected = {prompt.id: plain_text(tiny, model, prompt, 15) for prompt in prompts}
        for name, value in SETTINGS.items():
            monkeypatch.setattr(model.generation_config, name, value)
        assert texts(LocalSource(loaded), model, prompts, options) == expected
        before = model.generation_config.to_dict()
        own = texts(LocalSource(loaded), model, prompts, options.model_copy(update={"from_model": True}))
        assert own != expected
        assert model.generation_config.to_dict() == before
        theirs = {}
        for prompt in prompts:
            torch.manual_seed(5)
            ids = torch.tensor([prompt.tokens])
            made = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=15, eos_token_id=0)
            new = [token for token in made[0, ids.shape[1] :].tolist() if token != 0]
            theirs[prompt.id] = str(tiny.tokenizer.decode(new, skip_special_tokens=True))
        assert own == theirs
