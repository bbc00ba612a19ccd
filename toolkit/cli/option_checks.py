"""Refuse options that would have no effect."""

from __future__ import annotations

from collections.abc import Iterable

import click
from click.core import ParameterSource


def finite(_context: click.Context, _option: click.Parameter, value: float) -> float:
    """Refuse NaN, which is within every range."""
    if value != value:  # noqa: PLR0124
        raise click.BadParameter("nan is no number")
    return value


def refuse(option: str, *names: str) -> None:
    """Refuse options that cannot be combined with `option`."""
    for other in _set_options(names):
        raise click.UsageError(f"{option} and {other} do not go together")


def need(option: str, *names: str) -> None:
    """Refuse options that require `option`."""
    for other in _set_options(names):
        raise click.UsageError(f"{other} requires {option}")


def _set_options(names: Iterable[str]) -> list[str]:
    """Which of these options are set on the command line, as written there."""
    context = click.get_current_context()
    return [
        param.opts[0]
        for param in context.command.params
        if param.name in names and context.get_parameter_source(param.name) is ParameterSource.COMMANDLINE
    ]
