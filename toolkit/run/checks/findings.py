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
