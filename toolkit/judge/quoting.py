"""Quoting: what an answer says must not reach the judge as an instruction.

A quoted text stands between two marks that carry a key made from the text itself, so no text can hold its
own closing mark, and the control tokens of chat templates (`<|im_end|>`, `[INST]` ...) are broken up, so no
text can end the judge's turn and begin another.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from toolkit.types import digest

CONTROL = re.compile(
    r"<\|[^|<>\s]{1,40}\|>"  # ChatML, Llama 3, Phi, GPT: <|im_end|>
    r"|<\uff5c[^\uff5c<>]{1,40}\uff5c>"  # DeepSeek, with full-width bars
    r"|</?s>|\[/?INST\]|<</?SYS>>"  # Llama 2, Mistral
    r"|<(?:start|end)_of_turn>|<(?:bos|eos|pad|unk)>"  # Gemma
    r"|</?(?:question|reference|answer_\d|conversation_\d)\b[^>]*>"  # our own marks
)
"""What chat templates in wide use, and the marks below, are made of."""


def quote(text: str, mark: str, tokens: Iterable[str] = ()) -> str:
    """`text` between `<mark key=...>` and `</mark key=...>`, unable to end either.

    Args:
        text: untrusted text.
        mark: what the text is: `question`, `answer_1` ...
        tokens: further control tokens, such as those of the judge's own tokenizer.
    """
    key = digest(text)[:6]
    return f"<{mark} key={key}>\n{disarm(text, tokens).strip()}\n</{mark} key={key}>"


def disarm(text: str, tokens: Iterable[str] = ()) -> str:
    """`text` with a space after the first character of every control token, which makes it plain text."""
    text = CONTROL.sub(_split, text)
    for token in sorted(tokens, key=len, reverse=True):
        if len(token) > 1 and not token.isspace():
            text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


def _split(match: re.Match[str]) -> str:
    return f"{match[0][0]} {match[0][1:]}"
