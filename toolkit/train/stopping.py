"""How a training stops early: what can be continued is kept, and one line says what happened."""

from __future__ import annotations

import errno
import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers import TrainerCallback

from toolkit import processes
from toolkit.errors import TrainingError

logger = logging.getLogger(__name__)

FULL = {errno.ENOSPC: "no space left", errno.EDQUOT: "disk quota exceeded", errno.EFBIG: "file too large"}


class Interrupt(TrainerCallback):  # type: ignore[misc]
    """Ctrl-C ends the step at hand and keeps a checkpoint of it; a second one ends at once."""

    def __init__(self) -> None:
        self.asked = False
        self._stepping = False

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Listen inside the block, and raise at its end if asked to stop.

        Not where several processes train together: they would have to stop after the same step.

        Raises:
            KeyboardInterrupt: what was asked for is done.
        """
        if threading.current_thread() is not threading.main_thread() or processes.count() > 1:
            yield
            return
        before = signal.signal(signal.SIGINT, self._ask)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
        if self.asked:
            raise KeyboardInterrupt

    def _ask(self, *_: Any) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        logger.info("interrupted: keeping a checkpoint after this step; once more to stop at once")

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._stepping = True

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.asked:
            control.should_save = control.should_training_stop = True

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._stepping = False

    def on_prediction_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.asked and not self._stepping:  # before and after training there is nothing to keep
            raise KeyboardInterrupt


@contextmanager
def full_disk_told(folder: Path) -> Iterator[None]:
    """Turn a write into `folder` that failed for want of space into one line.

    Raises:
        TrainingError: the disk is full.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        problem = _write_problem(error)
        if problem is None:
            raise
        raise TrainingError(f"{folder}: {problem}; make room, then run again: it continues") from error


def _write_problem(error: Exception) -> str | None:
    """What kept a file from being written: libraries tell it each in their way; `None`: something else."""
    if isinstance(error, OSError):
        return FULL.get(error.errno or 0)
    text = str(error)
    for code, words in FULL.items():
        if f"os error {code}" in text:  # safetensors
            return words
    torch_failed = "PytorchStreamWriter" in text or "inline_container" in text
    return "a checkpoint could not be written" if torch_failed else None
