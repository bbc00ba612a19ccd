"""Options that would change nothing: who gives one meant something by it."""

from __future__ import annotations

from collections.abc import Iterable

import click
from click.core import ParameterSource


def refuse(asked: str, *names: str) -> None:
    """End with a line if an option was given that has no part in what is asked for."""
    for option in _given(names):
        raise click.UsageError(f"{asked} and {option} do not go together")


def need(asked: str, *names: str) -> None:
    """End with a line if an option was given that says something only together with another."""
    for option in _given(names):
        raise click.UsageError(f"{option} goes with {asked}")


def _given(names: Iterable[str]) -> list[str]:
    """Those of the command's options that stand on the command line, as they are written there."""
    context = click.get_current_context()
    return [
        param.opts[0]
        for param in context.command.params
        if param.name in names and context.get_parameter_source(param.name) is ParameterSource.COMMANDLINE
    ]
