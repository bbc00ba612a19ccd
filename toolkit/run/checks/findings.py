"""What a check finds: what is wrong, where, why it matters, and what to do."""

from __future__ import annotations

from toolkit.types import Finding


def error(code: str, place: str, message: str, fix: str) -> Finding:
    """Training would fail, or teach something wrong."""
    return Finding(code=code, severity="error", place=place, message=message, fix=fix)


def warning(code: str, place: str, message: str, fix: str) -> Finding:
    """Training would run, and may well not do what is wanted."""
    return Finding(code=code, severity="warning", place=place, message=message, fix=fix)


def info(code: str, place: str, message: str, fix: str) -> Finding:
    """Good to know, or could not be checked here."""
    return Finding(code=code, severity="info", place=place, message=message, fix=fix)


def from_error(code: str, place: str, problem: Exception | str, fix: str = "") -> Finding:
    """An error that the run would stop with; `info` where just the hub could not be reached.

    Without `fix`, the message's own advice is taken: what comes after its last semicolon.
    """
    text = str(problem)
    if not fix:
        text, _, fix = text.rpartition("; ")
    find = info if "hub cannot be reached" in str(problem) else error
    return find(code, place, text or fix, fix)
