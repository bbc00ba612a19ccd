"""Slices: which examples are in them, and their figures."""

from __future__ import annotations

import pytest

from toolkit.errors import DataError
from toolkit.metrics.compare import slice_examples, slice_figures
from toolkit.metrics.measurement import measurement_from_values
from toolkit.types import Example, Message


def examples(*prompts: str) -> list[Example]:
    return [
        Example(id=f"e{n}", messages=(Message(role="user", content=text),)) for n, text in enumerate(prompts)
    ]


def test_columns_and_thirds_of_the_length():
    requested = examples("a", "bbb", "ccccc", "dddddd", "eeeeeeee", "f" * 30)
    rows = {f"e{n}": {"language": ("de", "en")[n % 2]} for n in range(5)}
    found = slice_examples(requested, rows, ["language", "length"])
    assert found["language", "de"] == {"e0", "e2", "e4"}
    assert found["language", "none"] == {"e5"}
    assert [found["length", name] for name in ("short", "middle", "long")] == [
        {"e0", "e1"},
        {"e2", "e3"},
        {"e4", "e5"},
    ]
    with pytest.raises(DataError, match="no example has a column `tongue`"):
        slice_examples(requested, rows, ["tongue"])


def test_a_column_of_many_values_keeps_the_common_ones():
    requested = examples(*"abcdefghijklmnopqrstuvwxyz", "a", "b")
    found = slice_examples(
        requested, {each.id: {"word": each.messages[0].content} for each in requested}, ["word"]
    )
    assert len(found) == 12
    assert found["word", "a"] == {"e0", "e26"}
    assert sum(map(len, found.values())) == len(requested)


def test_figures_are_those_of_the_examples_alone():
    base = measurement_from_values("base", "right", [(f"e{n}", float(n < 2)) for n in range(6)])
    sft = measurement_from_values("sft", "right", [(f"e{n}", float(n > 1)) for n in range(6)])
    slices = {
        ("part", "first"): frozenset({"e0", "e1"}),
        ("part", "rest"): frozenset({"e2", "e3", "e4", "e5"}),
    }
    found = slice_figures([base, sft], slices, {})
    scores = {
        (each.value, each.score.contestant): (each.score.value, each.score.n) for each in found if each.score
    }
    assert scores == {
        ("first", "base"): (1.0, 2),
        ("first", "sft"): (0.0, 2),
        ("rest", "base"): (0.0, 4),
        ("rest", "sft"): (1.0, 4),
    }
    differences = {each.value: each.difference.value for each in found if each.difference}
    assert differences == {"first": -1.0, "rest": 1.0}
