"""Client of OpenAI-compatible servers: concurrent requests, replies yielded as they arrive.

for index, reply in chat(endpoint, [ChatRequest(messages)], Generation()):
    ...
"""

import asyncio
import base64
import html
import logging
import os
import queue
import re
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal
from urllib.parse import quote

import httpx
from httpx import codes

from toolkit.errors import EndpointError, ModelError
from toolkit.models.rate_limit import Budget, RateLimiter, Retry, Spending, cost, parse_retry_after
from toolkit.recipe import Endpoint, Generation
from toolkit.types import Message, digest

logger = logging.getLogger(__name__)

FATAL_STATUSES = {
    401: "the API key is refused",
    402: "the account has no credit left",
    403: "access is refused",
    404: "no such model or address",
    405: "this address takes no chat completions; give the base URL, up to and including /v1",
    407: "a proxy asks for credentials",
    410: "the model or address is gone",
}
"""Statuses that every other request would get too; so is every redirection (3xx)."""

TRANSIENT_STATUSES = {408, 409, 425, 429}  # statuses below 500 that may be gone at the next attempt

MODERATED = re.compile(r"moderat|flagged|content.?(?:filter|policy|management)|block_?reason", re.IGNORECASE)
"""Words of a 403 that concerns the content of a request, not its credentials."""

FILTERED = re.compile("filter|safety|prohibited|blocklist|recitation|spii|sensitive|refus|moderat|guardrail")
"""In finish reasons of a reply that was withheld."""

CUT = {"length", "max_tokens", "max_output_tokens", "model_length"}
"""Finish reasons of a reply that was cut at its limit."""

GRACE = 10.0
"""Seconds in which replies to requests already sent may still arrive after an error that ends the work."""

LARGEST = 32 << 20  # bytes of a reply that are read

BODY_HEADERS = {"content-encoding", "content-length", "transfer-encoding"}

BROKEN_OFF = {"error", "abort", "aborted", "cancelled", "insufficient_system_resource"}
"""Finish reasons of a reply that the server did not end: part of an answer at most, requested again."""

LONE_SURROGATE = re.compile("[\ud800-\udfff]")
"""Half a surrogate pair, as servers send that cut a text between the two; no file or database can keep it."""

ALL_REFUSED = 20
"""So many refusals in the same words, and no answer, before a server counts as refusing everything."""


@dataclass(frozen=True)
class ChatRequest:
    """One conversation to be answered."""

    messages: tuple[Message, ...]
    seed: int | None = None
    response_format: Mapping[str, Any] | None = None  # structured output, where the server has it


@dataclass(frozen=True)
class ChatReply:
    text: str
    finish: Literal["stop", "length"]
    tokens_in: int
    tokens_out: int  # as the server counts them; 0 where it does not
    reasoning: str = ""  # the reasoning before the answer, where the server separates it


@dataclass(frozen=True)
class Refusal:
    """A permanent refusal of one request: the server would refuse the same request again."""

    status: int
    reason: str


Answer = ChatReply | Refusal


def chat(
    endpoint: Endpoint,
    requests: Iterable[ChatRequest],
    options: Generation,
    *,
    retry: Retry = Retry(),
    spending: Spending | None = None,
) -> Iterator[tuple[int, Answer]]:
    """Yield (position in `requests`, reply) as replies arrive, `endpoint.concurrency` requests at a time.

    The next request is sent only when the caller asks for the next reply: whatever the caller does
    with a reply is done before the next request is drawn from `requests` and sent in its place. Statuses 429
    and 5xx, broken connections and timeouts are tried again (`retry`), and rate-limit headers are obeyed by
    all requests. Each request carries an `Idempotency-Key`, a hash of its body: the same at every attempt,
    also of a later process.

    Raises:
        ModelError: the environment variable with the API key is not set, or holds no key.
        EndpointError: the server is down, refuses whoever asks or asks to wait for very long; the budget does
            not allow another request; or, once all others are answered, some requests had no answer at any
            attempt.
    """
    if requests:
        yield from _Exchange(endpoint, requests, options, retry, spending or Spending()).run()


def stop_when_all_refused(
    answers: Iterable[tuple[int, Answer]], name: str, total: int, *, answered: int = 0
) -> Iterator[tuple[int, Answer]]:
    """Yield answers; an `EndpointError` once all, or `ALL_REFUSED` in the same words, are refusals."""
    refused: list[str] = []
    for index, answer in answers:
        if isinstance(answer, Refusal) and not answered:
            refused.append(answer.reason)
            same = len({re.sub(r"\d+", "0", words) for words in refused}) == 1
            if len(refused) == total or (same and len(refused) == ALL_REFUSED):
                count = len(refused)
                raise EndpointError(f"{name}: all {count} requests so far were refused, with: {refused[0]}")
        elif not isinstance(answer, Refusal):
            answered += 1
        yield index, answer


