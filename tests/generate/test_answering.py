"""Answers: batching changes nothing, interrupted runs continue, and what ends an answer is recorded."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
import transformers

from tests.faultserver import Say, serving
from toolkit import records
from toolkit.data.chat import prompt_ids
from toolkit.errors import DataError, EndpointError
from toolkit.generate import Scripted, answer
from toolkit.generate.local import sample
from toolkit.generate.slots import suits
from toolkit.models import Loaded, load_base
from toolkit.recipe import Generation, ModelOptions
from toolkit.types import Completion, Example, Message


@pytest.fixture(scope="module")
def tiny(tiny_model: Path) -> Loaded:
    return load_base(str(tiny_model), ModelOptions(device="cpu", dtype="float32"))


def examples(count: int = 12) -> list[Example]:
    return [
        Example(id=f"e{i}", messages=(Message(role="user", content="word " * (i * 7 % 12 + 1) + str(i)),))
        for i in range(count)
    ]


def texts(completions: Sequence[Completion]) -> list[str]:
    return [completion.completion for completion in completions]


def shout(messages: Sequence[Message]) -> str:
    return messages[-1].content.upper()


def one_at_a_time(tiny: Loaded, example: Example, tokens: int) -> list[int]:
    """Greedy tokens by transformers' own generate, unbatched, without the end token."""
    ids = torch.tensor([prompt_ids(tiny.tokenizer, example.messages)])
    answer = tiny.model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False
    )
    return [token for token in answer[0, ids.shape[1] :].tolist() if token != tiny.tokenizer.eos_token_id]


def text_of(tiny: Loaded, tokens: list[int]) -> str:
    return str(tiny.tokenizer.decode(tokens, skip_special_tokens=True))


@pytest.mark.parametrize("batch_size", [1, 3, 12])
def test_greedy_text_is_that_of_transformers_one_at_a_time(tiny: Loaded, tmp_path: Path, batch_size: int):
    options = Generation(max_new_tokens=40, batch_size=batch_size)
    found = answer(tiny, examples(), contestant="base", options=options, out=tmp_path / "base.jsonl")
    expected = [one_at_a_time(tiny, example, 40) for example in examples()]
    assert texts(found) == [text_of(tiny, tokens) for tokens in expected]
    assert [completion.tokens for completion in found] == [len(tokens) for tokens in expected]


@pytest.mark.parametrize("batch_size", [1, 3, 12])
def test_a_long_common_beginning_is_read_once_and_changes_no_text(
    tiny: Loaded, tmp_path: Path, batch_size: int
):
    worked = (Message(role="user", content="a long question " * 12), Message(role="assistant", content="yes"))
    options = Generation(max_new_tokens=40, batch_size=batch_size)
    asked = [example.model_copy(update={"messages": (*worked, *example.messages)}) for example in examples()]
    expected = [text_of(tiny, one_at_a_time(tiny, example, 40)) for example in asked]
    out = tmp_path / "base.jsonl"
    read = 0

    def count(_module: torch.nn.Module, _args: object, given: dict[str, torch.Tensor]) -> None:
        nonlocal read
        read += given["input_ids"].numel() if given["input_ids"].shape[1] > 1 else 0

    hook = tiny.model.base_model.register_forward_pre_hook(count, with_kwargs=True)
    found = answer(tiny, examples(), contestant="base", prompt=worked, options=options, out=out)
    hook.remove()
    assert texts(found) == expected
    assert read < sum(len(prompt_ids(tiny.tokenizer, example.messages)) for example in asked)

    whole = out.read_bytes()
    out.write_bytes(b"".join(whole.splitlines(keepends=True)[3:8]))
    answer(tiny, examples(), contestant="base", prompt=worked, options=options, out=out)
    assert out.read_bytes() == whole


