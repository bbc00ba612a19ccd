"""The writing judge on a real server: unreadable replies, refusals, structured output, resuming."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fault_server import FaultServer, Response, fault_server
from tests.judge.example_battles import battle, kept
from toolkit import io
from toolkit.errors import EndpointError
from toolkit.judge import judge_battles
from toolkit.judge.aggregation import aggregate_votes, judge_statistics
from toolkit.judge.generative import EndpointBackend, GenerativeJudge, LocalBackend
from toolkit.judge.prompts import JudgePrompt, load_prompt
from toolkit.judge.verdicts import import_old_log
from toolkit.models import Loaded
from toolkit.models.rate_limit import Retry
from toolkit.recipe import Generation
from toolkit.types import Verdict

QUICK = Retry(first_wait=0.001, longest_wait=0.01, cool_off=0.001)
GOOD, BAD = "GOOD answer", "BAD answer"


def field(count: int = 4) -> list:
    return [battle(i, *((GOOD, BAD) if i % 2 else (BAD, GOOD))) for i in range(count)]


def judge(server: FaultServer, **options: object) -> GenerativeJudge:
    return GenerativeJudge(EndpointBackend(server.endpoint(), QUICK), load_prompt("pairwise"), **options)


def fair(_number: int, request: dict) -> Response:
    """Sees which answer is good, and writes as it was asked to."""
    text = request["messages"][-1]["content"]
    mark = "[[A]]" if text.index("GOOD") < text.index("BAD") else "[[B]]"
    if "response_format" in request:
        return Response(json.dumps({"reason": "one is good", "verdict": mark}))
    return Response(f"one is good\n{mark}")


def test_replies_become_votes_with_reasons_and_counts(tmp_path: Path):
    with fault_server(fair) as server:
        verdicts = judge_battles(judge(server), field(), store=tmp_path / "kept")
    assert [vote.outcome for vote in aggregate_votes(field(), verdicts)] == ["b", "a", "b", "a"]
    assert {verdict.reason for verdict in verdicts} == {"one is good"}
    assert {verdict.judge for verdict in verdicts} == {"judge-model"}
    assert all(verdict.tokens_in > 50 for verdict in verdicts)
    found = judge_statistics(field(), verdicts)["judge-model"]
    assert found["tokens_in"] == sum(verdict.tokens_in for verdict in verdicts)
    assert len(server.requests) == 8


def test_a_server_without_structured_output_is_requested_without_it(tmp_path: Path):
    def plain(number: int, request: dict) -> Response:
        if "response_format" in request:
            return Response(status=400, body="response_format: not supported")
        return fair(number, request)

    with fault_server(plain) as server:
        verdicts = judge_battles(judge(server), field(30), store=tmp_path / "kept")
    assert all(verdict.outcome for verdict in verdicts)
    assert len(server.answered) == 60
    refused = sum("response_format" in request for request in server.requests)
    assert 1 <= refused <= server.endpoint().concurrency, "only what was under way when it was found out"


def test_an_unreadable_reply_is_requested_again_and_then_recorded_as_invalid(tmp_path: Path):
    store = tmp_path / "kept"

    def mumbles(number: int, request: dict) -> Response:
        first = "Question 0" in request["messages"][-1]["content"]
        return Response("I cannot decide.") if first or number < 4 else fair(number, request)

    with fault_server(mumbles) as server:
        verdicts = judge_battles(judge(server), field(), store=store)
        requested = len(server.requests)
        again = judge_battles(judge(server), field(), store=store)
        assert len(server.requests) == requested, "an invalid verdict is final"
    assert again == verdicts
    assert [verdict.outcome for verdict in verdicts[:2]] == [None, None]
    assert [verdict.attempt for verdict in verdicts[:2]] == [3, 3]
    assert all(verdict.outcome for verdict in verdicts[2:])
    assert [vote.example_id for vote in aggregate_votes(field(), verdicts)] == ["1", "2", "3"]
    assert len(kept(store)) == requested, "every reply paid for is on disk"
    temperatures = [request["temperature"] for request in server.requests]
    assert temperatures[:8] == [0] * 8
    assert set(temperatures[8:]) == {0.7}
    seeds = [(request["messages"][-1]["content"], request["seed"]) for request in server.requests]
    assert len(set(seeds)) == len(seeds)


def test_a_crash_between_attempts_repeats_none(tmp_path: Path):
    store = tmp_path / "kept"
    with fault_server(lambda _number, _request: Response("Hm.")) as server:
        replies = judge(server, attempts=1)
        judge_battles(replies, field(1), store=store)
        assert len(server.requests) == 2
        judge_battles(judge(server), field(1), store=store)
        assert len(server.requests) == 6
    assert [verdict.attempt for verdict in kept(store)] == [1, 1, 2, 2, 3, 3]


def test_of_two_runs_that_judge_the_same_at_once_the_first_readable_verdicts_stand(tmp_path: Path):
    store, battles, other = tmp_path / "kept", field(3), list[Verdict]()

    def script(number: int, _request: dict) -> Response:
        if number == 2:  # another run with the sides changed comes and goes
            turned = [each.mirrored for each in battles]
            other.extend(judge_battles(judge(server), turned, store=store))
        return Response("Hm." if number == 1 else "[[A]]" if number < 3 else "[[B]]")

    with fault_server(script) as server:
        server_of_one = EndpointBackend(server.endpoint(concurrency=1), QUICK)
        mine = judge_battles(GenerativeJudge(server_of_one, load_prompt("pairwise")), battles, store=store)
        again = judge_battles(judge(server), battles, store=store)
    assert [(each.order, each.outcome) for each in mine] == [(each.order, each.outcome) for each in again]
    turned_back = {"a": "b", "b": "a"}
    by_order = {(each.battle_id, each.order): each.outcome for each in other}
    for verdict in mine:
        battle_of = next(each for each in battles if each.id == verdict.battle_id)
        shown = by_order[battle_of.mirrored.id, "ba" if verdict.order == "ab" else "ab"]
        assert turned_back[shown] == verdict.outcome


def test_a_reply_cut_at_the_limit_is_unreadable(tmp_path: Path):
    with fault_server(lambda _number, _request: Response("First, [[A]]", finish="length")) as server:
        verdicts = judge_battles(judge(server, attempts=1), field(1), store=tmp_path / "kept")
    assert [verdict.outcome for verdict in verdicts] == [None, None]


def test_a_refused_question_is_no_verdict_and_requested_again_by_the_next_call(tmp_path: Path):
    store, refusing = tmp_path / "kept", True

    def picky(number: int, request: dict) -> Response:
        if refusing and "Question 1" in request["messages"][-1]["content"]:
            return Response(status=413, body="too long for me")
        return fair(number, request)

    with fault_server(picky) as server:
        verdicts = judge_battles(judge(server), field(), store=store)
        assert [v.error for v in verdicts if v.refused] == ["HTTP 413: too long for me"] * 2
        assert len(server.requests) == 8, "it is not asked three times"
        found = judge_statistics(field(), verdicts)["judge-model"]
        assert (found["refused"]["value"], found["unreadable"]["value"]) == (0.25, 0)
        refusing = False
        again = judge_battles(judge(server), field(), store=store)
        assert len(server.requests) == 10
    assert all(verdict.readable for verdict in again)


def test_a_refusal_that_an_earlier_version_kept_as_unreadable_is_requested_again(tmp_path: Path):
    store, one = tmp_path / "kept", field(1)
    with fault_server(fair) as server:
        requested = judge(server)
        old = {"judge": requested.name, "outcome": None, "prompt": requested.prompt_key, "attempt": 3}
        old |= {"battle_id": one[0].former_id, "reason": "no reply: HTTP 402: no credit"}
        io.append(tmp_path / "log", [Verdict(order=order, **old) for order in ("ab", "ba")])
        import_old_log(tmp_path / "log", store, Verdict)
        assert all(verdict.readable for verdict in judge_battles(requested, one, store=store))


def test_a_judge_whose_every_question_is_refused_stops_with_the_servers_words(tmp_path: Path):
    store = tmp_path / "kept"
    with fault_server(lambda _number, _request: Response(status=422, body="no field `seed`")) as server:
        with pytest.raises(EndpointError, match=r"all 20 requests so far were refused.*no field `seed`"):
            judge_battles(judge(server), field(60), store=store)
        assert len(server.requests) < 60


def test_one_over_long_battle_does_not_switch_structured_output_off(tmp_path: Path):
    def limited(number: int, request: dict) -> Response:
        if "Question 0" in request["messages"][-1]["content"]:
            return Response(status=400, body="maximum context length is 4096 tokens")
        return fair(number, request)

    with fault_server(limited) as server:
        one_at_a_time = EndpointBackend(server.endpoint(concurrency=1), QUICK)
        verdicts = judge_battles(
            GenerativeJudge(one_at_a_time, load_prompt("pairwise")), field(6), store=tmp_path / "kept"
        )
        plain = [request for request in server.requests if "response_format" not in request]
    assert len(plain) == 2, "the over-long one alone, in both orders"
    assert sum(verdict.refused for verdict in verdicts) == 2


def test_a_longer_reply_is_reason_to_request_what_was_cut_again(tmp_path: Path):
    store = tmp_path / "kept"

    def long_winded(number: int, request: dict) -> Response:
        return Response("Hm", finish="length") if request["max_tokens"] < 100 else fair(number, request)

    with fault_server(long_winded) as server:
        short = judge(server, attempts=1, options=Generation(max_new_tokens=50))
        assert not any(v.readable for v in judge_battles(short, field(1), store=store))
        judge_battles(short, field(1), store=store)
        assert len(server.requests) == 2
        longer = judge(server, attempts=1, options=Generation(max_new_tokens=100))
        assert all(v.readable for v in judge_battles(longer, field(1), store=store))


def test_a_budget_counts_what_earlier_calls_spent(tmp_path: Path):
    from toolkit.judge import build_judge
    from toolkit.recipe import Judge

    store = tmp_path / "kept"
    with fault_server(fair) as server:
        endpoint = server.endpoint(price=(1000, 1000), budget_usd=4.0, concurrency=1)
        requested = Judge(method="written", endpoint=endpoint, max_new_tokens=16)
        for _ in range(2):
            with pytest.raises(EndpointError, match=r"budget_usd: \d.* of 4 dollars are spent"):
                judge_battles(build_judge(requested, None), field(30), store=store)
        reply = kept(store)
    assert 0 < sum(1000 * (v.tokens_in + v.tokens_out) / 1e6 for v in reply) <= 4.0


def test_what_arrived_before_the_server_died_is_not_requested_again(tmp_path: Path):
    store, dead = tmp_path / "kept", True

    def script(number: int, request: dict) -> Response:
        return Response(status=503) if dead and number >= 20 else fair(number, request)

    with fault_server(script) as server:
        with pytest.raises(EndpointError, match="requests in a row failed"):
            judge_battles(judge(server), field(30), store=store)
        known = len(kept(store))
        assert known == len(server.answered)
        dead, before = False, len(server.requests)
        verdicts = judge_battles(judge(server), field(30), store=store)
        assert len(server.requests) == before + 60 - known
    assert all(verdict.outcome for verdict in verdicts)


def test_a_model_in_memory_writes_too(tiny: Loaded, short: JudgePrompt, tmp_path: Path):
    options = Generation(max_new_tokens=8)
    local = GenerativeJudge(LocalBackend(tiny), short, attempts=1, options=options)
    battles = [battle(0), battle(1, "x" * 2000)]
    verdicts = judge_battles(local, battles, store=tmp_path / "kept")
    assert [verdict.outcome for verdict in verdicts] == [None] * 4, "random weights say nothing readable"
    assert [verdict.tokens_out > 0 for verdict in verdicts] == [True, True, False, False]
    assert "there is room for 1016" in str(verdicts[2].reason)