def api_key(endpoint: Endpoint) -> str | None:
    """The key from the variable that the endpoint names; a `ModelError`, without it, where it is none."""
    if endpoint.key_env is None:
        return None
    key, variable = os.environ.get(endpoint.key_env, "").strip(), f"environment variable {endpoint.key_env}"
    if not key:
        raise ModelError(f"{endpoint.url}: {variable} holds no API key; set it")
    if not all("!" <= letter <= "~" for letter in key):
        problem = f"{variable} holds no API key: a space, line break or letter beyond ASCII is in it"
        raise ModelError(f"{endpoint.url}: {problem}; copy the key again")
    return key


WORD = 12
"""Characters from which on a key is no word."""


def masked(text: str, key: str | None) -> str:
    """`text` without the key, also where it was escaped for a URL or JSON, or is part of a text in base64."""
    for form in _spellings(key) if key else ():
        text = text.replace(form, "***")
    return text


@cache
def _spellings(key: str) -> list[str]:
    """A key as servers may send it back, the longest form first."""
    forms = {key, key.replace("/", "\\/"), key.replace('"', '\\"'), html.escape(key)}
    forms |= {quote(key, safe=""), quote(key), key.encode().hex()}
    for before in range(3):  # bytes that share their first letters with the key
        coded = base64.b64encode(bytes(before) + key.encode()).decode().rstrip("=")
        own = coded[-(-before * 4 // 3) : (before + len(key)) * 4 // 3]
        forms |= {own, own.replace("+", "-").replace("/", "_")} if len(own) >= WORD else set()
    return sorted(forms, key=len, reverse=True)


@dataclass(frozen=True)
class _Failure:
    """An attempt that may be made again."""

    reason: str
    limited: bool = False  # rate limited (429): the server is up
    billed: bool = True  # whether the server may have done the work: it does none for an error status


class _Exchange:
    """One call of `chat`, its event loop in a thread of its own: a caller may have a loop already."""

    def __init__(
        self,
        endpoint: Endpoint,
        requests: Iterable[ChatRequest],
        options: Generation,
        retry: Retry,
        spending: Spending,
    ) -> None:
        self.endpoint, self.options, self.retry = endpoint, options, retry
        self.key = api_key(endpoint)
        self.budget = Budget(endpoint, spending)
        self.pending = iter(enumerate(requests))
        self.arrived: queue.SimpleQueue[tuple[int, Answer, asyncio.Event] | None] = queue.SimpleQueue()
        """Replies, each with what is set when the caller has done with it; `None`: there are no more."""
        self.unanswered: list[str] = []
        self.in_flight, self.stopping = 0, False
        self.loop = asyncio.new_event_loop()
        self.work = self.loop.create_task(self._all())

    def run(self) -> Iterator[tuple[int, Answer]]:
        thread = threading.Thread(target=self._loop, name="endpoint", daemon=True)
        thread.start()
        try:
            while (arrival := self.arrived.get()) is not None:
                index, answer, taken = arrival
                yield index, answer
                self.loop.call_soon_threadsafe(taken.set)
        finally:
            self.loop.call_soon_threadsafe(self.work.cancel)
            thread.join()
            self.loop.close()
        self._raise_errors()

    def _loop(self) -> None:
        self.loop.run_until_complete(asyncio.wait([self.work]))
        self.arrived.put(None)

    def _raise_errors(self) -> None:
        """Raise what went wrong, if anything did."""
        error = self.work.exception()
        if isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        if isinstance(error, EndpointError):
            raise EndpointError(f"{self.endpoint.url}: {masked(str(error), self.key)}")
        if error is not None:
            raise error
        if self.budget.exhausted:
            raise EndpointError(f"{self.endpoint.url}: {self.budget.exhausted}")
        if self.unanswered:
            raise EndpointError(
                f"{self.endpoint.url}: {len(self.unanswered)} requests had no answer after "
                f"{self.retry.attempts} attempts ({self.unanswered[0]}); run again to ask for just those"
            )

    async def _all(self) -> None:
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        places = httpx.Limits(max_connections=self.endpoint.concurrency)
        limiter = RateLimiter(self.retry)
        encrypted = self.endpoint.url.startswith("https:")  # else spare the 0.3 s of reading certificates
        async with (
            httpx.AsyncClient(
                headers=headers, timeout=self.endpoint.timeout, limits=places, verify=encrypted
            ) as client,
            asyncio.TaskGroup() as group,
        ):
            for _ in range(self.endpoint.concurrency):
                group.create_task(self._worker(client, limiter))

    async def _worker(self, client: httpx.AsyncClient, limiter: RateLimiter) -> None:
        """Send one request after the other until none is left, or the budget allows no more."""
        while not (self.budget.exhausted or self.stopping):
            index, request = next(self.pending, (-1, None))
            if request is None:
                return
            try:
                answer = await self._send_with_retries(client, limiter, request)
            except EndpointError:  # ends all workers; what others have sent may be paid, and answered yet
                self.stopping, last = True, time.monotonic() + GRACE
                while self.in_flight and time.monotonic() < last:
                    await asyncio.sleep(0.02)
                raise
            if answer is not None:
                taken = asyncio.Event()
                self.arrived.put((index, answer, taken))
                await taken.wait()

    async def _send_with_retries(
        self, client: httpx.AsyncClient, limiter: RateLimiter, request: ChatRequest
    ) -> Answer | None:
        """One request until it is answered; `None` when the attempts or the budget are used up."""
        body = self._body(request)
        failures, limits, began = 0, 0, time.monotonic()
        while not self.stopping:
            reserved = await self.budget.reserve(body)
            if reserved is None:
                return None
            outcome = await self._attempt(client, limiter, body)
            self.budget.settle(reserved, self._cost(outcome))
            if not isinstance(outcome, _Failure):
                return outcome
            failures, limits = failures + (not outcome.limited), limits + outcome.limited
            if failures >= self.retry.attempts or time.monotonic() - began > self.retry.patience:
                self.unanswered.append(outcome.reason)
                return None
            await asyncio.sleep(self.retry.wait(failures + limits))
        return None

    async def _attempt(
        self, client: httpx.AsyncClient, limiter: RateLimiter, body: dict[str, Any]
    ) -> Answer | _Failure:
        address = f"{self.endpoint.url.rstrip('/')}/chat/completions"
        async with limiter.slot():
            self.in_flight += 1
            try:
                key = {"Idempotency-Key": digest(repr(body))}
                async with (
                    asyncio.timeout(self.endpoint.timeout),  # httpx's own is for each piece of a reply
                    client.stream("POST", address, json=body, headers=key) as answering,
                ):
                    response = await _whole(answering)
            except TimeoutError:
                failure = _Failure(f"no whole reply within {self.endpoint.timeout:g} s")
            except httpx.InvalidURL as error:
                raise EndpointError(f"no address of a server: {error}") from None
            except httpx.HTTPError as error:
                failure = _Failure(masked(f"{type(error).__name__} {error}".strip(), self.key))
            else:
                answer = self._read(response, limiter)
                if answer is not None:
                    limiter.record_success()
                    return answer
                status = _status(response)
                limited = status == codes.TOO_MANY_REQUESTS
                failure = _Failure(self._reason(response), limited, billed=status == codes.OK)
            finally:
                self.in_flight -= 1
            if not failure.limited:
                limiter.record_failure(failure.reason)
            return failure

    def _cost(self, outcome: Answer | _Failure) -> float | None:
        """Dollars of an attempt; `None`: unknown."""
        if isinstance(outcome, ChatReply) and outcome.tokens_in + outcome.tokens_out > 0:
            return cost(self.endpoint.price, outcome.tokens_in, outcome.tokens_out)
        if isinstance(outcome, ChatReply):
            return None
        free = outcome.status != codes.OK if isinstance(outcome, Refusal) else not outcome.billed
        return 0.0 if free else None

    def _body(self, request: ChatRequest) -> dict[str, Any]:
        options, temperature, top_p = self.options, self.options.temperature, self.options.top_p
        body: dict[str, Any] = {
            "model": self.endpoint.model,
            "messages": [message.as_dict() for message in request.messages],
            "max_tokens": options.max_new_tokens,
            # of `from_model`, what is left at its default is the server's
            "temperature": None if options.from_model and not temperature else temperature,
            "top_p": None if options.from_model and top_p == 1 else top_p,
            "stop": list(options.stop) or None,
            "seed": request.seed,
            "response_format": request.response_format,
        }
        body |= self.endpoint.parameters
        return {name: value for name, value in body.items() if value is not None}

    def _read(self, response: httpx.Response, limiter: RateLimiter) -> Answer | None:
        """Parse a response, `None`: retry; an `EndpointError` where all others would be refused too."""
        status, reason = _status(response), self._reason(response)
        if codes.is_redirect(status):
            raise EndpointError(f"the server points elsewhere; give its own address ({reason})")
        if status in FATAL_STATUSES and not (status == codes.FORBIDDEN and MODERATED.search(response.text)):
            raise EndpointError(f"{FATAL_STATUSES[status]} ({reason})")
        if status == codes.TOO_MANY_REQUESTS and "insufficient_quota" in response.text:
            raise EndpointError(f"the account has no quota left ({reason})")
        wait = parse_retry_after(response.headers)
        if wait is not None:
            limiter.obey(wait, reason)
        if status in TRANSIENT_STATUSES or status >= codes.INTERNAL_SERVER_ERROR:
            return None
        if status != codes.OK:
            return Refusal(status, reason)
        answer = _reply(response)
        if isinstance(answer, ChatReply):
            secret = self.key if len(self.key or "") >= WORD else None  # "EMPTY" is a word of answers, too
            text, reasoning = masked(answer.text, secret), masked(answer.reasoning, secret)
            return replace(answer, text=text, reasoning=reasoning)
        return answer and replace(answer, reason=masked(answer.reason, self.key))

    def _reason(self, response: httpx.Response) -> str:
        """The server's own words, in one short line without the key."""
        words = " ".join(masked(response.text, self.key).split()) or response.reason_phrase
        place = response.headers.get("location")
        if place and response.is_redirect:
            words = f"to {masked(re.sub('//[^/]*@', '//', re.split('[?#]', place)[0]), self.key)}"
        unread = ", but no whole chat completion" if response.is_success else ""
        return f"HTTP {response.status_code}{unread}: {words[:200]}"


async def _whole(answering: httpx.Response) -> httpx.Response:
    """A response with its body; an `httpx.HTTPError` where that is larger than any answer."""
    body = bytearray()
    async for part in answering.aiter_bytes():
        body += part
        if len(body) > LARGEST:
            raise httpx.DecodingError(f"a reply of more than {LARGEST >> 20} MB")
    headers = {name: value for name, value in answering.headers.items() if name not in BODY_HEADERS}
    return httpx.Response(answering.status_code, headers=headers, content=bytes(body))


def _status(response: httpx.Response) -> int:
    """The status of a response; of an error object that a proxy sent with 200, the one in it."""
    try:
        error = response.json()["error"] if response.status_code == codes.OK else None
        code = int(error["code"]) if error else codes.OK
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        code = codes.OK
    if code == codes.OK and MODERATED.search(response.text) and _reply(response) is None:
        return codes.BAD_REQUEST
    return code if codes.is_error(code) else response.status_code


def _reply(response: httpx.Response) -> Answer | None:
    """The answer in a 200 response; `None` when it is no chat completion, as half-broken proxies send."""
    try:
        body = response.json()
        choice = body["choices"][0]
        message, finish = choice["message"], str(choice.get("finish_reason")).lower()
        text, declined = _text(message.get("content")), message.get("refusal")
        thought = next(filter(None, map(message.get, ("reasoning_content", "reasoning", "thinking"))), None)
        thought = thought or _text(message.get("reasoning_details"), ("reasoning.text",))
        thought = thought or _text(message.get("content"), ("thinking", "reasoning"))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError, RecursionError):
        return None
    if finish in BROKEN_OFF:
        return None
    if FILTERED.search(finish):
        return Refusal(response.status_code, f"the reply was withheld (finish_reason {finish})")
    if declined or message.get("tool_calls"):
        words = " ".join(str(declined or "it calls tools").split())[:200]
        return Refusal(response.status_code, f"no answer in the reply ({words})")
    if text is None and (thought or finish in CUT):  # all of the limit, or of the reply, went into thinking
        text = ""
    if text is None:
        return Refusal(response.status_code, f"no text in the reply (finish_reason {finish})")
    thought = thought if isinstance(thought, str) else ""
    text, reasoning = (LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", each) for each in (text, thought))
    counts = [_count(body.get("usage"), name) for name in ("prompt_tokens", "completion_tokens")]
    return ChatReply(text, "length" if finish in CUT else "stop", counts[0], counts[1], reasoning)


def _count(usage: Any, name: str) -> int:
    """Tokens of a reply's `usage`; 0: it does not say."""
    try:
        return max(0, int(usage[name]))
    except (TypeError, ValueError, KeyError, OverflowError):
        return 0


def _text(content: Any, kinds: Collection[str] = ("text", "output_text")) -> str | None:
    """Content that is a text, or a list of parts of which those of the `kinds` count; `None`: neither."""
    if isinstance(content, str) and "text" in kinds:
        return content
    found = []
    for part in content if isinstance(content, list) else ():
        if ("text" if isinstance(part, str) else part.get("type", "text")) not in kinds:
            continue
        found.append(part if isinstance(part, str) else part.get("text") or _text(part.get("thinking")))
    texts = [part for part in found if isinstance(part, str)]
    return "".join(texts) if texts else None
