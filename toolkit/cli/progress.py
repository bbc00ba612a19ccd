"""The log on stderr: lines with the time of day, and progress with the time left.

On a terminal progress is a bar that goes away when the work is done. In a pipe, a file or CI it is a line
now and then, so that a log of hours stays a page long.
"""

import logging
import os
import time
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from toolkit.printable import printable
from toolkit.progress import Progress as Updates

EVERY = 30.0  # seconds between two lines about the same work, where there is no terminal


@dataclass
class Work:
    """What is known of one piece of work in progress."""

    first: int  # how much was done at the first record
    since: float
    spoke: float = 0.0
    bar: TaskID | None = None

    def left(self, updates: Updates) -> float | None:
        """Seconds until all is done, at the pace so far."""
        ahead = updates.done - self.first
        return (time.monotonic() - self.since) / ahead * (updates.total - updates.done) if ahead else None


class ProgressHandler(logging.Handler):
    """Shows the package's log on stderr."""

    def __init__(self, console: Console | None = None) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(asctime)s  %(message)s", datefmt="%H:%M:%S"))
        self.console = console or Console(stderr=True, soft_wrap=True)
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        interactive = self.console.is_terminal and not os.environ.get("CI")
        self.bars = Progress(*columns, console=self.console, transient=True) if interactive else None
        self.works: dict[str, Work] = {}

    def emit(self, record: logging.LogRecord) -> None:
        updates = getattr(record, "progress", None)
        if not isinstance(updates, Updates):
            self._write(self.format(record))
            return
        work = self.works.setdefault(updates.what, Work(updates.done, time.monotonic()))
        if self.bars is not None:
            self._draw(self.bars, updates, work)
        elif time.monotonic() - work.spoke >= EVERY:
            work.spoke = time.monotonic()
            left = work.left(updates)
            self._write(self.format(record) + ("" if left is None else f", {clock(left)} left"))
        if updates.done >= updates.total:
            del self.works[updates.what]

    def close(self) -> None:
        """Take the bars away; `logging` calls it when the program ends."""
        if self.bars is not None:
            self.bars.stop()
        super().close()

    def _write(self, line: str) -> None:
        self.console.print(printable(line), markup=False, highlight=False)

    def _draw(self, bars: Progress, updates: Updates, work: Work) -> None:
        if work.bar is None:
            bars.start()
            work.bar = bars.add_task(updates.what, total=updates.total, completed=updates.done)
        bars.update(work.bar, completed=updates.done, total=updates.total)
        if updates.done >= updates.total:
            bars.remove_task(work.bar)
            if not bars.tasks:
                bars.stop()


def clock(seconds: float) -> str:
    """`40 s`, `3 min 05 s`, `2 h 10 min`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes_left:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
