"""Progress: a bar with the time left on a terminal, a line now and then everywhere else."""

from __future__ import annotations

import io
import logging

import pytest
from rich.console import Console

from toolkit.cli import progress
from toolkit.cli.progress import ProgressHandler, clock
from toolkit.progress import log_progress


@pytest.fixture
def logger() -> logging.Logger:
    found = logging.Logger("of a test", logging.INFO)
    yield found
    for handler in found.handlers:
        handler.close()


def listen(logger: logging.Logger, *, terminal: bool) -> io.StringIO:
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, soft_wrap=True, width=100)
    logger.addHandler(ProgressHandler(console))
    return text


@pytest.fixture(autouse=True)
def not_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)


def test_in_a_pipe_a_thousand_steps_are_one_line(logger):
    text = listen(logger, terminal=False)
    for step in range(1, 1001):
        log_progress(logger, "step", step, 1000, "loss 0.5")
    (line,) = text.getvalue().splitlines()
    assert line.endswith("  step 1 of 1000, loss 0.5")


def test_the_time_left_follows_the_pace(logger, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    text = listen(logger, terminal=False)
    for step in (10, 20, 30, 100):  # the first ten were done before
        log_progress(logger, "base: answers", step, 100)
        now[0] += 60
    lines = [line.split("  ", 1)[1] for line in text.getvalue().splitlines()]
    assert lines == [
        "base: answers 10 of 100",
        "base: answers 20 of 100, 8 min 00 s left",
        "base: answers 30 of 100, 7 min 00 s left",
        "base: answers 100 of 100, 0 s left",
    ]


def test_a_terminal_has_a_bar_that_goes_away(logger):
    text = listen(logger, terminal=True)
    speaker = logger.handlers[0]
    log_progress(logger, "verdicts", 1, 3)
    logger.info("a line in between with [brackets]")
    log_progress(logger, "verdicts", 2, 3)
    assert speaker.bars.tasks[0].completed == 2
    log_progress(logger, "verdicts", 3, 3)
    assert speaker.bars.tasks == []
    assert not speaker.bars.live.is_started
    assert "a line in between with [brackets]" in text.getvalue()
    assert "2/3" in text.getvalue() or "1/3" in text.getvalue()


def test_ci_has_no_bars(logger, monkeypatch):
    monkeypatch.setenv("CI", "true")
    listen(logger, terminal=True)
    assert logger.handlers[0].bars is None


@pytest.mark.parametrize(("seconds", "message"), [(3.4, "3 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")])
def test_clock(seconds, message):
    assert clock(seconds) == message
