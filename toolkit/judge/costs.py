"""What judging will cost, before anything is asked; the verdicts themselves hold what it did cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence

from toolkit.judge.asking import JudgePrompt, Method, case, render
from toolkit.judge.judging import ORDERS
from toolkit.types import Battle, Record

CHARACTERS = 4.0
"""Of English text in a token of the usual tokenizers."""


class Estimate(Record):
    """What is still to be asked, and how much of it there is."""

    battles: int
    identical: int
    """Battles between equal texts: ties that nobody is asked about."""
    known: int
    """Verdicts that are on disk already."""
    requests: int
    tokens_in: int
    tokens_out: int
    """At most: every reply as long as it may be, none unreadable."""

    def price(self, dollars_in: float, dollars_out: float) -> float:
        """In dollars, at dollars for a million tokens."""
        return (self.tokens_in * dollars_in + self.tokens_out * dollars_out) / 1e6


def estimate(
    battles: Sequence[Battle],
    prompt: JudgePrompt,
    method: Method,
    *,
    known: Collection[tuple[str, str]] = (),
    longest_reply: int = 512,
    count: Callable[[str], int] | None = None,
) -> Estimate:
    """What a judge will be asked for these battles. Asks nothing of any model or network.

    Args:
        battles: to be judged.
        prompt: the judge prompt.
        method: `letter` replies with nothing, `written` with up to `longest_reply` tokens.
        known: (battle id, order) of verdicts that are there.
        longest_reply: in tokens.
        count: tokens of a text; left out, four characters are one.
    """
    count = count or (lambda text: math.ceil(len(text) / CHARACTERS))
    different = [battle for battle in battles if battle.completion_a != battle.completion_b]
    asks = [(b, order) for b in different for order in ORDERS if (b.id, order) not in known]
    shown = (render(prompt, method, case(battle, order)) for battle, order in asks)
    return Estimate(
        battles=len(battles),
        identical=len(battles) - len(different),
        known=2 * len(different) - len(asks),
        requests=len(asks),
        tokens_in=sum(count(message.content) for messages in shown for message in messages),
        tokens_out=len(asks) * longest_reply if method == "written" else 0,
    )
