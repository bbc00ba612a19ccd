"""Commands in real processes that need not import torch first: they are forked from one that has.

Something may be done to a process before its command begins: it is killed in a step, has little room ...
"""

from __future__ import annotations

import multiprocessing
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from toolkit.cli import main

FORKS = multiprocessing.get_context("forkserver")
ROOMS = [
    "run.plan",
    "train.sft",
    "train.preference",
    "metrics.registry",
    "metrics.perplexity",
    "judge",
    "report",
]
FORKS.set_forkserver_preload([__name__, "trl", *(f"toolkit.{room}" for room in ROOMS)])


def nothing(_: Any) -> None:
    """Let the command be."""


def environment(variables: dict[str, str]) -> None:
    """Have it find these; it has the environment of the first command that was forked."""
    os.environ.update(variables)


def small_files(size: int) -> None:
    """No file of this process may grow beyond `size` bytes: to it, the disk is full there."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def command(
    arguments: list[str], folder: Path, prepare: Callable[[Any], None] = nothing, value: Any = None
) -> tuple[int, str, str]:
    """`adapter-arena` in a process where `prepare(value)` was called: exit code, stdout, stderr.

    Both are kept in `folder`. The exit code of a process that was killed is minus the signal.
    """
    files = [folder / "stdout", folder / "stderr"]
    process = FORKS.Process(target=_child, args=(arguments, files, prepare, value))
    process.start()
    process.join()
    assert process.exitcode is not None
    out, err = (file.read_text() for file in files)
    return process.exitcode, out, err


def _child(arguments: list[str], files: list[Path], prepare: Callable[[Any], None], value: Any) -> None:
    for number, file in enumerate(files, start=1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    torch.set_num_threads(1)
    prepare(value)
    main(arguments)
