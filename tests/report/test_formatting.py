import math

import pytest

from toolkit.report import formatting


@pytest.mark.parametrize(
    ("value", "digits", "message"),
    [
        (0.8123, 3, "0.812"),
        (-3.14, 1, "\N{MINUS SIGN}3.1"),
        (-0.0001, 3, "0.000"),
        (1112, 0, "1112"),
        (12345.6, 0, "12,346"),
        (None, 2, "\N{EN DASH}"),
        (math.nan, 2, "\N{EN DASH}"),
        (math.inf, 2, "\N{INFINITY}"),
        (-math.inf, 2, "\N{MINUS SIGN}\N{INFINITY}"),
    ],
)
def test_number(value, digits, message):
    assert formatting.number(value, digits) == message


@pytest.mark.parametrize(
    ("value", "message"), [(0.5, "+0.50"), (-0.5, "\N{MINUS SIGN}0.50"), (0.001, "0.00")]
)
def test_signed(value, message):
    assert formatting.signed(value, 2) == message


def test_words_around_numbers():
    assert formatting.span(0.1, 0.25, 2) == "0.10 to 0.25"
    assert formatting.span(None, 0.25) == ""
    assert formatting.p(0.0002) == "p < 0.001"
    assert formatting.p(0.0213) == "p = 0.021"
    assert formatting.percent(0.071) == "7%"
    assert formatting.percent(None) == "\N{EN DASH}"
    assert [formatting.duration(s) for s in (8.24, 252, 11100)] == ["8.2 s", "4 min 12 s", "3 h 05 min"]
    assert formatting.size(2.5 * 2**30) == "2.5 GiB"
    assert formatting.counted(1, "vote") == "1 vote"
    assert formatting.counted(2300, "vote") == "2,300 votes"
    assert formatting.listed(["a"]) == "a"
    assert formatting.listed(["a", "b", "c"]) == "a, b and c"
    assert formatting.listed([]) == ""


@pytest.mark.parametrize(("count", "message"), [(7, "7"), (86, "86"), (121, "130"), (40321, "41,000")])
def test_estimates_are_rounded_up(count, message):
    assert formatting.rounded(count) == message
