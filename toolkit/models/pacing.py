"""When to ask an endpoint again: rate limits, back-off, and a circuit breaker shared by all requests."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from toolkit.errors import EndpointError

logger = logging.getLogger(__name__)

SILENT_HOLD = 10.0
"""Seconds up to which waiting for a server is not worth a line."""

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Retry:
    """How long to go on asking. Times are seconds."""

    attempts: int = 6
    """Of one request, the first included; those that were only asked to wait (429) do not count."""
    patience: float = 3600.0
    """How long one request waits altogether."""
    first_wait: float = 0.5
    """Back-off before the second attempt; it doubles from one to the next, and is drawn from 50-100% of it,
    so that requests that failed together do not come back together."""
    longest_wait: float = 60.0
    trip_after: int = 10
    """Failures in a row, over all requests, after which all wait and one at a time tries the server."""
    cool_off: float = 5.0
    """Wait before the first of these tries; it doubles from one to the next."""
    tries: int = 5
    """That may fail before the server counts as down."""
    longest_hold: float = 600.0
    """What a server may ask to wait (`Retry-After`); for more, the work stops and says so."""

    def wait(self, failures: int) -> float:
        """Seconds to wait after so many failures."""
        longest = min(self.longest_wait, self.first_wait * 2.0 ** max(0, failures - 1))
        return random.uniform(longest / 2, longest)


class Gate:
    """What every request to one endpoint passes: open, held for a while, or open to one at a time."""

    def __init__(self, retry: Retry) -> None:
        self.retry = retry
        self.opens_at = 0.0
        self.failures = 0
        self.tries = 0
        self.tripped = False
        self.reason = ""
        self._one = asyncio.Lock()

    @asynccontextmanager
    async def passage(self) -> AsyncIterator[None]:
        """Wait until a request may be sent; the body sends it."""
        await self._opened()
        if self.tripped:
            async with self._one:
                await self._opened()
                if self.tripped:  # unless the one before was answered
                    yield
                    return
        yield

    def hold(self, seconds: float, reason: str) -> None:
        """Let no request through for this long; `reason` is the server's."""
        if self.retry.longest_hold >= seconds > SILENT_HOLD and self.opens_at < time.monotonic():
            logger.warning("the server asks to wait %.0f s (%s)", seconds, reason)
        self.reason = reason
        self.opens_at = max(self.opens_at, time.monotonic() + seconds)

    def succeeded(self) -> None:
        self.failures, self.tries, self.tripped = 0, 0, False

    def failed(self, reason: str) -> None:
        """Count a failure; enough of them in a row trip the breaker.

        Raises:
            EndpointError: the server has failed at every single try since.
        """
        self.failures += 1
        if not self.tripped and self.failures < self.retry.trip_after:
            return
        if self.tries >= self.retry.tries:
            raise EndpointError(f"{self.failures} requests in a row failed, the last with: {reason}")
        pause = min(self.retry.longest_wait, self.retry.cool_off * 2.0**self.tries)
        logger.warning("%d requests in a row failed (%s); waiting %.0f s", self.failures, reason, pause)
        self.tries, self.tripped = self.tries + 1, True
        self.hold(pause, reason)

    async def _opened(self) -> None:
        """Wait until requests may be sent again.

        Raises:
            EndpointError: that is too long to wait for.
        """
        while (wait := self.opens_at - time.monotonic()) > 0:
            if wait > max(self.retry.longest_hold, self.retry.longest_wait):
                raise EndpointError(
                    f"the server asks to wait {wait:.0f} s ({wait / 3600:.1f} hours; {self.reason}); what "
                    "was answered is kept, run again then"
                )
            await asyncio.sleep(wait * random.uniform(1.0, 1.1))


def asked_to_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds a reply's headers ask to wait: `retry-after`, or an exhausted `x-ratelimit-...` budget."""
    if "retry-after-ms" in headers:
        return _number(headers["retry-after-ms"], scale=0.001)
    if "retry-after" in headers:
        seconds = _number(headers["retry-after"])
        return _until(headers["retry-after"]) if seconds is None else seconds
    waits = [
        duration(headers.get(f"x-ratelimit-reset-{what}", ""))
        for what in ("requests", "tokens")
        if headers.get(f"x-ratelimit-remaining-{what}", "").strip() == "0"
    ]
    return max((wait for wait in waits if wait is not None), default=None)


def duration(text: str) -> float | None:
    """`6m0s`, `250ms`, `1.5` -> seconds."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", text)
    if not parts:
        return _number(text)
    return sum(float(number) * UNITS[unit] for number, unit in parts)


def _number(text: str, scale: float = 1.0) -> float | None:
    try:
        seconds = float(text) * scale
    except ValueError:
        return None
    return None if math.isnan(seconds) else max(0.0, seconds)


def _until(date: str) -> float | None:
    try:
        return max(0.0, parsedate_to_datetime(date).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None
