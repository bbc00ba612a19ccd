"""Endpoints against a real server on loopback that fails in every way servers fail."""

from __future__ import annotations

import asyncio
import base64
import html
import json
import socket
import threading
import time
from contextlib import suppress
from urllib.parse import quote

import pytest

from tests.fault_server import FaultServer, Response, fault_server
from toolkit.errors import EndpointError, ModelError
from toolkit.models.endpoints import LARGEST, ChatReply, ChatRequest, Refusal, chat, masked
from toolkit.models.rate_limit import RateLimiter, Retry, parse_duration, parse_retry_after
from toolkit.recipe import Endpoint, Generation
from toolkit.types import Message

QUICK = Retry(first_wait=0.001, longest_wait=0.01, cool_off=0.001)


def requests(count: int) -> list[ChatRequest]:
    return [ChatRequest((Message(role="user", content=f"question {i}"),)) for i in range(count)]


def requested(request: dict) -> str:
    return str(request["messages"][-1]["content"])


def echo(_number: int, request: dict) -> Response:
    return Response(f"re: {requested(request)}")


def request_replies(server: FaultServer, count: int = 1, retry: Retry = QUICK, **options: object) -> dict:
    return dict(chat(server.endpoint(**options), requests(count), Generation(), retry=retry))


def test_every_reply_comes_to_its_own_request_with_its_usage():
    with fault_server(echo) as server:
        replies = request_replies(server, 50, concurrency=7)
    assert replies == {i: ChatReply(f"re: question {i}", "stop", 2, 3) for i in range(50)}
    assert server.most_busy <= 7
    assert len(server.requests) == 50


def test_half_a_surrogate_pair_which_no_file_can_keep_is_replaced():
    with fault_server(lambda _number, _request: Response("cut in an emoji: \ud83d")) as server:
        assert request_replies(server)[0].text == "cut in an emoji: \ufffd"


def test_a_reply_without_an_end_is_given_up():
    junk = "x" * (LARGEST + 1)
    with (
        fault_server(lambda _number, _request: Response(body=junk)) as server,
        pytest.raises(EndpointError, match="32 MB"),
    ):
        request_replies(server)


def test_parts_without_text_are_no_empty_answer():
    say = Response(
        body=json.dumps({"choices": [{"message": {"content": [{"type": "text", "text": {"value": "a"}}]}}]})
    )
    with fault_server(lambda _number, _request: say) as server:
        assert isinstance(request_replies(server)[0], Refusal)


