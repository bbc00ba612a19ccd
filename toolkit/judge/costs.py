"""What judging will cost, before anything is asked; the verdicts themselves hold what it did cost."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence

from pydantic import ConfigDict

from toolkit.judge.prompts import Case, JudgePrompt, Method, build_case, render
from toolkit.judge.verdicts import LONGEST_REPLY, Comparison, both_orders, conversations
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


def dollar_cost(tokens_in: int, tokens_out: int, dollars: tuple[float, float]) -> float:
    """In dollars, at `dollars` for a million tokens read and written."""
    return (tokens_in * dollars[0] + tokens_out * dollars[1]) / 1e6


def estimate_judge(
    judge: str,
    battles: Sequence[Battle],
    prompt: JudgePrompt,
    method: Method,
    known: Collection[Comparison] = (),
    reference: bool = True,
) -> Estimate:
    """What a judge will be asked for these battles. Asks nothing of any model or network.

    Args:
        judge: its name.
        battles: to be judged.
        prompt: the judge prompt.
        method: `letter` replies with nothing, `written` in words.
        known: those whose verdicts are there.
        reference: whether the prompt is shown the reference answers.
    """
    different = _different(battles)
    comparisons = [comparison for comparison in both_orders(different) if comparison not in known]
    return Estimate(
        judge=judge,
        battles=len(battles),
        identical=sum(battle.completion_a == battle.completion_b for battle in battles),
        known=2 * len(different) - len(comparisons),
        **count_tokens(
            prompt, method, [build_case(battle, order, reference=reference) for battle, order in comparisons]
        ),
    )


def estimate_reward(judge: str, battles: Sequence[Battle], known: Collection[Comparison] = ()) -> Estimate:
    """The same of a reward model, which reads every answer once."""
    different = _different(battles)
    left = [battle for battle in different if Comparison(battle, "ab") not in known]
    answers = {side for battle in left for side in conversations(Comparison(battle, "ab"))}
    return Estimate(
        judge=judge,
        battles=len(battles),
        identical=sum(battle.completion_a == battle.completion_b for battle in battles),
        known=2 * (len(different) - len(left)),
        requests=len(answers),
        tokens_in=_count(message.content for answer in answers for message in answer),
        tokens_out=0,
    )


def _different(battles: Sequence[Battle]) -> list[Battle]:
    """What is to be judged: no battle between equal texts, and none twice."""
    return list({each.id: each for each in battles if each.completion_a != each.completion_b}.values())


def count_tokens(prompt: JudgePrompt, method: Method, cases: Sequence[Case]) -> dict[str, int]:
    """Requests, and the tokens of what is asked and at most replied."""
    shown = (message.content for each in cases for message in render(prompt, method, each))
    return {
        "requests": len(cases),
        "tokens_in": _count(shown),
        "tokens_out": len(cases) * LONGEST_REPLY if method == "written" else 0,
    }


def _count(texts: Iterable[str]) -> int:
    return sum(math.ceil(len(text) / CHARACTERS) for text in texts)
