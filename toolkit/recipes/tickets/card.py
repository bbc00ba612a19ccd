"""The demo's own measures of a ticket card: `(completion, reference, example) -> float`.

A promise is judged by its words, not by its wording: replies that training never showed can be right.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

FIELDS = ("Customer", "Product", "Order", "Problem", "Priority", "Action")
PROMISES = {
    "refund": r"refund|money back|reimburse",
    "replace": r"\b(?:new|another|replacement)\b",
    "repair": r"repair|fix|mend|workshop|technician",
    "call": r"\b(?:call|phone|ring)\b",
}
WHEN = {"high": "today", "normal": "this week", "low": "next week"}


def fields_right(completion: str, reference: str | None, _example: Mapping[str, Any]) -> float:
    """Whether all six fields are those of the reference."""
    found, expected = _card(completion), _card(reference or "")
    return float(all(found.get(name) == expected[name] for name in FIELDS))


def promise_right(completion: str, reference: str | None, _example: Mapping[str, Any]) -> float:
    """Whether the reply names the customer and promises what the action and priority say, no other action."""
    reply, expected = _card(completion).get("Reply", ""), _card(reference or "")
    action = expected["Action"]
    promised = {name for name, words in PROMISES.items() if re.search(words, reply)}
    dates = {date for date in WHEN.values() if date in reply}
    if action == "ask":
        right = promised == {"refund", "replace"} and not dates and "?" in reply
    else:
        right = promised == {action} and dates == {WHEN[expected["Priority"]]}
    return float(right and expected["Customer"].split()[0] in reply)


def card_right(completion: str, reference: str | None, example: Mapping[str, Any]) -> float:
    """Whether the fields and the promise are right."""
    return fields_right(completion, reference, example) * promise_right(completion, reference, example)


def reply_words(completion: str, _reference: str | None, _example: Mapping[str, Any]) -> float:
    """Length of the reply in words; without a card, of the whole answer."""
    return float(len((_card(completion).get("Reply") or completion).split()))


def _card(text: str) -> dict[str, str]:
    """The lines `Field: value` of a card, values in small letters."""
    lines = (line.split(":", 1) for line in text.strip().lower().split("\n") if ":" in line)
    return {name.strip().capitalize(): value.strip() for name, value in lines}
