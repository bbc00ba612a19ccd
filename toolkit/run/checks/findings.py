"""What a check finds: what is wrong, where, why it matters, and what to do."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

from toolkit.types import Finding


def _finding(
    severity: Literal["error", "warning", "info"], code: str, place: str, message: str, fix: str
) -> Finding:
    return Finding(code=code, severity=severity, place=place, message=message, fix=fix)


Find = Callable[[str, str, str, str], Finding]  # of code, place, message, fix
error: Find = partial(_finding, "error")  # training would fail, or teach something wrong
warning: Find = partial(_finding, "warning")  # training would run, and may well not do what it should
info: Find = partial(_finding, "info")  # good to know, or could not be checked here


def from_error(code: str, place: str, problem: Exception | str, fix: str = "") -> Finding:
    """An error that the run would stop with; `info` where just the hub could not be reached.

    Without `fix`, the message's own advice is taken: what comes after its last semicolon.
    """
    text = str(problem)
    if not fix:
        text, _, fix = text.rpartition("; ")
    find = info if "hub cannot be reached" in str(problem) else error
    return find(code, place, text or fix, fix)
