"""Every text colour is readable on every ground it stands on, light and dark (WCAG 2.2 AA, 4.5 to 1)."""

import re
from pathlib import Path

import pytest

import toolkit.report

CSS = Path(toolkit.report.__file__).with_name("templates") / "style.css"
SCHEMES = [
    dict(re.findall(r"--([\w-]+): (#\w+)", block))
    for block in re.findall(r":root \{(.*?)\}", CSS.read_text(), re.S)
]
TEXTS = "ink soft better worse unclear link missing c0 c1 c2 c3 c4 c5".split()


def luminance(colour: str) -> float:
    digits = colour.lstrip("#")
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_both_schemes_have_the_same_colours():
    assert len(SCHEMES) == 2
    assert SCHEMES[0].keys() == SCHEMES[1].keys()


@pytest.mark.parametrize("scheme", SCHEMES, ids=["light", "dark"])
def test_texts_are_readable(scheme):
    grounds = [("page", TEXTS), ("panel", TEXTS), ("only", ["ink", "soft"])]
    weak = {
        (text, ground): ratio
        for ground, texts in grounds
        for text in texts
        if (ratio := contrast(scheme[text], scheme[ground])) < 4.5
    }
    assert weak == {}
