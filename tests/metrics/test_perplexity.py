"""Perplexity agrees with lm-eval and with a plain loop, and holds no logits of whole texts."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from toolkit.data.chat import render
from toolkit.data.formats import Text
from toolkit.errors import DataError
from toolkit.metrics import score
from toolkit.metrics.perplexity import measure_perplexity, measure_text_perplexity, windows
from toolkit.models import Loaded, batch_size, load_base, logprobs
from toolkit.models.logprobs import Span, sum_nll
from toolkit.progress import Progress
from toolkit.recipe import ModelOptions
from toolkit.types import Example, Message

TEXTS = [
    Text(id="long", text="It was a bright cold day in April, and the clocks were striking thirteen. " * 12),
    Text(id="short", text="Call me."),
    Text(id="empty", text=""),
    Text(id="other", text="Grüße aus Köln! " * 9),
]


@pytest.fixture(scope="module")
def tiny(tiny_model: Path) -> Loaded:
    return load_base(str(tiny_model), ModelOptions(device="cpu", dtype="float32"))


def plain_nll(model: torch.nn.Module, ids: list[int], scored: int) -> float:
    """One forward pass, all logits, the textbook's sum."""
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([ids])).logits[0].float().log_softmax(dim=-1)
    return -sum(float(logits[i - 1, ids[i]]) for i in range(len(ids) - scored, len(ids)))


def test_references_are_measured_given_their_prompt_end_token_included(tiny: Loaded):
    example = Example(id="e", messages=(Message(role="user", content="Say it."),), reference="It is said.")
    system = Message(role="system", content="Be brief.")
    perplexity, bits = measure_perplexity(tiny, [example], contestant="c", prompt=(system,))
    prompt = tiny.tokenizer(render(tiny.tokenizer, (system, *example.messages)))["input_ids"]
    answer = tiny.tokenizer("It is said.<|end|>")["input_ids"]
    expected = plain_nll(tiny.model, [*prompt, *answer], len(answer))
    assert len(answer) == len("It is said.") + 1
    assert perplexity.value == pytest.approx(math.exp(expected / len(answer)), rel=1e-5)
    assert bits.value == pytest.approx(expected / math.log(2) / len("It is said."), rel=1e-5)
    assert score(perplexity).n == 1


