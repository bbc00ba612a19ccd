"""Progress of long tasks as log records; the log handler shows a bar or a line."""

import logging
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """`done` of `total` pieces of `what`; found on a log record as its attribute `progress`."""

    what: str
    done: int
    total: int


def log_progress(logger: logging.Logger, what: str, done: int, total: int, note: str = "") -> None:
    """Log the progress of `what`; may be called for every item: the handler drops most records."""
    text = "%s %d of %d" + (f", {note.replace('%', '%%')}" if note else "")
    logger.info(text, what, done, total, extra={"progress": Progress(what, done, total)})
