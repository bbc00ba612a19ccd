"""Find the newest complete checkpoint to resume from."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

from toolkit import distributed
from toolkit.errors import ModelError
from toolkit.models import bases

NEEDED = ("trainer_state.json", "scheduler.pt")


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def newest_complete(folder: Path) -> Path | None:
    """The checkpoint to continue from; torn ones, left by a crash while saving, are removed."""
    found = sorted(folder.glob("checkpoint-*"), key=step_of, reverse=True)
    for checkpoint in found:
        if is_complete(checkpoint):
            return checkpoint
        if distributed.is_main():
            shutil.rmtree(checkpoint)
    return None


def is_complete(checkpoint: Path) -> bool:
    """Whether every file a resume needs is there and whole.

    Processes that share the weights keep the optimizer as `optimizer.bin`, or all in folders of shards.
    """
    if not all((checkpoint / name).is_file() for name in NEEDED):
        return False
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except ValueError:
        return False
    weights = list(checkpoint.glob("*.safetensors"))
    kept = [file for kind in ("*.pt*", "*.bin") for file in checkpoint.glob(kind)]
    if not all(map(_is_whole, weights)) or not all(map(zipfile.is_zipfile, kept)):
        return False
    shards = any(part.is_dir() for part in checkpoint.iterdir())
    return shards or (bool(weights) and any(file.stem == "optimizer" for file in kept))


def _is_whole(file: Path) -> bool:
    try:
        bases.check_whole(file)
    except ModelError:
        return False
    return True