def test_an_answer_that_ends_itself_says_stop(tiny: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tokens = one_at_a_time(tiny, examples(1)[0], 8)
    options = Generation(max_new_tokens=8)
    (cut,) = answer(tiny, examples(1), contestant="a", options=options, out=tmp_path / "a.jsonl")
    assert (cut.finish, cut.tokens) == ("length", 8)
    end = next(i for i, token in enumerate(tokens) if token not in tokens[:i] and i > 1)
    monkeypatch.setattr(tiny.model.generation_config, "eos_token_id", [0, tokens[end]])
    (ended,) = answer(tiny, examples(1), contestant="b", options=options, out=tmp_path / "b.jsonl")
    assert (ended.finish, ended.tokens) == ("stop", end)
    assert ended.completion == text_of(tiny, tokens[:end])


def test_sampling_depends_on_the_seed_and_not_on_the_batch(tiny: Loaded, tmp_path: Path):
    def run(name: str, seed: int, batch_size: int) -> list[str]:
        options = Generation(max_new_tokens=12, temperature=0.8, top_p=0.9, batch_size=batch_size)
        return texts(
            answer(tiny, examples(), contestant="base", options=options, seed=seed, out=tmp_path / name)
        )

    assert (
        run("a", seed=1, batch_size=12) == run("b", seed=1, batch_size=5) != run("c", seed=2, batch_size=12)
    )


def test_stop_strings_end_an_answer_and_are_left_out(tiny: Loaded, tmp_path: Path):
    free = answer(
        tiny, examples(), contestant="a", options=Generation(max_new_tokens=30), out=tmp_path / "a.jsonl"
    )
    stop = free[0].completion[5:7]
    options = Generation(max_new_tokens=30, stop=(stop,))
    stopped = answer(tiny, examples(), contestant="b", options=options, out=tmp_path / "b.jsonl")
    assert texts(stopped) == [text.split(stop)[0] for text in texts(free)]
    assert stopped[0].finish == "stop"


def test_a_contestants_own_prompt_comes_first_and_is_not_recorded(tmp_path: Path):
    seen: list[Sequence[Message]] = []

    def script(messages: Sequence[Message]) -> str:
        seen.append(messages)
        return "fine"

    prompt = (Message(role="system", content="Be brief."),)
    found = answer(Scripted(script), examples(1), contestant="c", prompt=prompt, out=tmp_path / "c.jsonl")
    assert seen == [(*prompt, *examples(1)[0].messages)]
    assert found[0].messages == examples(1)[0].messages


FAMILY = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.3,
    "sliding_window": 128,
    "pad_token_id": 0,
}


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "gemma3_text"])
def test_model_families_fit_slots(family: str, attention: str):
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(family, **FAMILY)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval()
    prompt = torch.randint(3, 300, (40,)).tolist()
    assert suits(model, prompt, longest=100)
    assert suits(model, prompt, longest=100, common=prompt[:33])


def test_models_with_a_memory_of_their_own_do_not_fit_slots_and_are_asked_alone(tiny: Loaded, tmp_path: Path):
    torch.manual_seed(0)
    config = transformers.MambaConfig(vocab_size=259, hidden_size=32, num_hidden_layers=2, eos_token_id=0)
    model = transformers.MambaForCausalLM(config).eval()
    recurrent = dataclasses.replace(tiny, model=model)
    prompt = prompt_ids(tiny.tokenizer, examples(1)[0].messages)
    assert not suits(model, prompt, longest=100)

    def run(name: str, **options: float) -> list[str]:
        chosen = Generation(max_new_tokens=6, **options)
        return texts(
            answer(recurrent, examples(3), contestant="c", options=chosen, seed=1, out=tmp_path / name)
        )

    expected = [text_of(tiny, one_at_a_time(recurrent, example, 6)) for example in examples(3)]
    assert run("greedy") == expected
    assert run("one", temperature=0.7) == run("two", temperature=0.7)


def test_a_window_shorter_than_the_conversation_does_not_fit_slots():
    config = transformers.AutoConfig.for_model("mistral", **FAMILY)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    assert not suits(model, [5, 6, 7], longest=129)


class Crash(Exception):
    """Stands for a killed process."""


