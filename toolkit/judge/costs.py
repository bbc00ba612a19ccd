"""Estimate the requests and tokens of judging before any request; what it did cost is in the verdicts."""

from __future__ import annotations

import math
from collections.abc import Container, Sequence

from pydantic import ConfigDict

from toolkit.judge.factory import METHODS, load_judge_prompt
from toolkit.judge.prompts import render
from toolkit.judge.questions import Comparison, Grading, conversations
from toolkit.recipe import Judge
from toolkit.types import Record

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


def estimate_usage(
    name: str, section: Judge, questions: Sequence[Comparison] | Sequence[Grading], known: Container[object]
) -> Estimate:
    """What a judge still needs.

    Args:
        name: of the judge.
        section: the judge's section of a recipe.
        questions: both orders of every battle, or every answer to grade.
        known: questions whose judgments are in the store.
    """
    asked = METHODS[section.method].asked
    orders = 2 if questions and isinstance(questions[0], Comparison) else 1
    different = {each.subject: each for each in questions if not each.identical}.values()
    left = [each for each in different if each not in known]
    if asked is None:  # every answer is read once
        read = {answer for each in left if isinstance(each, Comparison) for answer in conversations(each)}
        shown, written = [*read], 0
    else:
        prompt = load_judge_prompt(section)
        shown = [render(prompt, asked, each.case(section.reference)) for each in left]
        written = section.max_new_tokens if asked == "written" else 0
    texts = [message.content for messages in shown for message in messages]
    return Estimate(
        judge=name,
        battles=len(questions) // orders,
        identical=sum(each.identical for each in questions) // orders,
        known=len(different) - len(left),
        requests=len(shown),
        tokens_in=sum(math.ceil(len(text) / CHARACTERS_PER_TOKEN) for text in texts),
        tokens_out=len(shown) * written,
    )
