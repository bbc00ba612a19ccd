"""Rate limits, back-off, circuit breaker and budget, shared by all requests to one endpoint."""

import asyncio
import json
import logging
import math
import random
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from toolkit.errors import EndpointError
from toolkit.recipe import Endpoint

logger = logging.getLogger(__name__)

MIN_LOGGED_WAIT = 10.0  # seconds up to which waiting for a server is not worth a line

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}

EPOCH = 1e9  # seconds from which on a number is a point in time (in 2001 or later), not how long to wait


@dataclass(frozen=True)
class Retry:
    """Retry policy. Times are in seconds."""

    attempts: int = 6  # of one request, the first included; those answered by 429 do not count
    patience: float = 3600.0  # how long one request waits altogether
    first_wait: float = 0.5
    """Back-off before the second attempt; it doubles from one to the next, and is drawn from 50-100% of it,
    so that requests that failed together do not come back together."""
    longest_wait: float = 60.0
    trip_after: int = 10
    """Failures in a row, over all requests, after which all wait and one at a time tries the server."""
    cool_off: float = 5.0  # wait before the first of these tries; it doubles from one to the next
    tries: int = 5  # that may fail before the server counts as down
    max_server_wait: float = 600.0
    """What a server may ask to wait (`Retry-After`); for more, the work stops and says so."""

    def wait(self, failures: int) -> float:
        """Seconds to wait after so many failures."""
        longest = min(self.longest_wait, self.first_wait * 2.0 ** max(0, failures - 1))
        return random.uniform(longest / 2, longest)


class RateLimiter:
    """Rate limiter and circuit breaker of one endpoint: open, paused, or open to one request at a time."""

    def __init__(self, retry: Retry) -> None:
        self.retry = retry
        self.opens_at = 0.0
        self.failures = 0
        self.tries = 0
        self.tripped = False
        self.reason = ""
        self._one = asyncio.Lock()

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait until a request may be sent; the body sends it."""
        await self._wait_until_open()
        if self.tripped:
            async with self._one:
                await self._wait_until_open()
                if self.tripped:  # unless the one before was answered
                    yield
                    return
        yield

    def obey(self, seconds: float, reason: str) -> None:
        """Pause all requests for as long as the server asks (`Retry-After`); `reason` is the server's."""
        if self.retry.max_server_wait >= seconds > MIN_LOGGED_WAIT and self.opens_at < time.monotonic():
            logger.warning("the server asks to wait %.0f s (%s)", seconds, reason)
        self._pause(seconds, reason)

    def _pause(self, seconds: float, reason: str) -> None:
        self.reason = reason
        self.opens_at = max(self.opens_at, time.monotonic() + seconds)

    def record_success(self) -> None:
        self.failures, self.tries, self.tripped = 0, 0, False

    def record_failure(self, reason: str) -> None:
        """Count a failure; many in a row trip the breaker, and more raise an `EndpointError`."""
        self.failures += 1
        if not self.tripped and self.failures < self.retry.trip_after:
            return
        if self.tries >= self.retry.tries:
            raise EndpointError(f"{self.failures} requests in a row failed, the last with: {reason}")
        pause = min(self.retry.longest_wait, self.retry.cool_off * 2.0**self.tries)
        logger.warning("%d requests in a row failed (%s); waiting %.0f s", self.failures, reason, pause)
        self.tries, self.tripped = self.tries + 1, True
        self._pause(pause, reason)

    async def _wait_until_open(self) -> None:
        """Wait until requests may be sent; an `EndpointError` where that is too long."""
        while (wait := self.opens_at - time.monotonic()) > 0:
            if wait > max(self.retry.max_server_wait, self.retry.longest_wait):
                problem = f"the server asks to wait {wait:.0f} s ({wait / 3600:.1f} hours; {self.reason})"
                raise EndpointError(f"{problem}; what was answered is kept, run again then")
            await asyncio.sleep(wait * random.uniform(1.0, 1.1))


