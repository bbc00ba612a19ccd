"""Progress of long work as log records; whoever shows the log draws a bar or writes a line."""

import logging
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """`done` of `total` pieces of `what`; found on a log record as its attribute `progress`."""

    what: str
    done: int
    total: int


def log_progress(logger: logging.Logger, what: str, done: int, total: int, note: str = "") -> None:
    """Say how far `what` is; may be called for every piece, since the one who shows it leaves most out."""
    text = "%s %d of %d" + (f", {note.replace('%', '%%')}" if note else "")
    logger.info(text, what, done, total, extra={"progress": Progress(what, done, total)})
