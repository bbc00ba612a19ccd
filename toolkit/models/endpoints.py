"""Models behind an OpenAI-compatible server: many conversations at once, each answered as soon as it is.

for index, reply in chat(endpoint, [ChatRequest(messages)], Generation()):
    ...
"""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import httpx

from toolkit.errors import EndpointError, ModelError
from toolkit.models.pacing import Gate, Retry, asked_to_wait
from toolkit.recipe import Endpoint, Generation
from toolkit.types import Message, digest

logger = logging.getLogger(__name__)

HOPELESS = {401: "the API key is refused", 403: "access is refused", 404: "no such model or address"}
"""Statuses that every other request would get too."""

PASSING = {408, 409, 425, 429}
"""Statuses below 500 that may be gone at the next attempt."""

HALF_PAIR = re.compile("[\ud800-\udfff]")
"""Half a surrogate pair, as servers send that cut a text between the two; no file or database can keep it."""


@dataclass(frozen=True)
class ChatRequest:
    """One conversation to be answered."""

    messages: tuple[Message, ...]
    seed: int | None = None
    response_format: Mapping[str, Any] | None = None
    """Structured output, where the server has it."""


@dataclass(frozen=True)
class ChatReply:
    text: str
    finish: Literal["stop", "length"]
    tokens_in: int
    tokens_out: int
    """As the server counts them; 0 where it does not."""


@dataclass(frozen=True)
class Refusal:
    """The server's last word on one request: it would refuse the same request again."""

    status: int
    reason: str


Answer = ChatReply | Refusal


def chat(
    endpoint: Endpoint, requests: Iterable[ChatRequest], options: Generation, *, retry: Retry = Retry()
) -> Iterator[tuple[int, Answer]]:
    """Yield (position in `requests`, reply) as replies arrive, `endpoint.concurrency` requests at a time.

    A request's place is taken by the next one only when the caller comes back for more: what the caller does
    with a reply is done before the next request is drawn from `requests` and sent in its place. Statuses 429
    and 5xx, broken connections and timeouts are tried again (`retry`), and rate-limit headers are obeyed by
    all requests. Each request carries an `Idempotency-Key`, a hash of its body: the same at every attempt,
    also of a later process.

    Raises:
        ModelError: the environment variable with the API key is not set.
        EndpointError: the server is down or refuses everything; or, once all others are answered, some
            requests had no answer at any attempt.
    """
    if requests:
        yield from _Exchange(endpoint, requests, options, retry).run()


def api_key(endpoint: Endpoint) -> str | None:
    """The key from the environment variable the endpoint names."""
    if endpoint.key_env is None:
        return None
    key = os.environ.get(endpoint.key_env)
    if not key:
        raise ModelError(f"{endpoint.url}: environment variable {endpoint.key_env} holds no API key; set it")
    return key


@dataclass(frozen=True)
class _Failure:
    """An attempt that may be made again."""

    reason: str
    limited: bool = False
    """The server is there, and asks for patience."""


@dataclass(frozen=True)
class _Arrival:
    """A reply on its way from the event loop to the caller."""

    index: int
    answer: Answer
    taken: asyncio.Event
    """Set when the caller has done with the reply, which frees its place."""


