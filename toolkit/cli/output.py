"""Command output: results to stdout (a table or JSON), progress to stderr."""

import dataclasses
import json
import logging
import os
import warnings
from collections.abc import Sequence
from typing import Any

import click

from toolkit import distributed
from toolkit.printable import escaped_json, printable


def show_progress() -> None:
    """Send the package's log to stderr, and hide other libraries' warnings and progress bars."""
    os.environ.setdefault("TQDM_DISABLE", "1")
    warnings.simplefilter("ignore", FutureWarning)
    for library in ("bitsandbytes", "lm_eval", "transformers", "datasets"):
        logging.getLogger(library).setLevel(logging.ERROR)
    logger = logging.getLogger("toolkit")
    if not logger.handlers:
        from toolkit.cli.progress import ProgressHandler

        logger.addHandler(ProgressHandler())
        logger.propagate = False
    logger.setLevel(logging.INFO if distributed.is_main() else logging.ERROR)


def print_json(value: Any) -> None:
    """Print a record, or plain values that may hold records, as JSON."""
    click.echo(escaped_json(json.dumps(value, indent=2, ensure_ascii=False, default=_plain)))


def print_result(value: Any, text: object, *, as_json: bool) -> None:
    """Print a value as JSON, or the text that says the same."""
    print_json(value) if as_json else print_text(text)


def print_text(text: object, *, err: bool = False, nl: bool = True) -> None:
    """Print a line that may contain untrusted text: names, answers, server messages."""
    click.echo(printable(str(text)), err=err, nl=nl)


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table, see `table`."""
    click.echo(table(header, rows))


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Text in columns; the first is aligned left, the others right."""
    lines = [[printable(text) for text in row] for row in (header, *rows)]
    first, *others = (max(map(len, column)) for column in zip(*lines, strict=True))
    padded = ([row[0].ljust(first), *map(str.rjust, row[1:], others)] for row in lines)
    return "\n".join("  ".join(row).rstrip() for row in padded)


def _plain(value: object) -> Any:
    from toolkit.types import Record  # `--help` has no need of pydantic

    if isinstance(value, Record):
        return value.model_dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    raise TypeError(f"{type(value).__name__} is not JSON")
