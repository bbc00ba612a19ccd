"""Make untrusted text safe to display: control characters become visible marks."""

import re

CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters (ANSI escape codes begin with one) but tab and newline, and those that reverse text."""


def printable(text: str) -> str:
    """`text` with a visible mark in the place of every control character."""
    return CONTROL.sub(_mark, text.replace("\r\n", "\n"))


def escaped_json(text: str) -> str:
    """JSON with its control characters escaped, which is the same JSON."""
    return CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _mark(match: re.Match[str]) -> str:
    code = ord(match[0])
    return chr(0x2400 + code) if code < 0x20 else "\N{REPLACEMENT CHARACTER}"  # noqa: PLR2004