@pytest.mark.parametrize("usage", ["unknown", [3], {"prompt_tokens": "many"}, {"completion_tokens": {}}])
def test_a_usage_that_is_no_number_is_not_known(usage: object):
    body = {"choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}], "usage": usage}
    with fault_server(lambda _number, _request: Response(body=json.dumps(body))) as server:
        assert request_replies(server)[0] == ChatReply("yes", "stop", 0, 0)
    assert len(server.requests) == 1


def test_the_limit_is_used():
    together = threading.Barrier(8, timeout=300)

    def when_all_are_here(_number: int, request: dict) -> Response:
        together.wait()
        return echo(_number, request)

    with fault_server(when_all_are_here) as server:
        assert len(request_replies(server, 40, concurrency=8)) == len(server.requests) == 40


def test_generation_options_are_sent_and_parameters_have_the_last_word():
    options = Generation(max_new_tokens=9, temperature=0.5, top_p=0.9, stop=("END",))
    parameters = {"max_tokens": None, "max_completion_tokens": 10, "temperature": 1}
    expected = ChatRequest(requests(1)[0].messages, seed=3, response_format={"type": "json_object"})
    with fault_server(echo) as server:
        list(chat(server.endpoint(parameters=parameters), [expected], options))
    assert server.requests[0] == {
        "model": "judge-model",
        "messages": [{"role": "user", "content": "question 0"}],
        "max_completion_tokens": 10,
        "temperature": 1,
        "top_p": 0.9,
        "stop": ["END"],
        "seed": 3,
        "response_format": {"type": "json_object"},
    }


@pytest.mark.parametrize(
    "fault",
    [
        Response(status=500, body="oops"),
        Response(status=503),
        Response(status=408),
        Response(status=429),
        Response(drop=True),
        Response(body="<html>a proxy's page</html>"),
        Response(body='{"choices": []}'),
        Response("half an ans", finish="abort"),
        Response("half an ans", finish="error"),
        Response(body='{"error": {"code": 502, "message": "upstream"}}'),
    ],
)
def test_what_may_pass_is_tried_again_under_the_same_key(fault: Response):
    with fault_server(lambda number, request: fault if number < 2 else echo(number, request)) as server:
        assert request_replies(server)[0].text == "re: question 0"
    assert len(server.requests) == 3
    assert len({headers["idempotency-key"] for headers in server.headers}) == 1


def test_a_pause_of_our_own_is_not_put_down_to_the_server(caplog: pytest.LogCaptureFixture):
    limiter = RateLimiter(Retry(trip_after=1, cool_off=20.0))
    limiter.record_failure("HTTP 200: half a reply")
    assert "1 requests in a row failed (HTTP 200: half a reply); waiting 20 s" in caplog.text
    assert "asks to wait" not in caplog.text


def test_a_silent_server_is_left_after_the_timeout_and_requested_again():
    with fault_server(
        lambda number, request: Response(delay=4) if number == 0 else echo(number, request)
    ) as server:
        assert request_replies(server, timeout=1)[0].text == "re: question 0"
        assert len(server.requests) == 2


def test_retry_after_holds_all_requests_back():
    def limited(number: int, request: dict) -> Response:
        if number == 0:
            return Response(status=429, headers={"retry-after": "0.4"})
        return Response(
            f"re: {requested(request)}", delay=0.1
        )  # what is sent before the 429 is read cannot be held

    with fault_server(limited) as server:
        request_replies(server, 6, concurrency=2)
    after = [moment - server.times[0] for moment in server.times[2:]]
    assert min(after) >= 0.39


def test_being_asked_to_wait_uses_up_no_attempts():
    with fault_server(
        lambda number, request: Response(status=429) if number < 20 else echo(number, request)
    ) as server:
        assert request_replies(server)[0].text == "re: question 0"


def test_an_exhausted_budget_is_waited_for():
    spent = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "300ms"}
    with fault_server(lambda number, _request: Response(headers=spent if number == 0 else {})) as server:
        request_replies(server, 2, concurrency=1)
    assert server.times[1] - server.times[0] >= 0.29


def test_a_request_the_server_will_never_take_is_a_refusal_and_the_others_go_on():
    def picky(number: int, request: dict) -> Response:
        return (
            Response(status=400, body="too long")
            if requested(request) == "question 1"
            else echo(number, request)
        )

    with fault_server(picky) as server:
        replies = request_replies(server, 3)
    assert replies[1] == Refusal(400, "HTTP 400: too long")
    assert [replies[0].text, replies[2].text] == ["re: question 0", "re: question 2"]
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    "reply",
    [
        Response(finish="content_filter"),
        Response("half of", finish="RECITATION"),
        Response(
            body='{"choices": [{"message": {"content": "", "refusal": "No."}, "finish_reason": "stop"}]}'
        ),
        Response(
            body='{"choices": [{"message": {"content": "a", "tool_calls": [{}]}, "finish_reason": "stop"}]}'
        ),
        Response(body='{"choices": [{"message": {"content": null}, "finish_reason": "tool_calls"}]}'),
        Response(body='{"error": {"code": 400, "message": "Provider returned error"}}'),
        Response(body='{"error": {"message": "your input was flagged"}}'),
    ],
)
def test_a_reply_without_text_is_a_refusal(reply: Response):
    with fault_server(lambda _number, _request: reply) as server:
        assert isinstance(request_replies(server)[0], Refusal)


