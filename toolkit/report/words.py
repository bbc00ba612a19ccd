"""Word-level differences between two texts, for reading side by side."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["same", "only", "missing"]
"""Of a piece: in both texts, in this one only, or in the other one only."""

CLOSE = 0.4
"""Texts that share a smaller part of their words are different texts, not edits of each other."""
LONGEST = 2000
"""Characters of a text that are compared and shown."""

Pieces = tuple[tuple[Kind, str], ...]


@dataclass(frozen=True)
class Marked:
    """A text in pieces, compared with another."""

    pieces: Pieces
    shared: float
    """Share of the words of both texts that the other has too, in the same order."""
    cut: int = 0
    """Characters left out at the end."""

    @property
    def own(self) -> str:
        """The text itself, without what it lacks."""
        return "".join(piece for kind, piece in self.pieces if kind != "missing")


def marked(text: str, other: str) -> Marked:
    """`text` against `other`: what only `text` has is marked, what it lacks is put in its place.

    Where the two share too little, nothing is marked. The pieces that are not `missing`, joined, are `text`
    (its first `LONGEST` characters).
    """
    shown, against = text[:LONGEST], other[:LONGEST]
    left, right = _tokens(shown), _tokens(against)
    matcher = difflib.SequenceMatcher(None, left, right, autojunk=False)
    blocks = matcher.get_matching_blocks()
    words = sum(not token.isspace() for token in [*left, *right])
    same = sum(not token.isspace() for b in blocks for token in left[b.a : b.a + b.size])
    shared, cut = (2 * same / words if words else 1.0), len(text) - len(shown)
    if shared < CLOSE:
        return Marked((("same", shown),) if shown else (), shared, cut)
    return Marked(tuple(_pieces(matcher, left, right)), shared, cut)


def _pieces(matcher: difflib.SequenceMatcher[str], left: list[str], right: list[str]) -> Pieces:
    found: list[tuple[Kind, str]] = []
    for tag, start, end, other_start, other_end in matcher.get_opcodes():
        found.append(("same" if tag == "equal" else "only", "".join(left[start:end])))
        missing = "" if tag == "equal" else "".join(right[other_start:other_end])
        found.append(("missing", missing if missing.strip() else ""))
    return tuple((kind, piece) for kind, piece in found if piece)


def _tokens(text: str) -> list[str]:
    """Words and the white space between them."""
    return re.findall(r"\s+|\S+", text)
