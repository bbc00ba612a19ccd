"""Run folders and files of completions -> measurements of every contestant in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from toolkit import records
from toolkit.errors import DataError
from toolkit.generate.elsewhere import read_completions, read_references
from toolkit.metrics.measurement import Measurement
from toolkit.metrics.measuring import Encoding, measure_texts
from toolkit.recipe.files import completion_files
from toolkit.types import Completion

FROM_MODELS = ("perplexity", "bits_per_byte")
"""Metrics that need the model itself; taken from a run's own measurements."""


def collect(
    sources: Sequence[Path],
    metrics: Sequence[str],
    *,
    references: Sequence[Path] = (),
    encoding: Encoding,
) -> list[Measurement]:
    """Measure all completions in run folders and files.

    Args:
        sources: run folders, files of completions.
        metrics: names as in a recipe.
        references: files of further reference answers.
        encoding: of BERTScore.

    Raises:
        DataError: a source holds no completions, or a contestant is in two of them.
    """
    known = read_references(references)
    found: list[Measurement] = []
    seen: dict[str, Path] = {}
    for source in sources:
        for name, said in _completions(source).items():
            if name in seen:
                raise DataError(f"{source}: contestant {name} is in {seen[name]} already; rename one of them")
            seen[name] = source
            found += measure_texts(said, metrics, encoding=encoding, references=known)
            found += _of_the_run(source, name)
    return found


def in_recipe_order(source: Path, names: Iterable[str]) -> list[str]:
    """Contestants, each once, as a run's recipe has them; those that it has no scores of stand behind.

    The first is who the others are compared with.
    """
    file = source / "scores.json"
    scored = [score["contestant"] for score in records.read_json(file)] if file.is_file() else []
    given = dict.fromkeys(names)
    return list(dict.fromkeys([*(name for name in scored if name in given), *given]))


def _completions(source: Path) -> dict[str, list[Completion]]:
    """Contestant -> completions."""
    files = list(completion_files(source).values()) if source.is_dir() else [source]
    if not files:
        raise DataError(f"{source}: no completions here; `adapter-arena run` writes them")
    said = [each for file in files for each in read_completions(file)]
    names = in_recipe_order(source, [each.contestant for each in said])
    return {name: [each for each in said if each.contestant == name] for name in names}


def _of_the_run(source: Path, contestant: str) -> list[Measurement]:
    file = source / "measurements" / f"{contestant}.jsonl"
    if not file.is_file():
        return []
    return [each for each in records.read(file, Measurement) if each.metric in FROM_MODELS]
