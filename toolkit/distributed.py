"""Distributed training under `accelerate launch`: process count, main process, barriers."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


def count() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def share_weights() -> bool:
    """Whether each process holds a part of the model (FSDP), not a copy."""
    return os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"


def is_main() -> bool:
    """Whether this process is the one that writes."""
    return os.environ.get("RANK", "0") == "0"


def wait() -> None:
    """Barrier: return once all processes have reached it."""
    if count() > 1:
        from accelerate import PartialState

        PartialState().wait_for_everyone()


@contextmanager
def main_first() -> Iterator[None]:
    """Run the block in the main process first, then in the others."""
    if not is_main():
        wait()
    try:
        yield
    finally:
        if is_main():
            wait()
