"""Benchmark questions that a run's contestants were trained on: what they score there tells nothing."""

from __future__ import annotations

from pathlib import Path

from toolkit.benchmarks.results import questions_of
from toolkit.data import load_rows
from toolkit.errors import DataError
from toolkit.recipe import contestants, load
from toolkit.run.checks.overlap import SHARE, WORDS, copied, runs_of
from toolkit.run.checks.quality import all_text, plain
from toolkit.run.folder import RunFolder

FEWEST = 4
"""Words of a question that can be told from a common turn of phrase."""


def find_contamination(run: Path) -> list[str]:
    """One sentence for every contestant of a run and benchmark whose questions are in its training data.

    A question counts when nearly all of it lies in runs of words that the training rows hold too (as `check`
    finds it before training), or, where it is shorter than such a run, when a row holds the whole of it.

    Args:
        run: the run's folder; without a recipe or with data that are gone there is nothing to say.
    """
    folder = RunFolder(run)
    if not folder.recipe.is_file():
        return []
    recipe, notes = load(folder.recipe), []
    for name, spec in contestants(recipe).items():
        asked = questions_of(folder.benchmarks(name).with_suffix(""))
        if spec.stage is None or not asked:
            continue
        used = dict.fromkeys(stage.data for stage in recipe.chain(spec.stage))
        try:
            rows = [row for data in used for row in load_rows(recipe.data[data], seed=recipe.seed).rows]
        except DataError as error:
            notes.append(f"{name}: its training data cannot be compared with the benchmarks: {error}")
            continue
        notes += contamination_notes(name, asked, [all_text(row) for row in rows])
    return notes


def contamination_notes(contestant: str, asked: dict[str, list[str]], training: list[str]) -> list[str]:
    """The sentences for one contestant.

    Args:
        contestant: its name.
        asked: task -> questions.
        training: texts of all rows it was trained on.
    """
    known = [plain(text) for text in training]
    runs = runs_of(known)
    notes = []
    for task, questions in asked.items():
        found = [question for question in questions if _is_contaminated(plain(question), known, runs)]
        if found:
            notes.append(
                f"{contestant}: {len(found)} of {len(questions)} questions of {task} are in its training "
                f"data ({found[0][:60]!r}): its score there tells nothing"
            )
    return notes


def _is_contaminated(question: str, rows: list[str], runs: set[str]) -> bool:
    if not FEWEST <= len(question.split()) < WORDS:
        return copied(question, runs) >= SHARE
    return any(f" {question} " in f" {row} " for row in rows)
