"""The files of one run, by name, and the lock that keeps two processes out of the same folder."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from toolkit import distributed, io
from toolkit.errors import BusyError, DataError
from toolkit.generate.completions import ANSWERS, VERDICTS
from toolkit.metrics.compare import FILE as GROUPS
from toolkit.metrics.compare import SAMPLES

logger = logging.getLogger(__name__)

IDENTITY = "identity"  # key of the manifest: part of a run (`base`, `stage sft`, `sampling`) -> fingerprint
NAME = "recipe"  # key of the manifest: the recipe's name, which all versions of its run share


class _File:
    """A file or folder by its place in a run folder, or beside it (`../`)."""

    def __init__(self, place: str) -> None:
        self.beside, self.name = place.startswith("../"), place.removeprefix("../")

    def __get__(self, folder: RunFolder, _: type[RunFolder]) -> Path:
        return (folder.path.parent if self.beside else folder.path) / self.name


class _Named:
    """A file or folder for each stage or contestant, by its place with `{}` for the name."""

    def __init__(self, place: str) -> None:
        self.place = place

    def __get__(self, folder: RunFolder, _: type[RunFolder]) -> Callable[[str], Path]:
        return lambda name: folder.path / self.place.format(name)


@dataclass(frozen=True)
class RunFolder:
    """Where everything of a run lies: `results/<name>/`."""

    path: Path

    recipe = _File("recipe.yaml")
    manifest = _File("manifest.json")
    checks = _File("checks.json")
    scores = _File("scores.json")
    groups = _File(GROUPS)
    verdicts = _File("verdicts.jsonl")
    votes = _File("votes.jsonl")
    ratings = _File("ratings.json")
    summary = _File("summary.json")
    arena = _File("arena.db")
    adapter = _Named("adapters/{}")
    checkpoints = _Named("checkpoints/{}")
    completions = _Named("completions/{}.jsonl")
    samples = _Named(SAMPLES + "/{}.jsonl")
    """All answers, where there are several to each example: first the first ones, as in `completions`."""
    shots = _Named("shots/{}.json")
    measurements = _Named("measurements/{}.jsonl")
    benchmarks = _Named("benchmarks/{}.json")
    answers = _File(f"../{ANSWERS}")
    """The store of answers that all runs of a results folder share."""
    judgments = _File(f"../{VERDICTS}")
    """The store of verdicts and grades that they share."""
    measured = _File("../.benchmarks")
    """The results of benchmark tasks that they share, a folder each."""

    def read_manifest(self) -> dict[str, Any]:
        """What the manifest holds, `{}` where there is none; a `DataError` where it is damaged."""
        try:
            found = io.read_json(self.manifest) if self.manifest.exists() else {}
            if not (isinstance(found, dict) and isinstance(found.get("steps", {}), dict)):
                raise DataError(f"{self.manifest}: not a manifest of a run")
        except DataError as error:
            raise DataError(f"{error}; put its backup back, or move {self.path} away") from None
        return found

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run folder for this process, and for those that train with it.

        The operating system drops the lock with the process, so a killed run leaves none behind.

        Raises:
            BusyError: another process holds it.
            DataError: the folder cannot be written.
        """
        if not distributed.is_main():
            yield
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise DataError(f"{self.path}: cannot be written: {error.strerror}") from None
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.read(handle, 32).decode(errors="replace").strip()
                raise BusyError(f"{self.path}: process {holder} is at work here; wait for it") from None
            os.truncate(handle, 0)
            os.write(handle, str(os.getpid()).encode())
            with self._logged():
                yield
        finally:
            os.close(handle)

    @contextmanager
    def _logged(self) -> Iterator[None]:
        """Add the package's log to `run.log`, without its progress."""
        handler = logging.FileHandler(self.path / "run.log", encoding="utf-8", delay=True)
        handler.handleError = lambda record: None  # type: ignore[method-assign] # a full disk stops nothing
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        handler.addFilter(lambda record: not hasattr(record, "progress"))
        package = logging.getLogger("toolkit")
        package.addHandler(handler)
        try:
            yield
        finally:
            package.removeHandler(handler)
            handler.close()


@contextmanager
def locked_run(*paths: Path) -> Iterator[RunFolder | None]:
    """Hold the run folders that some paths lie in while the body writes there; yields the first's.

    Raises:
        BusyError: another process holds one.
        DataError: one lies below a file.
    """
    for path in paths:
        there = next(each for each in (path.absolute(), *path.absolute().parents) if each.exists())
        if there != path.absolute() and not there.is_dir():
            raise DataError(f"{path}: cannot be written, since {there} is a file; name another place")
    found = [find_run(Path(os.path.realpath(path))) for path in paths]
    with ExitStack() as held:
        for run in sorted({run for run in found if run}, key=lambda run: run.path):
            held.enter_context(run.locked())
        yield found[0]


def find_run(path: Path) -> RunFolder | None:
    """The run that a file or folder lies in, if any; `path` is resolved."""
    runs = (RunFolder(each) for each in (path, *path.parents))
    return next((each for each in runs if each.recipe.is_file() and each.manifest.is_file()), None)


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
    """The folder for a run of this identity: its version, one that loses nothing, or a new one."""
    known, first = list(versions(results, name)), RunFolder(results / name)
    for folder in known:
        recorded = folder.read_manifest().get(IDENTITY)
        if recorded and not _changed(recorded, identity):
            return folder
    for folder in known:
        if not _losses(folder, identity):
            return folder
    if not first.path.exists():
        return first
    free = next(n for n in count(2) if not (results / f"{name}-{n}").exists())
    new, last = RunFolder(results / f"{name}-{free}"), known[-1] if known else first
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
    trained = {f"stage {name.removeprefix('train ')}" for name in done}
    at_stake = [part for part in changed if "report" in done or part in trained]
    return f"was made with another {', '.join(at_stake)}" if at_stake else ""


def _changed(recorded: dict[str, str], identity: dict[str, str]) -> list[str]:
    return [part for part in identity if part in recorded and recorded[part] != identity[part]]
