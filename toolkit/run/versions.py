"""Versions of a run: a finished run whose base, stages or sampling are changed is kept, and a new one made.

References, metrics, benchmarks, judges, further rows and contestants change a run in place.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from toolkit.run.folder import RunFolder

logger = logging.getLogger(__name__)

IDENTITY = "identity"
"""Key of the manifest: part of a run (`base`, `stage sft`, `sampling`) -> fingerprint."""

NAME = "recipe"
"""Key of the manifest: the recipe's name, which all versions of its run share."""


def versions(results: Path, name: str) -> Iterator[RunFolder]:
    """The versions of a run that are there: `results/mine`, `results/mine-2`, ..."""
    first = RunFolder(results / name)
    if first.path.exists() and first.read_manifest().get(NAME, name) == name:  # and no version of another run
        yield first
    numbers = (path.name.removeprefix(f"{name}-") for path in results.glob(f"{name}-*"))
    for number in sorted(int(each) for each in numbers if each.isdecimal()):  # some may have been removed
        folder = RunFolder(results / f"{name}-{number}")
        if folder.read_manifest().get(NAME) == name:
            yield folder


def select_version(results: Path, name: str, identity: dict[str, str]) -> RunFolder:
    """The folder for a run of this identity: the version that has it, one that loses nothing, or a new one.

    Args:
        results: folder of runs.
        name: of the recipe.
        identity: of the run, by part.
    """
    known = list(versions(results, name))
    for folder in known:
        recorded = folder.read_manifest().get(IDENTITY)
        if recorded and not _changed(recorded, identity):
            return folder
    for folder in known:
        if not _losses(folder, identity):
            return folder
    first = RunFolder(results / name)
    if not first.path.exists():
        return first
    free = next(n for n in count(2) if not (results / f"{name}-{n}").exists())
    new = RunFolder(results / f"{name}-{free}")
    last = known[-1] if known else first
    reason = _losses(last, identity) if known else f"is a version of {first.read_manifest()[NAME]}"
    logger.warning("%s: %s; this run goes to %s", last.path, reason, new.path)
    return new


def _losses(folder: RunFolder, identity: dict[str, str]) -> str:
    """Why a run of this identity would discard finished work of the folder; empty: it would not."""
    manifest = folder.read_manifest()
    done = {name for name, entry in manifest.get("steps", {}).items() if entry.get("done")}
    if IDENTITY not in manifest:
        return "was made by an earlier version, whose results cannot be verified" if done else ""
    changed = _changed(manifest[IDENTITY], identity)
    finished = "report" in done
    at_stake = [part for part in changed if finished or f"train {part.removeprefix('stage ')}" in done]
    return f"was made with another {', '.join(at_stake)}" if at_stake else ""


def _changed(recorded: dict[str, str], identity: dict[str, str]) -> list[str]:
    return [part for part in identity if part in recorded and recorded[part] != identity[part]]
