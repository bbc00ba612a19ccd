"""Answers: batching changes nothing, interrupted runs continue, and what ends an answer is recorded."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from tests.fault_server import Response, fault_server
from toolkit.data.chat import prompt_ids
from toolkit.errors import DataError, EndpointError
from toolkit.generate import Reply, Request, Scripted, generate_completions
from toolkit.generate.base import sampling
from toolkit.generate.local import sample
from toolkit.models import Loaded, load_base
from toolkit.models.supported_types import supports_custom_masks
from toolkit.recipe import Endpoint, Generation, ModelOptions
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


@pytest.mark.matrix
@pytest.mark.parametrize("batch_size", [1, 3, 12])
def test_greedy_text_is_that_of_transformers_one_at_a_time(tiny: Loaded, tmp_path: Path, batch_size: int):
    options = Generation(max_new_tokens=40, batch_size=batch_size)
    found = generate_completions(
        tiny, examples(), contestant="base", options=options, out=tmp_path / "base.jsonl"
    )
    expected = [one_at_a_time(tiny, example, 40) for example in examples()]
    assert texts(found) == [text_of(tiny, tokens) for tokens in expected]
    assert [completion.tokens for completion in found] == [len(tokens) for tokens in expected]


@pytest.mark.matrix
@pytest.mark.parametrize("batch_size", [1, 3, 12])
def test_a_long_common_beginning_is_read_once_and_changes_no_text(
    tiny: Loaded, tmp_path: Path, batch_size: int
):
    worked = (Message(role="user", content="a long question " * 12), Message(role="assistant", content="yes"))
    options = Generation(max_new_tokens=40, batch_size=batch_size)
    requested = [
        example.model_copy(update={"messages": (*worked, *example.messages)}) for example in examples()
    ]
    expected = [text_of(tiny, one_at_a_time(tiny, example, 40)) for example in requested]
    out = tmp_path / "base.jsonl"
    read = 0

    def count(_module: torch.nn.Module, _args: object, arguments: dict[str, torch.Tensor]) -> None:
        nonlocal read
        read += arguments["input_ids"].numel() if arguments["input_ids"].shape[1] > 1 else 0

    hook = tiny.model.base_model.register_forward_pre_hook(count, with_kwargs=True)
    found = generate_completions(tiny, examples(), contestant="base", prompt=worked, options=options, out=out)
    hook.remove()
    assert texts(found) == expected
    assert read < sum(len(prompt_ids(tiny.tokenizer, example.messages)) for example in requested)

    whole = out.read_bytes()
    (kept,) = (tmp_path / ".answers").iterdir()
    kept.write_bytes(b"".join(kept.read_bytes().splitlines(keepends=True)[4:9]))
    generate_completions(tiny, examples(), contestant="base", prompt=worked, options=options, out=out)
    assert out.read_bytes() == whole


def test_an_answer_that_ends_itself_finishes_by_stop(
    tiny: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    tokens = one_at_a_time(tiny, examples(1)[0], 8)
    options = Generation(max_new_tokens=8)
    (cut,) = generate_completions(
        tiny, examples(1), contestant="a", options=options, out=tmp_path / "a.jsonl"
    )
    assert (cut.finish, cut.tokens) == ("length", 8)
    end = next(i for i, token in enumerate(tokens) if token not in tokens[:i] and i > 1)
    monkeypatch.setattr(tiny.model.generation_config, "eos_token_id", [0, tokens[end]])
    (ended,) = generate_completions(
        tiny, examples(1), contestant="b", options=options, out=tmp_path / "b" / "b.jsonl"
    )
    assert (ended.finish, ended.tokens) == ("stop", end)
    assert ended.completion == text_of(tiny, tokens[:end])


def test_sampling_depends_on_the_seed_and_not_on_the_batch(tiny: Loaded, tmp_path: Path):
    def run(name: str, seed: int, batch_size: int) -> list[str]:
        options = Generation(max_new_tokens=12, temperature=0.8, top_p=0.9, batch_size=batch_size)
        return texts(
            generate_completions(
                tiny, examples(), contestant="base", options=options, seed=seed, out=tmp_path / name / "c"
            )
        )

    assert (
        run("a", seed=1, batch_size=12) == run("b", seed=1, batch_size=5) != run("c", seed=2, batch_size=12)
    )


def test_stop_strings_end_an_answer_and_are_left_out(tiny: Loaded, tmp_path: Path):
    free = generate_completions(
        tiny, examples(), contestant="a", options=Generation(max_new_tokens=30), out=tmp_path / "a.jsonl"
    )
    stop = free[0].completion[5:7]
    options = Generation(max_new_tokens=30, stop=(stop,))
    stopped = generate_completions(
        tiny, examples(), contestant="b", options=options, out=tmp_path / "b.jsonl"
    )
    assert texts(stopped) == [text.split(stop)[0] for text in texts(free)]
    assert stopped[0].finish == "stop"


def test_a_contestants_own_prompt_comes_first_and_is_not_recorded(tmp_path: Path):
    seen: list[Sequence[Message]] = []

    def script(messages: Sequence[Message]) -> str:
        seen.append(messages)
        return "fine"

    prompt = (Message(role="system", content="Be brief."),)
    found = generate_completions(
        Scripted(script), examples(1), contestant="c", prompt=prompt, out=tmp_path / "c.jsonl"
    )
    assert seen == [(*prompt, *examples(1)[0].messages)]
    assert found[0].messages == examples(1)[0].messages


def test_models_with_a_memory_of_their_own_do_not_fit_slots_and_run_alone(tiny: Loaded, tmp_path: Path):
    torch.manual_seed(0)
    config = transformers.MambaConfig(vocab_size=259, hidden_size=32, num_hidden_layers=2, eos_token_id=0)
    model = transformers.MambaForCausalLM(config).eval()
    recurrent = dataclasses.replace(tiny, model=model)
    assert not supports_custom_masks(model, longest=100)

    def run(name: str, **options: float) -> list[str]:
        chosen = Generation(max_new_tokens=6, **options)
        return texts(
            generate_completions(
                recurrent, examples(3), contestant="c", options=chosen, seed=1, out=tmp_path / name / "c"
            )
        )

    expected = [text_of(tiny, one_at_a_time(recurrent, example, 6)) for example in examples(3)]
    assert run("greedy") == expected
    assert run("one", temperature=0.7) == run("two", temperature=0.7)


class Crash(Exception):
    """Stands for a killed process."""


class Counting:
    """A source whose answers can be kept; counts the requests, and may crash after some."""

    def __init__(self, crash_after: int = 1000, **settings: object) -> None:
        self.crash_after, self.given, self.asked = crash_after, settings, list[str]()

    def replies(
        self, requests: Sequence[Request], done: Collection[str], options: Generation
    ) -> Iterator[tuple[Request, Reply]]:
        for request in requests:
            if request.id not in done:
                if len(self.asked) == self.crash_after:
                    raise Crash
                self.asked.append(request.id)
                yield request, Reply(shout(request.messages), "stop", 1)

    def settings(self, options: Generation) -> dict[str, object]:
        return {"engine": "test", **self.given, "sampling": sampling(options)}

    def metadata(self, options: Generation) -> dict[str, object]:
        return {}

    def rendered(self, request: Request) -> object:
        return [message.as_dict() for message in request.messages]


def test_an_interrupted_run_continues_and_ends_with_the_same_bytes(tmp_path: Path):
    whole, broken = tmp_path / "whole" / "c.jsonl", tmp_path / "broken" / "c.jsonl"
    generate_completions(Counting(), examples(), contestant="c", out=whole)
    with pytest.raises(Crash):
        generate_completions(Counting(5), examples(), contestant="c", out=broken)
    assert not broken.exists()
    (kept,) = (tmp_path / "broken" / ".answers").iterdir()
    with kept.open("a") as file:
        file.write('{"key": "e5", "repl')  # the line that was being written
    resumed = Counting()
    generate_completions(resumed, examples(), contestant="c", out=broken)
    assert broken.read_bytes() == whole.read_bytes()
    assert len(resumed.asked) == len(examples()) - 5


def requested_again(tmp_path: Path, count: int = 3, *, weights: str = "", **changes: Any) -> list[str]:
    """The ids of the examples that are asked after a change, of three that were answered before."""
    generate_completions(Counting(), examples(3), contestant="c", out=tmp_path / "c.jsonl")
    counting = Counting(weights=weights) if weights else Counting()
    arguments: dict[str, Any] = {"contestant": "c", "out": tmp_path / "c.jsonl"} | changes
    generate_completions(counting, arguments.pop("examples", examples(count)), **arguments)
    return counting.asked


def test_only_what_shapes_an_answer_has_it_requested_again(tmp_path: Path):
    corrected = [
        example.model_copy(update={"reference": "better", "category": "x"}) for example in examples(3)
    ]
    for same in (
        {"examples": corrected},
        {"options": Generation(batch_size=2)},
        {"seed": 7},  # greedy
        {"contestant": "renamed", "out": tmp_path / "renamed.jsonl"},
        {"examples": examples(2)},
    ):
        assert requested_again(tmp_path, **same) == []
    assert requested_again(tmp_path, 4) == ["e3"]
    other = (Message(role="user", content="else"),)
    changed = [examples(1)[0].model_copy(update={"messages": other}), *examples(3)[1:]]
    assert requested_again(tmp_path, examples=changed) == ["e0"]
    everything = ["e0", "e1", "e2"]
    prompt = (Message(role="system", content="Be brief."),)
    for shaping in (
        {"options": Generation(max_new_tokens=9)},
        {"options": Generation(stop=("x",))},
        {"options": Generation(temperature=0.5)},
        {"prompt": prompt},
        {"weights": "other"},
    ):
        assert requested_again(tmp_path, **shaping) == everything
        assert requested_again(tmp_path, **shaping) == [], "going back finds the earlier answers"
    assert requested_again(tmp_path, options=Generation(temperature=0.5), seed=1) == everything


def test_a_line_of_the_store_that_was_edited_is_requested_again(tmp_path: Path):
    generate_completions(Counting(), examples(3), contestant="c", out=tmp_path / "c.jsonl")
    (kept,) = (tmp_path / ".answers").iterdir()
    lines = kept.read_text().splitlines(keepends=True)
    kept.write_text("".join([*lines[:2], lines[2].replace("WORD", "WARD"), "{broken}\n", *lines[3:]]))
    whole = (tmp_path / "c.jsonl").read_bytes()
    assert requested_again(tmp_path) == []
    again = Counting()
    kept.write_text("".join([*lines[:2], lines[2].replace("WORD", "WARD"), *lines[3:]]))
    generate_completions(again, examples(3), contestant="c", out=tmp_path / "c.jsonl")
    assert again.asked == ["e1"]
    assert (tmp_path / "c.jsonl").read_bytes() == whole


def test_a_file_of_somebody_else_is_not_replaced(tmp_path: Path):
    out = tmp_path / "c.jsonl"
    generate_completions(Scripted(shout), examples(3), contestant="c", out=out)
    with pytest.raises(DataError, match=r"c\.jsonl:1: a completion of c, and not of d; remove the file"):
        generate_completions(Scripted(shout), examples(3), contestant="d", out=out)
    out.write_text('{"prompt": "a training row"}\n')
    with pytest.raises(DataError, match=r"c\.jsonl:1"):
        generate_completions(Scripted(shout), examples(3), contestant="c", out=out)


def test_weights_adapter_and_number_type_are_part_of_the_key(tiny: Loaded):
    from toolkit.generate.local import LocalSource

    options = Generation()
    plain = LocalSource(tiny).settings(options)
    tiny.adapter_fingerprints["x"] = "1"
    variants = [
        LocalSource(tiny, "x"),
        LocalSource(dataclasses.replace(tiny, quantization="nf4")),
        LocalSource(
            dataclasses.replace(tiny, hardware=dataclasses.replace(tiny.hardware, dtype=torch.bfloat16))
        ),
    ]
    assert all(variant.settings(options) != plain for variant in variants)
    on_gpu = dataclasses.replace(tiny.hardware, device=torch.device("cuda", 1), attention="eager")
    assert LocalSource(dataclasses.replace(tiny, hardware=on_gpu)).settings(options) == plain


def test_examples_need_ids_of_their_own(tmp_path: Path):
    with pytest.raises(DataError, match="two examples have the id e0"):
        generate_completions(Scripted(shout), examples(1) * 2, contestant="c", out=tmp_path / "c.jsonl")


def test_a_prompt_beyond_the_context_is_named(tiny: Loaded, tmp_path: Path):
    options = Generation(max_new_tokens=1000)
    with pytest.raises(DataError, match=r"example e\d+: a prompt of \d+ tokens and 1000 new ones"):
        generate_completions(tiny, examples(2), contestant="c", options=options, out=tmp_path / "c.jsonl")


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


def echo(_number: int, request: dict) -> Response:
    return Response("re: " + str(request["messages"][-1]["content"]))


def test_an_endpoint_is_a_contestant_like_any_other(tmp_path: Path):
    with fault_server(echo) as server:
        found = generate_completions(
            server.endpoint(), examples(), contestant="remote", out=tmp_path / "remote.jsonl"
        )
    assert texts(found) == ["re: " + example.messages[-1].content for example in examples()]


def test_what_an_endpoint_answered_is_not_requested_again(tmp_path: Path):
    refusing = True

    def refuses_one(_number: int, request: dict) -> Response:
        text = str(request["messages"][-1]["content"])
        return (
            Response(status=400, body="too long")
            if refusing and text.endswith(" 7")
            else echo(_number, request)
        )

    out = tmp_path / "remote.jsonl"
    with fault_server(refuses_one) as server:
        found = generate_completions(server.endpoint(), examples(), contestant="remote", out=out)
        assert [one.example_id for one in found if one.refused] == ["e7"]
        assert (found[7].completion, found[7].error) == ("", "HTTP 400: too long")
        refusing, before = False, len(server.requests)
        quicker = server.endpoint().model_copy(update={"concurrency": 1, "timeout": 5.0, "key_env": None})
        mended = generate_completions(quicker, examples(), contestant="remote", out=out)
        assert not any(one.refused for one in mended)
    assert [request["messages"][-1]["content"] for request in server.requests[before:]] == [
        examples()[7].messages[-1].content
    ]


def test_of_two_runs_that_request_the_same_at_once_the_first_answers_stand(tmp_path: Path):
    rows, sampled = examples(4), Generation(temperature=0.7)

    def answers_of(name: str, url: str) -> list[str]:
        out, endpoint = tmp_path / name / "x.jsonl", Endpoint(url=url, model="m", concurrency=1)
        options = {"contestant": "x", "options": sampled, "out": out, "store": tmp_path / "store"}
        return texts(generate_completions(endpoint, rows, **options))

    second = list[str]()

    def script(number: int, _request: dict) -> Response:
        if number == 2:  # the other run comes and goes, while this one has two answers and awaits a third
            second.extend(answers_of("second", server.url))
        return Response(f"reply {number}")

    with fault_server(script) as server:
        first = answers_of("first", server.url)
        assert answers_of("third", server.url) == first
        assert len(server.requests) == 6
    assert first == second == ["reply 0", "reply 1", "reply 3", "reply 4"]


def test_a_budget_counts_what_earlier_calls_spent(tmp_path: Path):
    common: dict[str, Any] = {"contestant": "paid", "out": tmp_path / "paid.jsonl"}
    common["options"] = Generation(max_new_tokens=9)
    with fault_server(echo) as server:
        endpoint = server.endpoint(price=(1000, 1000), budget_usd=0.5, concurrency=1)
        for _ in range(2):
            with pytest.raises(EndpointError, match=r"budget_usd: \d.* of 0.5 dollars are spent"):
                generate_completions(endpoint, examples(100), **common)
        words = [len(request["messages"][-1]["content"].split()) for request in server.answered]
        generate_completions(endpoint.model_copy(update={"budget_usd": 100.0}), examples(100), **common)
    assert 0.2 < sum(2 * count + 1 for count in words) * 1000 / 1e6 <= 0.5  # as the server counts
    assert len(server.answered) == 100


def test_thinking_is_kept_apart_and_a_budget_spent_on_it_is_reported(tmp_path: Path, caplog):
    def thinks(messages: Sequence[Message]) -> str:
        return (
            "<think>\nhm hm hm hm" if messages[-1].content.endswith(" 0") else "<think>\nhm\n</think>\n\nyes"
        )

    options = Generation(max_new_tokens=3)
    found = generate_completions(
        Scripted(thinks), examples(), contestant="r1", options=options, out=tmp_path / "r1.jsonl"
    )
    assert found[0].completion == ""
    assert found[0].reasoning
    assert {(one.completion, one.reasoning) for one in found[1:]} == {("yes", "hm")}
    assert "1 of 12 answers are empty" in caplog.text
    assert "cut while still thinking" in caplog.text
