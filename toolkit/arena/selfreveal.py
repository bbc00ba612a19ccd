"""Answers that say who wrote them: they would open a blind vote, so they are found and left out."""

from __future__ import annotations

import re
from collections.abc import Sequence

MODELS = "|".join(
    (
        r"smollm|tinyllama|llama|alpaca|vicuna|qwen|gemma|gemini|bard|mistral|mixtral|phi-?[1-9]|falcon|olmo",
        r"pythia|claude|chatgpt|gpt-?[2-9]|davinci|deepseek|yi-\d+b|grok|command-r|zephyr|dolly|koala|guanaco",
    )
)
MAKERS = "|".join(
    (
        r"openai|anthropic|google|deepmind|meta ai|facebook ai|mistral ai|alibaba|hugging ?face|microsoft",
        r"deepseek|xai|stability ai|tsinghua|lmsys",
    )
)

_I_AM = r"\b(?:i am|i['\u2019]m|my name is|call me)\b"
_BY = r"\b(?:i was|i am|i['\u2019]m|i have been|model|assistant|trained|developed|created|made|built)\b"
_REST = r"[^.!?\n]{0,40}?"
"""A little way on in the same sentence."""

_MODEL = re.compile(rf"(?:{_I_AM}|\b(?:this is|as)\b){_REST}\b(?:{MODELS})", re.IGNORECASE)
_MAKER = re.compile(rf"{_BY}{_REST}\b(?:by|from|at)\s+(?:the\s+)?(?:{MAKERS})\b", re.IGNORECASE)


def gives_itself_away(answer: str, contestants: Sequence[str]) -> bool:
    """Whether an answer names its model or its maker, or one of the contestants.

    A contestant's name that is also a word (`base`) counts only in an introduction ("I am base"); one with a
    digit or hyphen in it (`tinyllama-dpo`) counts wherever it stands.
    """
    if _MODEL.search(answer) or _MAKER.search(answer):
        return True
    return any(_names(answer, contestant) for contestant in contestants)


def _names(answer: str, contestant: str) -> bool:
    name = rf"(?<![\w-]){re.escape(contestant)}(?![\w-])"
    distinctive = re.search(r"[\d_-]", contestant) is not None
    pattern = name if distinctive else rf"{_I_AM}\s+(?:the\s+|called\s+)?{name}"
    return re.search(pattern, answer, re.IGNORECASE) is not None
