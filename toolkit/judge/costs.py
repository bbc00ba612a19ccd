"""Estimate the requests and tokens of judging before any request; what it did cost is in the verdicts."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from pydantic import ConfigDict

from toolkit.judge.factory import prompt_method
from toolkit.judge.grading import grading_case
from toolkit.judge.prompts import Case, JudgePrompt, build_case, render
from toolkit.judge.verdicts import Comparison, both_orders, conversations
from toolkit.recipe import Judge
from toolkit.types import Battle, Completion, Record

CHARACTERS_PER_TOKEN = 4.0
"""Of English text with the usual tokenizers."""


class Estimate(Record):
    """Requests and tokens that one judge still needs."""

    model_config = ConfigDict(use_attribute_docstrings=True)  # for the JSON schema

    judge: str
    battles: int
    """Or answers, where they are graded one by one."""
    identical: int
    """Battles between equal texts: ties without a request."""
    known: int
    """Verdicts that are on disk already."""
    requests: int
    tokens_in: int
    """At four characters a token."""
    tokens_out: int
    """At most: every reply as long as allowed, none unreadable."""
    dollars: float | None = None
    """At most; where prices are given."""


def estimate_judge(
    name: str, section: Judge, prompt: JudgePrompt, battles: Sequence[Battle], known: Collection[Comparison]
) -> Estimate:
    """The estimate of a judge that compares answers.

    Args:
        name: of the judge.
        section: the judge's section of a recipe.
        prompt: its judge prompt.
        battles: to be judged.
        known: comparisons whose verdicts are in the store.
    """
    different = _different(battles)
    left = [each for each in both_orders(different) if each not in known]
    cases = [build_case(battle, order, reference=section.reference) for battle, order in left]
    return Estimate(
        judge=name,
        battles=len(battles),
        identical=_identical(battles),
        known=2 * len(different) - len(left),
        **_usage(section, prompt, cases),
    )


def estimate_grades(
    name: str,
    section: Judge,
    prompt: JudgePrompt,
    rows: Sequence[Completion],
    left: Sequence[Completion],
) -> Estimate:
    """The estimate of a judge that grades single answers: all `rows`, of which `left` have no grade yet."""
    cases = [grading_case(row, section.reference) for row in left]
    known = len(rows) - len(left)
    usage = _usage(section, prompt, cases)
    return Estimate(judge=name, battles=len(rows), identical=0, known=known, **usage)


def estimate_reward(name: str, battles: Sequence[Battle], known: Collection[Comparison]) -> Estimate:
    """The estimate of a reward model, which reads every answer once."""
    different = _different(battles)
    left = [Comparison(battle, "ab") for battle in different if Comparison(battle, "ab") not in known]
    answers = {answer for each in left for answer in conversations(each)}
    return Estimate(
        judge=name,
        battles=len(battles),
        identical=_identical(battles),
        known=2 * (len(different) - len(left)),
        requests=len(answers),
        tokens_in=_count(message.content for answer in answers for message in answer),
        tokens_out=0,
    )


def _identical(battles: Sequence[Battle]) -> int:
    return sum(battle.completion_a == battle.completion_b for battle in battles)


def _different(battles: Sequence[Battle]) -> list[Battle]:
    """The battles between different texts, each once."""
    return list({each.id: each for each in battles if each.completion_a != each.completion_b}.values())


def _usage(section: Judge, prompt: JudgePrompt, cases: Sequence[Case]) -> dict[str, Any]:
    method = prompt_method(section)
    shown = (message.content for case in cases for message in render(prompt, method, case))
    longest = section.max_new_tokens if method == "written" else 0
    return {"requests": len(cases), "tokens_in": _count(shown), "tokens_out": len(cases) * longest}


def _count(texts: Iterable[str]) -> int:
    return sum(math.ceil(len(text) / CHARACTERS_PER_TOKEN) for text in texts)