class _Exchange:
    """One call of `chat`, its event loop in a thread of its own: a caller may have a loop already."""

    def __init__(
        self, endpoint: Endpoint, requests: Iterable[ChatRequest], options: Generation, retry: Retry
    ) -> None:
        self.endpoint, self.options, self.retry = endpoint, options, retry
        self.key = api_key(endpoint)
        self.waiting = iter(enumerate(requests))
        self.arrived: queue.SimpleQueue[_Arrival | None] = queue.SimpleQueue()
        """Replies; `None` when there are no more."""
        self.unanswered: list[str] = []
        self.loop = asyncio.new_event_loop()
        self.work = self.loop.create_task(self._all())

    def run(self) -> Iterator[tuple[int, Answer]]:
        thread = threading.Thread(target=self._loop, name="endpoint", daemon=True)
        thread.start()
        try:
            while (arrival := self.arrived.get()) is not None:
                yield arrival.index, arrival.answer
                self.loop.call_soon_threadsafe(arrival.taken.set)
        finally:
            self.loop.call_soon_threadsafe(self.work.cancel)
            thread.join()
            self.loop.close()
        self._complain()

    def _loop(self) -> None:
        self.loop.run_until_complete(asyncio.wait([self.work]))
        self.arrived.put(None)

    def _complain(self) -> None:
        """Raise what went wrong, if anything did."""
        error = self.work.exception()
        if isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        if isinstance(error, EndpointError):
            raise EndpointError(f"{self.endpoint.url}: {error}")
        if error is not None:
            raise error
        if self.unanswered:
            raise EndpointError(
                f"{self.endpoint.url}: {len(self.unanswered)} requests had no answer after "
                f"{self.retry.attempts} attempts ({self.unanswered[0]}); run again to ask for just those"
            )

    async def _all(self) -> None:
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        places = httpx.Limits(max_connections=self.endpoint.concurrency)
        gate = Gate(self.retry)
        encrypted = self.endpoint.url.startswith("https:")  # else spare the 0.3 s of reading certificates
        async with (
            httpx.AsyncClient(
                headers=headers, timeout=self.endpoint.timeout, limits=places, verify=encrypted
            ) as client,
            asyncio.TaskGroup() as group,
        ):
            for _ in range(self.endpoint.concurrency):
                group.create_task(self._place(client, gate))

    async def _place(self, client: httpx.AsyncClient, gate: Gate) -> None:
        """Send one request after the other until none is left."""
        for index, request in self.waiting:
            answer = await self._ask(client, gate, request)
            if answer is not None:
                arrival = _Arrival(index, answer, asyncio.Event())
                self.arrived.put(arrival)
                await arrival.taken.wait()

    async def _ask(self, client: httpx.AsyncClient, gate: Gate, request: ChatRequest) -> Answer | None:
        """One request until it is answered; `None` when the attempts are used up."""
        body = self._body(request)
        failures, began = 0, time.monotonic()
        while True:
            outcome = await self._attempt(client, gate, body)
            if not isinstance(outcome, _Failure):
                return outcome
            failures += not outcome.limited
            if failures >= self.retry.attempts or time.monotonic() - began > self.retry.patience:
                self.unanswered.append(outcome.reason)
                return None
            await asyncio.sleep(self.retry.wait(failures))

    async def _attempt(
        self, client: httpx.AsyncClient, gate: Gate, body: dict[str, Any]
    ) -> Answer | _Failure:
        address = f"{self.endpoint.url.rstrip('/')}/chat/completions"
        async with gate.passage():
            try:
                key = {"Idempotency-Key": digest(repr(body))}
                response = await client.post(address, json=body, headers=key)
            except httpx.HTTPError as error:
                failure = _Failure(f"{type(error).__name__} {error}".strip())
            else:
                answer = self._read(response, gate)
                if answer is not None:
                    gate.succeeded()
                    return answer
                limited = response.status_code == httpx.codes.TOO_MANY_REQUESTS
                failure = _Failure(self._reason(response), limited)
            if not failure.limited:
                gate.failed(failure.reason)
            return failure

    def _body(self, request: ChatRequest) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.endpoint.model,
            "messages": [message.as_dict() for message in request.messages],
            "max_tokens": self.options.max_new_tokens,
            "temperature": self.options.temperature,
            "top_p": self.options.top_p,
            "stop": list(self.options.stop) or None,
            "seed": request.seed,
            "response_format": request.response_format,
        }
        body |= self.endpoint.parameters
        return {name: value for name, value in body.items() if value is not None}

    def _read(self, response: httpx.Response, gate: Gate) -> Answer | None:
        """What a response says; `None`: ask again.

        Raises:
            EndpointError: every other request would be refused as well.
        """
        wait = asked_to_wait(response.headers)
        if wait is not None:
            gate.hold(wait)
        status = response.status_code
        if status in HOPELESS:
            raise EndpointError(f"{HOPELESS[status]} ({self._reason(response)})")
        if status == httpx.codes.TOO_MANY_REQUESTS and "insufficient_quota" in response.text:
            raise EndpointError(f"the account has no quota left ({self._reason(response)})")
        if status in PASSING or status >= httpx.codes.INTERNAL_SERVER_ERROR:
            return None
        if status != httpx.codes.OK:
            return Refusal(status, self._reason(response))
        return _reply(response)

    def _reason(self, response: httpx.Response) -> str:
        """The server's own words, in one short line without the key."""
        words = " ".join(response.text.split())[:200] or response.reason_phrase
        shown = words.replace(self.key, "***") if self.key else words
        return f"HTTP {response.status_code}: {shown}"


def _reply(response: httpx.Response) -> Answer | None:
    """The answer in a 200 response; `None` when it is no chat completion, as half-broken proxies send."""
    try:
        body = response.json()
        choice = body["choices"][0]
        text, finish = choice["message"]["content"], choice.get("finish_reason")
        usage = body.get("usage") or {}
        counts = int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return None
    if not isinstance(text, str) or finish == "content_filter":
        return Refusal(response.status_code, f"no text in the reply (finish_reason {finish})")
    text = HALF_PAIR.sub("\N{REPLACEMENT CHARACTER}", text)
    return ChatReply(text, "length" if finish == "length" else "stop", *counts)
