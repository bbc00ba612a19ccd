"""The runs of a results folder: what is in each, what it changed, and removing one."""

import logging
import shutil
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from toolkit import io
from toolkit.arena.store import Store
from toolkit.errors import DataError, ToolkitError, first_line
from toolkit.recipe import load
from toolkit.report.compare_runs import flatten
from toolkit.report.headline import quoted_scores
from toolkit.run.folder import NAME, RunFolder
from toolkit.types import Record, Score, Summary

logger = logging.getLogger(__name__)


class ListedRun(Record):
    """One run, or one version of it."""

    run: str
    """Name of its folder."""
    recipe: str
    """Name of the recipe, which versions share."""
    finished: bool
    changed: dict[str, tuple[Any, Any]]
    """Key of the recipe -> its value in the version before, and in this one."""
    score: Score | None
    """The last contestant's primary measure, else what the report quotes first."""
    bytes: int


def list_runs(results: Path) -> list[ListedRun]:
    """All runs of a folder, versions of a recipe together, each compared with the one before."""
    if not results.is_dir():
        raise DataError(f"{results}: no such folder; name the folder of runs with --out")
    folders = [RunFolder(path.parent) for path in results.glob("*/manifest.json")]
    versions: dict[str, list[ListedRun]] = {}
    before: dict[str, Mapping[str, Any]] = {}
    for folder in sorted(folders, key=lambda each: each.manifest.stat().st_mtime):
        try:
            name = folder.read_manifest().get(NAME, folder.path.name)
            recipe = load(folder.recipe) if folder.recipe.exists() else None
            settings = flatten(recipe.model_dump(mode="json", exclude={"name"}) if recipe else {})
            listed = _listed(name, folder, before.get(name), settings)
        except (ToolkitError, ValidationError) as error:
            logger.warning("%s is left out: %s", folder.path, first_line(error))
            continue
        versions.setdefault(name, []).append(listed)
        before[name] = settings
    return [listed for members in versions.values() for listed in members]


def _listed(
    name: str, folder: RunFolder, before: Mapping[str, Any] | None, settings: Mapping[str, Any]
) -> ListedRun:
    earlier = settings if before is None else before  # the first version changed nothing
    both = {key: (earlier.get(key), settings.get(key)) for key in {**earlier, **settings}}
    return ListedRun(
        run=folder.path.name,
        recipe=name,
        finished=folder.summary.exists(),
        changed={key: (old, new) for key, (old, new) in both.items() if old != new},
        score=_score(folder) if folder.summary.exists() else None,
        bytes=io.folder_bytes(folder.path),
    )


def _score(folder: RunFolder) -> Score | None:
    """Of the last contestant that has one."""
    summary = Summary.model_validate(io.read_json(folder.summary, finite=False))
    scores = {score.contestant: score for score in quoted_scores(summary)}
    return next((scores[name] for name in reversed(summary.contestants) if name in scores), None)


def remove_run(run: Path, *, votes: bool = False) -> int:
    """Delete a run's folder; what runs share beside it stays. Gives the bytes that were freed.

    Raises:
        DataError: it is no run, or there are people's votes in it, and `votes` does not allow that.
        BusyError: another process works in it.
    """
    folder = RunFolder(run)
    if not folder.manifest.is_file():
        raise DataError(f"{run}: no run here; `adapter-arena runs` lists them")
    with folder.locked():
        if cast := 0 if votes else _stored_votes(folder):
            mend = "write them with `adapter-arena votes export`, or add --with-votes"
            raise DataError(f"{run}: {cast} votes of people would be lost; {mend}")
        size = io.folder_bytes(run)
        doomed = run.with_name(f".{run.name}.removed")
        run.rename(doomed)  # so that an interruption leaves no half of a run
        shutil.rmtree(doomed)
    return size


def _stored_votes(folder: RunFolder) -> int:
    """All votes in the run's arena, also those that do not count: of blocked voters, on old answers."""
    if not folder.arena.exists():
        return 0
    with closing(Store(f"sqlite:///{folder.arena.resolve()}")) as store:
        return len(store.vote_rows(everyone=True))
