"""Word-level differences between two texts, for reading side by side."""

from __future__ import annotations

import difflib
import re
from typing import Literal

Kind = Literal["same", "only"]


def marked(text: str, other: str) -> list[tuple[Kind, str]]:
    """`text` in pieces: those `other` has in the same order, and those only `text` has.

    The pieces joined are `text` again.
    """
    left, right = _tokens(text), _tokens(other)
    pieces: list[tuple[Kind, str]] = []
    matcher = difflib.SequenceMatcher(None, left, right, autojunk=False)
    for tag, start, end, _, _ in matcher.get_opcodes():
        piece = "".join(left[start:end])
        if piece:
            pieces.append(("same" if tag == "equal" else "only", piece))
    return pieces


def _tokens(text: str) -> list[str]:
    """Words and the white space between them."""
    return re.findall(r"\s+|[^\s]+", text)
