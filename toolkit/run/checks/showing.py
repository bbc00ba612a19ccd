"""Rows exactly as the model will see them, and which of their tokens it learns."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import Any

from toolkit.data import Preference, Row
from toolkit.recipe import Recipe
from toolkit.run.checks.rows import Seen
from toolkit.run.checks.template import encoded_rows
from toolkit.train.methods import settings


@dataclass(frozen=True)
class Shown:
    """One row, or one side of a pair, decoded."""

    title: str
    parts: list[tuple[str, bool]]
    """Text, and whether it is learned."""
    tokens: int
    cut: int
    """Tokens lost at the end."""


def show(recipe: Recipe, sets: dict[str, Seen], tokenizer: Any, count: int) -> list[Shown]:
    """The first rows of every stage."""
    shown = []
    for stage in recipe.stages:
        if stage.data not in sets:
            continue
        limit = settings(stage).get("max_length")
        for row, place in list(zip(sets[stage.data].rows, sets[stage.data].places, strict=True))[:count]:
            sides = list(encoded_rows(stage, Seen([row], [place]), tokenizer))
            for (_, encoded), side in zip(sides, _sides(row, len(sides)), strict=True):
                ids, mask = encoded.input_ids[:limit], encoded.completion_mask[:limit]
                pairs = zip(ids, mask, strict=True)
                parts = [
                    (tokenizer.decode([token for token, _ in run]), bool(learned))
                    for learned, run in groupby(pairs, key=lambda pair: pair[1])
                ]
                title = f"{stage.name}: {place}{side}"
                shown.append(Shown(title, parts, len(ids), len(encoded.input_ids) - len(ids)))
    return shown


def _sides(row: Row, count: int) -> list[str]:
    """What tells the sequences of one row apart: a template may need a conversation in several."""
    if isinstance(row, Preference) and count:
        return [", chosen", ", rejected"]
    return [f", part {number}" if count > 1 else "" for number in range(1, count + 1)]