def parse_retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds a reply's headers ask to wait: `retry-after`, or an exhausted `x-ratelimit-...` budget."""
    if "retry-after-ms" in headers:
        return _parse_seconds(headers["retry-after-ms"], scale=0.001)
    if "retry-after" in headers:
        seconds = _parse_seconds(headers["retry-after"])
        return _seconds_until(headers["retry-after"]) if seconds is None else seconds
    waits = [
        parse_duration(headers.get(f"x-ratelimit-reset-{what}", ""))
        for what in ("requests", "tokens")
        if headers.get(f"x-ratelimit-remaining-{what}", "").strip() == "0"
    ]
    return max((wait for wait in waits if wait is not None), default=None)


def parse_duration(text: str) -> float | None:
    """`6m0s`, `250ms`, `1.5`, or a point in time in seconds or milliseconds -> seconds to wait."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", text)
    seconds = sum(float(number) * UNITS[unit] for number, unit in parts) if parts else _parse_seconds(text)
    if seconds is None or seconds < EPOCH:
        return seconds
    return max(0.0, (seconds / 1000 if seconds > 1000 * EPOCH else seconds) - time.time())


def _parse_seconds(text: str, scale: float = 1.0) -> float | None:
    try:
        seconds = float(text) * scale
    except ValueError:
        return None
    return None if math.isnan(seconds) else max(0.0, seconds)


def _seconds_until(date: str) -> float | None:
    try:
        return max(0.0, parsedate_to_datetime(date).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


OVERHEAD_TOKENS = 64  # tokens that a server may put around a conversation (its template), at most
UNLIMITED_TOKENS = 1_000_000  # taken for a reply without a limit
MILLION = 1e6  # prices are dollars for so many tokens


@dataclass
class Spending:
    """Dollars that one endpoint has cost so far, over several calls."""

    dollars: float = 0.0


class Budget:
    """Money of one endpoint: spent, and reserved by requests under way. Belongs to one event loop."""

    def __init__(self, endpoint: Endpoint, spending: Spending) -> None:
        self.limit = math.inf if endpoint.budget_usd is None else endpoint.budget_usd
        self.price, self.spending, self.reserved = endpoint.price, spending, 0.0
        self.exhausted: str | None = None
        """Why no further request is sent."""
        self._settled, self._under_way = asyncio.Event(), 0

    async def reserve(self, body: dict[str, Any]) -> float | None:
        """Dollars reserved for a request, an upper bound; `None`: over budget."""
        if math.isinf(self.limit):
            return 0.0
        shown = len(json.dumps(body, ensure_ascii=False, default=str).encode(errors="replace"))
        limits = [body.get(name) for name in ("max_tokens", "max_completion_tokens")]
        longest = max((limit for limit in limits if isinstance(limit, int)), default=UNLIMITED_TOKENS)
        most = cost(self.price, shown + OVERHEAD_TOKENS, longest * int(body.get("n") or 1))
        while not self.exhausted and self.spending.dollars + self.reserved + most > self.limit:
            if not self._under_way:
                self.exhausted = (
                    f"budget_usd: {self.spending.dollars:.4f} of {self.limit:g} dollars are spent, and the "
                    f"next request may cost {most:.4f}; what was answered is kept, raise the budget to go on"
                )
                self._settled.set()
                return None
            self._settled.clear()
            await self._settled.wait()
        if self.exhausted:
            return None
        self.reserved, self._under_way = self.reserved + most, self._under_way + 1
        return most

    def settle(self, reserved: float, dollars: float | None) -> None:
        """Count what a request has cost; `None`, not known: all that was set aside."""
        if math.isinf(self.limit):
            return
        self._under_way -= 1
        self.reserved = self.reserved - reserved if self._under_way else 0.0  # no rounding is left over
        self.spending.dollars += reserved if dollars is None else dollars
        self._settled.set()


def cost(price: tuple[float, float] | None, tokens_in: int, tokens_out: int) -> float:
    """Dollars of so many tokens, at a price for a million of each kind; nothing where there is no price."""
    price_in, price_out = price or (0.0, 0.0)
    return (tokens_in * price_in + tokens_out * price_out) / MILLION
