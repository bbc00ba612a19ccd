"""Nothing that others wrote steers a terminal or turns a text around."""

from __future__ import annotations

import json

from toolkit.printable import escaped_json, printable


def test_control_characters_become_visible():
    hostile = "a\x1b[31mred\x1b[0m\x9b2J \u202eright-to-left\u202c\r\nnext\tcell\x00\x7f"
    assert (
        printable(hostile)
        == "a\u241b[31mred\u241b[0m\ufffd2J \ufffdright-to-left\ufffd\nnext\tcell\u2400\ufffd"
    )
    assert (
        printable("\u05e9\u05dc\u05d5\u05dd, h\u00e9llo \U0001f600")
        == "\u05e9\u05dc\u05d5\u05dd, h\u00e9llo \U0001f600"
    )


def test_json_stays_the_same_json():
    value = {"name": "a\u202eb\x9b\x1b"}
    text = escaped_json(json.dumps(value, ensure_ascii=False))
    assert json.loads(text) == value
    assert text.isascii()