def test_one_request_that_always_fails_does_not_stop_the_others():
    def poisoned(number: int, request: dict) -> Response:
        return Response(status=500) if requested(request) == "question 3" else echo(number, request)

    with fault_server(poisoned) as server:
        replies = chat(server.endpoint(), requests(30), Generation(), retry=QUICK)
        assert len([next(replies) for _ in range(29)]) == 29
        with pytest.raises(EndpointError, match="1 requests had no answer after 6"):
            next(replies)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (Response(status=401, body="bad key"), "the API key is refused"),
        (Response(status=404), "no such model or address"),
        (Response(body='{"error": {"code": "401", "message": "no credentials"}}'), "the API key is refused"),
        (Response(status=429, body='{"error": {"code": "insufficient_quota"}}'), "no quota left"),
    ],
)
def test_what_would_meet_every_request_stops_at_once(reply: Response, message: str):
    with fault_server(lambda _number, _request: reply) as server:
        with pytest.raises(EndpointError, match=message) as raised:
            request_replies(server, 100, concurrency=2)
        assert len(server.requests) <= 4
    assert str(raised.value).startswith(server.url)


def test_replies_under_way_are_handed_over_before_an_error_ends_the_work():
    def script(number: int, request: dict) -> Response:
        return Response(status=401) if number == 3 else Response("fine", delay=1.0)

    answers = []
    with fault_server(script) as server:
        replies = chat(server.endpoint(concurrency=4), requests(40), Generation(), retry=QUICK)
        with pytest.raises(EndpointError):
            answers.extend(answer.text for _, answer in replies)
    assert len(server.requests) == 4
    assert answers == ["fine"] * 3


def test_the_breaker_stops_asking_a_server_that_is_down():
    with fault_server(lambda _number, _request: Response(status=503)) as server:
        with pytest.raises(EndpointError, match=r"requests in a row failed.*HTTP 503"):
            request_replies(server, 500, concurrency=8, retry=Retry(1000, 3600, 0.001, 0.01, 10, 0.001, 5))
        assert len(server.requests) <= 10 + 8 + 5


def test_the_breaker_closes_again_when_the_server_is_back():
    with fault_server(
        lambda number, request: Response(status=503) if number < 14 else echo(number, request)
    ) as server:
        replies = request_replies(server, 60, concurrency=8, retry=Retry(20, 3600, 0.001, 0.01, 10, 0.001, 5))
    assert len(replies) == 60


def test_nobody_listens():
    with fault_server(echo) as server:
        pass
    with pytest.raises(EndpointError, match="ConnectError"):
        request_replies(server, 20)


def test_the_key_comes_from_the_environment_and_stays_out_of_messages(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("JUDGE_KEY", "sk-secret")
    with fault_server(lambda _number, _request: Response(status=401, body="wrong key sk-secret")) as server:
        with pytest.raises(EndpointError) as raised:
            request_replies(server, key_env="JUDGE_KEY")
        assert server.headers[0]["authorization"] == "Bearer sk-secret"
        assert "sk-secret" not in str(raised.value)
        monkeypatch.delenv("JUDGE_KEY")
        with pytest.raises(ModelError, match="JUDGE_KEY holds no API key"):
            request_replies(server, key_env="JUDGE_KEY")
        assert len(server.requests) == 1


def test_a_key_is_masked_however_it_is_written():
    key = 'sk-a/b"c+d'
    written = (key, quote(key), quote(key, safe=""), html.escape(key), json.dumps(key)[1:-1])
    for form in written:
        assert masked(f"wrong key {form}!", key) == "wrong key ***!"


@pytest.mark.parametrize("before", ["", "u", "u:", "Bearer "])
def test_a_key_is_masked_in_base64(before: str):
    key = "sk-0123456789~~~??abc"
    coded = (base64.b64encode, base64.urlsafe_b64encode, lambda told: told.hex().encode())
    for code in coded:
        shown = masked(f"got {code((before + key).encode()).decode()}", key)
        assert shown.count("***") == 1
        assert len(shown) < len("got ***") + 2 * len(before) + 6


def test_a_key_that_is_a_word_is_left_in_answers(monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", "EMPTY")
    with fault_server(lambda _number, _request: Response("the EMPTY set")) as server:
        assert request_replies(server, key_env="JUDGE_KEY")[0].text == "the EMPTY set"


def test_a_place_is_free_only_when_its_reply_is_dealt_with():
    with fault_server(echo) as server:
        replies = chat(server.endpoint(concurrency=3), requests(30), Generation())
        next(replies)
        time.sleep(0.2)
        assert len(server.requests) == 3
        assert len(list(replies)) == 29


def test_a_caller_that_walks_away_stops_the_requests():
    before = set(threading.enumerate())
    with fault_server(echo) as server:
        for _ in chat(server.endpoint(concurrency=2), requests(100), Generation()):
            break
        assert len(server.requests) < 10
    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=60)
        assert not thread.is_alive()


def test_a_caller_inside_an_event_loop_is_served():
    async def within() -> dict:
        return request_replies(server, 3)

    with fault_server(echo) as server:
        assert len(asyncio.run(within())) == 3


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"retry-after": "soon"}, None),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1m2.5s"}, 62.5),
        ({"x-ratelimit-remaining-tokens": "5", "x-ratelimit-reset-tokens": "1s"}, None),
        ({}, None),
    ],
)
def test_headers_that_ask_to_wait(headers: dict, seconds: float | None):
    assert parse_retry_after(headers) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"), [("6m0s", 360), ("20ms", 0.02), ("1.5", 1.5), ("2d", 172_800), ("later", None)]
)
def test_durations(text: str, seconds: float | None):
    assert parse_duration(text) == seconds


