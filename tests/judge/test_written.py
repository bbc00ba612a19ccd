"""The writing judge on a real server: unreadable replies, refusals, structured output, resuming."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.faultserver import FaultServer, Say, serving
from tests.judge.battlefield import battle
from toolkit import records
from toolkit.errors import EndpointError
from toolkit.judge import JudgePrompt, judge_battles, load_prompt, statistics, votes
from toolkit.judge.writing import EndpointWriter, LocalWriter
from toolkit.judge.written import WrittenJudge
from toolkit.models import Loaded
from toolkit.models.pacing import Retry
from toolkit.recipe import Generation
from toolkit.types import Verdict

QUICK = Retry(first_wait=0.001, longest_wait=0.01, cool_off=0.001)
GOOD, BAD = "GOOD answer", "BAD answer"


def field(count: int = 4) -> list:
    return [battle(i, *((GOOD, BAD) if i % 2 else (BAD, GOOD))) for i in range(count)]


def judge(server: FaultServer, **options: object) -> WrittenJudge:
    return WrittenJudge(EndpointWriter(server.endpoint(), QUICK), load_prompt("pairwise"), **options)


def fair(_number: int, request: dict) -> Say:
    """Sees which answer is good, and writes as it was asked to."""
    text = request["messages"][-1]["content"]
    mark = "[[A]]" if text.index("GOOD") < text.index("BAD") else "[[B]]"
    if "response_format" in request:
        return Say(json.dumps({"reason": "one is good", "verdict": mark}))
    return Say(f"one is good\n{mark}")


def test_replies_become_votes_with_reasons_and_counts(tmp_path: Path):
    with serving(fair) as server:
        verdicts = judge_battles(judge(server), field(), out=tmp_path / "verdicts.jsonl")
    assert [vote.outcome for vote in votes(field(), verdicts)] == ["b", "a", "b", "a"]
    assert {verdict.reason for verdict in verdicts} == {"one is good"}
    assert {verdict.judge for verdict in verdicts} == {"judge-model"}
    assert all(verdict.tokens_in > 50 for verdict in verdicts)
    found = statistics(field(), verdicts)["judge-model"]
    assert found["tokens_in"] == sum(verdict.tokens_in for verdict in verdicts)
    assert len(server.requests) == 8


def test_a_server_without_structured_output_is_asked_without_it(tmp_path: Path):
    def plain(number: int, request: dict) -> Say:
        if "response_format" in request:
            return Say(status=400, body="response_format: not supported")
        return fair(number, request)

    with serving(plain) as server:
        verdicts = judge_battles(judge(server), field(30), out=tmp_path / "verdicts.jsonl")
    assert all(verdict.outcome for verdict in verdicts)
    assert len(server.answered) == 60
    refused = sum("response_format" in request for request in server.requests)
    assert 1 <= refused <= server.endpoint().concurrency, "only what was under way when it was found out"


def test_an_unreadable_reply_is_asked_for_again_and_then_recorded_as_invalid(tmp_path: Path):
    out = tmp_path / "verdicts.jsonl"

    def mumbles(number: int, request: dict) -> Say:
        first = "Question 0" in request["messages"][-1]["content"]
        return Say("I cannot decide.") if first or number < 4 else fair(number, request)

    with serving(mumbles) as server:
        verdicts = judge_battles(judge(server), field(), out=out)
        asked = len(server.requests)
        again = judge_battles(judge(server), field(), out=out)
        assert len(server.requests) == asked, "an invalid verdict is final"
    assert again == verdicts
    assert [verdict.outcome for verdict in verdicts[:2]] == [None, None]
    assert [verdict.attempt for verdict in verdicts[:2]] == [3, 3]
    assert all(verdict.outcome for verdict in verdicts[2:])
    assert [vote.example_id for vote in votes(field(), verdicts)] == ["1", "2", "3"]
    assert len(list(records.read(out, Verdict))) == asked, "every reply paid for is on disk"
    temperatures = [request["temperature"] for request in server.requests]
    assert temperatures[:8] == [0] * 8
    assert set(temperatures[8:]) == {0.7}
    seeds = [(request["messages"][-1]["content"], request["seed"]) for request in server.requests]
    assert len(set(seeds)) == len(seeds)


def test_a_crash_between_attempts_repeats_none(tmp_path: Path):
    out = tmp_path / "verdicts.jsonl"
    with serving(lambda _number, _request: Say("Hm.")) as server:
        replies = judge(server, attempts=1)
        judge_battles(replies, field(1), out=out)
        assert len(server.requests) == 2
        judge_battles(judge(server), field(1), out=out)
        assert len(server.requests) == 6
    assert [verdict.attempt for verdict in records.read(out, Verdict)] == [1, 1, 2, 2, 3, 3]


def test_a_reply_cut_at_the_limit_is_unreadable(tmp_path: Path):
    with serving(lambda _number, _request: Say("First, [[A]]", finish="length")) as server:
        verdicts = judge_battles(judge(server, attempts=1), field(1), out=tmp_path / "verdicts.jsonl")
    assert [verdict.outcome for verdict in verdicts] == [None, None]


def test_a_refused_question_is_invalid_with_the_servers_words(tmp_path: Path):
    with serving(lambda _number, _request: Say(status=413, body="too long for me")) as server:
        verdicts = judge_battles(judge(server, attempts=1), field(1), out=tmp_path / "verdicts.jsonl")
    assert {verdict.reason for verdict in verdicts} == {"no reply: HTTP 413: too long for me"}
    assert {verdict.outcome for verdict in verdicts} == {None}


def test_what_arrived_before_the_server_died_is_not_asked_for_again(tmp_path: Path):
    out = tmp_path / "verdicts.jsonl"
    with serving(lambda number, request: fair(number, request) if number < 20 else Say(status=503)) as server:
        with pytest.raises(EndpointError, match="requests in a row failed"):
            judge_battles(judge(server), field(30), out=out)
        kept = len(list(records.read(out, Verdict)))
        assert kept == len(server.answered)
    with serving(fair) as server:
        verdicts = judge_battles(judge(server), field(30), out=out)
        assert len(server.requests) == 60 - kept
    assert all(verdict.outcome for verdict in verdicts)


def test_a_model_in_memory_writes_too(tiny: Loaded, short: JudgePrompt, tmp_path: Path):
    options = Generation(max_new_tokens=8)
    local = WrittenJudge(LocalWriter(tiny), short, attempts=1, options=options)
    fought = [battle(0), battle(1, "x" * 2000)]
    verdicts = judge_battles(local, fought, out=tmp_path / "verdicts.jsonl")
    assert [verdict.outcome for verdict in verdicts] == [None] * 4, "random weights say nothing readable"
    assert [verdict.tokens_out > 0 for verdict in verdicts] == [True, True, False, False]
    assert "there is room for 1016" in str(verdicts[2].reason)