def test_progress_is_reported_to_the_end(
    tiny: Loaded, progress_updates: list[Progress], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(batch_size, "TOKENS", batch_size.Limit(200, 200))
    measure_text_perplexity(tiny, TEXTS, contestant="base", window=100)
    spans = progress_updates[-1].total
    assert spans > len(TEXTS)
    assert [one.done for one in progress_updates] == sorted({one.done for one in progress_updates})
    assert progress_updates[-1].done == spans
    assert {one.what for one in progress_updates} == {"base: perplexity"}
    assert len(progress_updates) > 1


def test_a_long_common_beginning_is_read_once_and_changes_no_figure(tiny: Loaded):
    worked = (Message(role="user", content="a long question " * 9), Message(role="assistant", content="yes"))
    requested = [
        Example(id=f"e{i}", messages=(Message(role="user", content="why " * (i + 1)),), reference="so " * i)
        for i in range(8)
    ]
    seen: list[int] = []
    hook = tiny.model.base_model.register_forward_pre_hook(
        lambda _module, _args, given: seen.append(given["input_ids"].numel()), with_kwargs=True
    )
    together = measure_perplexity(tiny, requested, contestant="c", prompt=worked)[0]
    read = sum(seen)
    alone = [measure_perplexity(tiny, [one], contestant="c", prompt=worked)[0].rows[0] for one in requested]
    hook.remove()
    assert [row[0] for row in together.rows] == pytest.approx([row[0] for row in alone], rel=1e-5)
    assert read < (sum(seen) - read) / 2


def test_examples_without_a_reference_are_left_out(tiny: Loaded):
    requested = (Message(role="user", content="?"),)
    known, unknown = Example(id="a", messages=requested, reference="yes"), Example(id="b", messages=requested)
    assert measure_perplexity(tiny, [known, unknown], contestant="c")[0].example_ids == ("a",)
    assert measure_perplexity(tiny, [unknown], contestant="c") == []


@pytest.mark.parametrize("window", [64, 200, 1024])
def test_texts_agree_with_lm_evals_rolling_log_likelihood(tiny: Loaded, window: int):
    lm = HFLM(pretrained=tiny.model, tokenizer=tiny.tokenizer, batch_size=1, max_length=window)
    known = [text for text in TEXTS if text.text]
    requests = [Instance("loglikelihood_rolling", {}, (text.text,), 0) for text in known]
    expected = [-found for found in lm.loglikelihood_rolling(requests, disable_tqdm=True)]
    perplexity, bits = measure_text_perplexity(tiny, TEXTS, contestant="c", window=window)
    assert perplexity.example_ids == ("long", "short", "other")
    assert [row[0] for row in perplexity.rows] == pytest.approx(expected, rel=1e-4)
    size = sum(len(text.text.encode()) for text in known)
    assert bits.value == pytest.approx(sum(expected) / math.log(2) / size, rel=1e-4)


def test_a_stride_agrees_with_the_usual_loop(tiny: Loaded):
    """The loop of the transformers documentation, with a start token so that the first token counts too."""
    (perplexity, _) = measure_text_perplexity(tiny, TEXTS[:1], contestant="c", window=100, stride=30)
    ids = [tiny.tokenizer.bos_token_id, *tiny.tokenizer(TEXTS[0].text)["input_ids"]]
    total, seen = plain_nll(tiny.model, ids[:101], 100), 101
    while seen < len(ids):
        end = min(seen + 30, len(ids))
        total += plain_nll(tiny.model, ids[end - 101 : end], end - seen)
        seen = end
    assert perplexity.rows[0][0] == pytest.approx(total, rel=1e-5)


@given(st.integers(1, 60), st.integers(1, 20), st.data())
def test_windows_score_every_token_once_in_order(size: int, length: int, data: st.DataObject):
    stride = data.draw(st.integers(1, length))
    ids = list(range(1, size + 1))
    spans = windows(ids, 0, length, stride)
    assert [token for span in spans for token in list(span.ids)[len(span.ids) - span.scored :]] == ids
    assert all(len(span.ids) <= length + 1 for span in spans)


def test_a_stride_beyond_the_window_leaves_gaps_and_is_refused(tiny: Loaded):
    with pytest.raises(DataError, match="stride 65"):
        measure_text_perplexity(tiny, TEXTS, contestant="c", window=64, stride=65)


def test_what_does_not_fit_the_models_context_is_refused(tiny: Loaded):
    room = tiny.model.config.max_position_embeddings
    with pytest.raises(DataError, match=f"window {room + 1}: the model's context is {room} tokens"):
        measure_text_perplexity(tiny, TEXTS, contestant="c", window=room + 1)
    requested = (Message(role="user", content="?"),)
    spent = len(tiny.tokenizer(render(tiny.tokenizer, requested))["input_ids"]) + 1  # and the end token
    fits, long = (Example(id="e", messages=requested, reference="x" * (room - spent + n)) for n in (1, 2))
    assert measure_perplexity(tiny, [fits], contestant="c")[0].rows[0][1] == room - spent + 2
    with pytest.raises(DataError, match=f"example e: question and reference of {room + 2} tokens"):
        measure_perplexity(tiny, [long], contestant="c")


def test_batches_and_pieces_change_nothing(tiny: Loaded, monkeypatch: pytest.MonkeyPatch):
    whole = measure_text_perplexity(tiny, TEXTS, contestant="c", window=64)[0]
    monkeypatch.setattr(batch_size, "TOKENS", batch_size.Limit(1, 1))
    monkeypatch.setattr(logprobs, "CHUNK_LOGITS", 1)
    alone = measure_text_perplexity(tiny, TEXTS, contestant="c", window=64)[0]
    for one, other in zip(whole.rows, alone.rows, strict=True):
        assert one == pytest.approx(other, rel=1e-5)


@pytest.mark.parametrize("family", ["gemma2", "granite", "cohere"])
def test_models_that_scale_or_cap_their_logits_are_measured_by_their_own(family: str):
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(
        family,
        vocab_size=120,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.5,
        pad_token_id=0,
    )
    for name, value in {"final_logit_softcapping": 3.0, "logits_scaling": 5.0, "logit_scale": 0.2}.items():
        if hasattr(config, name):
            setattr(config, name, value)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    ids = torch.randint(3, 120, (20,)).tolist()
    assert sum_nll(model, [Span(ids, 12)]) == pytest.approx([plain_nll(model, ids, 12)], rel=1e-4)


def test_no_logits_of_a_whole_text_are_made(tiny: Loaded, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(logprobs, "CHUNK_LOGITS", 259 * 16)
    made: list[int] = []
    head = tiny.model.get_output_embeddings()
    hook = head.register_forward_hook(lambda _module, _inputs, logits: made.append(logits.numel()))
    try:
        measure_text_perplexity(tiny, TEXTS, contestant="c")
    finally:
        hook.remove()
    assert max(made[2:]) <= 259 * 16  # the first two are the trial on 32 tokens


def test_the_adapter_named_is_the_one_measured(tiny: Loaded):
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    tuned = dataclasses.replace(
        tiny,
        model=get_peft_model(load_base(str(tiny.folder), ModelOptions(dtype="float32")).model, config, "sft"),
    )
    bare = measure_text_perplexity(tuned, TEXTS, contestant="base")[0].value
    assert bare == pytest.approx(measure_text_perplexity(tiny, TEXTS, contestant="base")[0].value, rel=1e-5)
    assert measure_text_perplexity(tuned, TEXTS, contestant="sft", adapter="sft")[0].value != pytest.approx(
        bare
    )
