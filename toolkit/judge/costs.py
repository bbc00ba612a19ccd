"""What judging will cost, before anything is asked; the verdicts themselves hold what it did cost."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence

from pydantic import ConfigDict

from toolkit.judge.asking import Case, JudgePrompt, Method, case, render
from toolkit.judge.judging import LONGEST_REPLY, ORDERS, Ask, sides
from toolkit.types import Battle, Record

CHARACTERS = 4.0
"""Of English text in a token of the usual tokenizers."""


class Estimate(Record):
    """What is still to be asked, and how much of it there is."""

    model_config = ConfigDict(use_attribute_docstrings=True)  # for the JSON schema

    judge: str
    battles: int
    """Or answers, where they are graded one by one."""
    identical: int
    """Battles between equal texts: ties that nobody is asked about."""
    known: int
    """Verdicts that are on disk already."""
    requests: int
    tokens_in: int
    """Four characters are taken for one."""
    tokens_out: int
    """At most: every reply as long as it may be, none unreadable."""
    dollars: float | None = None
    """At most; where prices are given."""


def price(tokens_in: int, tokens_out: int, dollars: tuple[float, float]) -> float:
    """In dollars, at `dollars` for a million tokens read and written."""
    return (tokens_in * dollars[0] + tokens_out * dollars[1]) / 1e6


def estimate(
    judge: str,
    battles: Sequence[Battle],
    prompt: JudgePrompt,
    method: Method,
    known: Collection[tuple[str, str]] = (),
    reference: bool = True,
) -> Estimate:
    """What a judge will be asked for these battles. Asks nothing of any model or network.

    Args:
        judge: its name.
        battles: to be judged.
        prompt: the judge prompt.
        method: `letter` replies with nothing, `written` in words.
        known: (battle id, order) of verdicts that are there.
        reference: whether the prompt is shown the reference answers.
    """
    different = [battle for battle in battles if battle.completion_a != battle.completion_b]
    asks = [(b, order) for b in different for order in ORDERS if (b.id, order) not in known]
    return Estimate(
        judge=judge,
        battles=len(battles),
        identical=len(battles) - len(different),
        known=2 * len(different) - len(asks),
        **tokens(prompt, method, [case(battle, order, reference=reference) for battle, order in asks]),
    )


def reward_estimate(
    judge: str, battles: Sequence[Battle], known: Collection[tuple[str, str]] = ()
) -> Estimate:
    """The same of a reward model, which reads every answer once."""
    different = [battle for battle in battles if battle.completion_a != battle.completion_b]
    left = [battle for battle in different if (battle.id, "ab") not in known]
    answers = {side for battle in left for side in sides(Ask(battle, "ab"))}
    return Estimate(
        judge=judge,
        battles=len(battles),
        identical=len(battles) - len(different),
        known=2 * (len(different) - len(left)),
        requests=len(answers),
        tokens_in=_count(message.content for answer in answers for message in answer),
        tokens_out=0,
    )


def tokens(prompt: JudgePrompt, method: Method, cases: Sequence[Case]) -> dict[str, int]:
    """Requests, and the tokens of what is asked and at most replied."""
    shown = (message.content for each in cases for message in render(prompt, method, each))
    return {
        "requests": len(cases),
        "tokens_in": _count(shown),
        "tokens_out": len(cases) * LONGEST_REPLY if method == "written" else 0,
    }


def _count(texts: Iterable[str]) -> int:
    return sum(math.ceil(len(text) / CHARACTERS) for text in texts)
