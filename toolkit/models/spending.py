"""What an endpoint may cost: requests are sent only while the dearest outcome still fits the budget."""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import dataclass
from typing import Any

from toolkit.recipe import Endpoint

OVERHEAD_TOKENS = 64
"""Tokens that a server may put around a conversation (its template), at most."""

UNLIMITED_TOKENS = 1_000_000
"""Taken for a reply without a limit."""

MILLION = 1e6
"""Prices are dollars for so many tokens."""


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
        """Dollars set aside for a request, as soon as they are free; `None`: the budget has no room for it.

        A token is at least one byte of the conversation, so the sum is never too small.
        """
        if math.isinf(self.limit):
            return 0.0
        most = self._most(body)
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

    def cost(self, tokens_in: int, tokens_out: int) -> float:
        """Dollars."""
        return cost(self.price, tokens_in, tokens_out)

    def _most(self, body: dict[str, Any]) -> float:
        shown = len(json.dumps(body, ensure_ascii=False, default=str).encode(errors="replace"))
        limits = [body.get(name) for name in ("max_tokens", "max_completion_tokens")]
        longest = max((limit for limit in limits if isinstance(limit, int)), default=UNLIMITED_TOKENS)
        return self.cost(shown + OVERHEAD_TOKENS, longest * int(body.get("n") or 1))


def cost(price: tuple[float, float] | None, tokens_in: int, tokens_out: int) -> float:
    """Dollars of so many tokens, at a price for a million of each kind; nothing where there is no price."""
    price_in, price_out = price or (0.0, 0.0)
    return (tokens_in * price_in + tokens_out * price_out) / MILLION