def parts(*content: object, **fields: object) -> Response:
    message = {"role": "assistant", "content": list(content) if content else None, **fields}
    choice = {"message": message, "finish_reason": fields.get("finish", "stop")}
    return Response(body=json.dumps({"choices": [choice]}))


def test_content_in_parts_is_read_and_thinking_is_no_answer():
    reply = parts(
        {"type": "thinking", "thinking": "hm", "text": "hm"},
        {"type": "text", "text": "It is "},
        {"type": "text", "text": "blue."},
    )
    with fault_server(lambda _number, _request: reply) as server:
        assert request_replies(server)[0] == ChatReply("It is blue.", "stop", 0, 0, reasoning="hm")
    for name, text in {
        "thinking": "hm",
        "reasoning_details": [{"type": "reasoning.text", "text": "hm"}],
    }.items():
        with fault_server(lambda *_, fields={name: text}: parts("blue", **fields)) as server:
            assert request_replies(server)[0] == ChatReply("blue", "stop", 0, 0, reasoning="hm"), name
    with fault_server(lambda _number, _request: parts(reasoning_content="hm hm", finish="length")) as server:
        assert request_replies(server)[0] == ChatReply("", "length", 0, 0, reasoning="hm hm")
    with fault_server(lambda _number, _request: parts(refusal="I cannot.")) as server:
        assert request_replies(server)[0] == Refusal(200, "no answer in the reply (I cannot.)")


def test_the_timeout_is_of_the_whole_reply():
    listener = socket.create_server(("127.0.0.1", 0))

    def drip() -> None:
        with suppress(OSError), listener.accept()[0] as client:
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n")
            for _ in range(100):
                client.sendall(b" ")
                time.sleep(0.1)

    threading.Thread(target=drip, daemon=True).start()
    endpoint = Endpoint(url=f"http://127.0.0.1:{listener.getsockname()[1]}/v1", model="m", timeout=0.5)
    with listener, pytest.raises(EndpointError, match=r"no whole reply within 0\.5 s"):
        list(chat(endpoint, requests(1), Generation(), retry=Retry(attempts=1)))


@pytest.mark.parametrize("headers", [{"retry-after": "18000"}, {"retry-after": "inf"}])
def test_a_server_that_asks_to_wait_for_hours_ends_the_work(headers: dict[str, str]):
    began = time.monotonic()
    with fault_server(
        lambda _number, _request: Response(status=429, headers=headers, body="daily limit")
    ) as server:
        with pytest.raises(EndpointError, match=r"the server asks to wait .*daily limit"):
            request_replies(server, 30, concurrency=2)
        assert len(server.requests) <= 2
    assert time.monotonic() - began < 20


