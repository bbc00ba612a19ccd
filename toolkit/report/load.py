"""A run folder, read into one frozen view for the report. Only the summary must be there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from toolkit import records
from toolkit.errors import DataError
from toolkit.types import Completion, Summary, Vote


@dataclass(frozen=True)
class RunView:
    """What the report shows."""

    folder: Path
    summary: Summary
    manifest: dict[str, Any]
    recipe: str
    """The resolved recipe's YAML."""
    completions: dict[str, list[Completion]]
    votes: list[Vote]
    curves: dict[str, list[dict[str, Any]]]
    """Stage -> the rows of its training log."""
    checks: list[dict[str, Any]]
    """Findings of `check`, where it was run."""


def load_run(folder: Path) -> RunView:
    """Read everything the report needs.

    Raises:
        DataError: there is no summary, or a file does not parse.
    """
    file = folder / "summary.json"
    if not file.exists():
        raise DataError(f"{folder}: no summary.json here; run the recipe first (adapter-arena run ...)")
    try:
        summary = Summary.model_validate(records.read_json(file))
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        raise DataError(f"{file}: {place}: {problem['msg']}") from None
    answers = {name: folder / "completions" / f"{name}.jsonl" for name in summary.contestants}
    logs = {stage.name: folder / "adapters" / stage.name / "training.jsonl" for stage in summary.stages}
    return RunView(
        folder=folder,
        summary=summary,
        manifest=_json(folder / "manifest.json", {}),
        recipe=_text(folder / "recipe.yaml"),
        completions={
            name: list(records.read(path, Completion)) for name, path in answers.items() if path.exists()
        },
        votes=list(records.read(folder / "votes.jsonl", Vote)) if (folder / "votes.jsonl").exists() else [],
        curves={name: _log(path) for name, path in logs.items() if path.exists()},
        checks=_json(folder / "checks.json", []),
    )


def _log(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for _, line in records.read_lines(path)]


def _json(path: Path, otherwise: Any) -> Any:
    return records.read_json(path) if path.exists() else otherwise


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""
