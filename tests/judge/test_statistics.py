from __future__ import annotations

import pytest

from toolkit.judge.aggregation import markdown, proportion


@pytest.mark.parametrize(
    ("count", "n", "low", "high"),
    # R: binom::binom.confint(x, n, methods = "wilson")
    [(5, 5, 0.5655, 1.0), (0, 10, 0.0, 0.2775), (9, 10, 0.5958, 0.9821), (50, 100, 0.4038, 0.5962)],
)
def test_wilson_interval(count: int, n: int, low: float, high: float):
    found = proportion(count, n)
    assert (found["low"], found["high"]) == pytest.approx((low, high), abs=5e-4)


def test_nothing_observed_is_not_zero():
    assert proportion(0, 0) == {"value": None, "low": None, "high": None, "n": 0}


@pytest.mark.parametrize(
    ("text", "marks"),
    [
        ("plain words, 3 * 4 = 12", 0),
        ("# Head\n- one\n- two\n1. three", 4),
        ("some **bold** and `code`", 2),
        ("```\nx = 1\n```", 2),
    ],
)
def test_markdown_marks(text: str, marks: int):
    assert markdown(text) == marks