def test_what_was_answered_before_a_wait_of_hours_is_handed_over():
    spent = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "5h"}
    with fault_server(lambda _number, _request: Response("last", headers=spent)) as server:
        replies = chat(server.endpoint(concurrency=1), requests(3), Generation(), retry=QUICK)
        assert next(replies)[1].text == "last"
        with pytest.raises(EndpointError, match=r"18\d\d\d s"):
            next(replies)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (Response(status=402, body="no credit"), "no credit left .*no credit"),
        (Response(status=403, body="not for you"), "access is refused .*not for you"),
        (
            Response(status=308, headers={"location": "https://u:p@other/v1?key=k"}),
            r"points elsewhere.*to https://other/v1\)",
        ),
        (Response(status=301, body="moved"), "points elsewhere"),
    ],
)
def test_statuses_that_meet_every_request_stop(reply: Response, message: str):
    with fault_server(lambda _number, _request: reply) as server, pytest.raises(EndpointError, match=message):
        request_replies(server, 50, concurrency=2)


def test_a_question_that_moderation_takes_amiss_is_refused_alone():
    def moderated(number: int, request: dict) -> Response:
        flagged = requested(request) == "question 1"
        return Response(status=403, body="your input was flagged") if flagged else echo(number, request)

    with fault_server(moderated) as server:
        replies = request_replies(server, 4)
    assert [isinstance(replies[i], Refusal) for i in range(4)] == [False, True, False, False]


def test_keys_are_stripped_and_checked_and_never_shown(monkeypatch: pytest.MonkeyPatch):
    with fault_server(
        lambda _number, _request: Response(status=400, body="x" * 190 + " sk-a/b-secret")
    ) as server:
        monkeypatch.setenv("JUDGE_KEY", " sk-a/b-secret\n")
        (refusal,) = request_replies(server, key_env="JUDGE_KEY").values()
        assert server.headers[0]["authorization"] == "Bearer sk-a/b-secret"
        assert "sk-a" not in refusal.reason, "masked before it is cut"
        for key in ("sk-two\nlines", "sk-caf\u00e9", "sk two"):
            monkeypatch.setenv("JUDGE_KEY", key)
            with pytest.raises(ModelError, match="JUDGE_KEY holds no API key") as raised:
                request_replies(server, key_env="JUDGE_KEY")
            assert "sk" not in str(raised.value).partition("holds")[2]
    with fault_server(lambda _number, _request: Response("you sent sk-a/b-secret")) as server:
        monkeypatch.setenv("JUDGE_KEY", "sk-a/b-secret")
        assert request_replies(server, key_env="JUDGE_KEY")[0].text == "you sent ***"


@pytest.mark.parametrize("concurrency", [1, 8])
def test_a_budget_is_never_passed(concurrency: int):
    """Each reply costs 5 tokens, 0.005 dollars; at most 16 tokens and the bytes of the question."""
    with fault_server(echo) as server:
        priced = {"price": (1000, 1000), "budget_usd": 1.0, "concurrency": concurrency}
        replies = chat(server.endpoint(**priced), requests(500), Generation(max_new_tokens=16), retry=QUICK)
        with pytest.raises(EndpointError, match=r"budget_usd: 0\.\d+ of 1 dollars are spent"):
            for _ in replies:
                pass
        spent = len(server.answered) * 5 * 1000 / 1e6
    assert 0.6 < spent <= 1.0


def test_failures_that_may_have_been_billed_count():
    def slow(number: int, request: dict) -> Response:
        return Response(delay=0.3) if number < 2 else echo(number, request)

    with fault_server(slow) as server:
        limited = {"price": (0, 10_000), "budget_usd": 0.4, "timeout": 0.1, "concurrency": 1}
        with pytest.raises(EndpointError, match=r"0\.3200 of 0\.4 dollars"):
            list(chat(server.endpoint(**limited), requests(5), Generation(max_new_tokens=16), retry=QUICK))