def crashing(script: Callable[[Sequence[Message]], str], after: int) -> Scripted:
    calls = 0

    def crash(messages: Sequence[Message]) -> str:
        nonlocal calls
        calls += 1
        if calls > after:
            raise Crash
        return script(messages)

    return Scripted(crash)


def test_an_interrupted_run_continues_and_ends_with_the_same_bytes(tmp_path: Path):
    whole, broken = tmp_path / "whole.jsonl", tmp_path / "broken.jsonl"
    answer(Scripted(shout), examples(), contestant="c", out=whole)
    with pytest.raises(Crash):
        answer(crashing(shout, after=5), examples(), contestant="c", out=broken)
    with broken.open("a") as file:
        file.write('{"example_id": "e5", "conte')  # the line that was being written
    assert len(list(records.read(broken, Completion))) == 5
    answer(crashing(shout, after=7), examples(), contestant="c", out=broken)
    assert broken.read_bytes() == whole.read_bytes()


def test_answers_to_something_else_are_not_taken_over(tmp_path: Path):
    out = tmp_path / "c.jsonl"
    answer(Scripted(shout), examples(3), contestant="c", out=out)
    with pytest.raises(DataError, match=r"c\.jsonl:1: an answer of c to e0, which is not what d is asked"):
        answer(Scripted(shout), examples(3), contestant="d", out=out)
    changed = [examples(1)[0].model_copy(update={"messages": (Message(role="user", content="else"),)})]
    with pytest.raises(DataError, match="remove the file"):
        answer(Scripted(shout), changed, contestant="c", out=out)


def test_examples_need_ids_of_their_own(tmp_path: Path):
    with pytest.raises(DataError, match="two examples have the id e0"):
        answer(Scripted(shout), examples(1) * 2, contestant="c", out=tmp_path / "c.jsonl")


def test_a_prompt_beyond_the_context_is_named(tiny: Loaded, tmp_path: Path):
    options = Generation(max_new_tokens=1000)
    with pytest.raises(DataError, match=r"example e\d+: a prompt of \d+ tokens and 1000 new ones"):
        answer(tiny, examples(2), contestant="c", options=options, out=tmp_path / "c.jsonl")


def test_a_long_scripted_answer_is_cut():
    script = Scripted(lambda _: "one two three")
    from toolkit.generate import Request

    request = Request("e", (), 0)
    ((_, reply),) = script.replies([request], set(), Generation(max_new_tokens=2))
    assert (reply.text, reply.finish, reply.tokens) == ("one two", "length", 2)


def test_nucleus_sampling_draws_from_the_smallest_likely_set():
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    options = Generation(temperature=1.0, top_p=0.7)
    draws = [sample(logits, options, torch.Generator().manual_seed(seed)) for seed in range(400)]
    assert set(draws) == {0, 1}
    assert 0.55 < draws.count(0) / 400 < 0.70  # 0.5 / 0.8


def echo(_number: int, request: dict) -> Say:
    return Say("re: " + str(request["messages"][-1]["content"]))


def test_an_endpoint_is_a_contestant_like_any_other(tmp_path: Path):
    with serving(echo) as server:
        found = answer(server.endpoint(), examples(), contestant="remote", out=tmp_path / "remote.jsonl")
    assert texts(found) == ["re: " + example.messages[-1].content for example in examples()]


def test_what_an_endpoint_answered_is_not_asked_again(tmp_path: Path):
    def refuses_one(_number: int, request: dict) -> Say:
        text = str(request["messages"][-1]["content"])
        return Say(status=400, body="too long") if text.endswith(" 7") else echo(_number, request)

    out = tmp_path / "remote.jsonl"
    with (
        serving(refuses_one) as server,
        pytest.raises(EndpointError, match="1 of 12 requests were refused, first example e7 with status 400"),
    ):
        answer(server.endpoint(), examples(), contestant="remote", out=out)
    with serving(echo) as server:
        answer(server.endpoint(), examples(), contestant="remote", out=out)
    assert [request["messages"][-1]["content"] for request in server.requests] == [
        examples()[7].messages[-1].content
    ]
