"""Single-answer grading: a judge gives each completion a grade from 1 to 10, by itself.

The grade of a judge that is read by its next token is the mean of the digits 1 to 9 under its probabilities,
which makes finer differences than the likeliest digit does (G-Eval, Liu et al. 2023); a writing judge's is
the one it states.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

from toolkit.judge.questions import Grade, Grading
from toolkit.judge.verdicts import JudgmentStore, PairJudge, ask, import_old_log
from toolkit.statistics import Z
from toolkit.types import Completion, Score, digest


def grade_completions(
    judge: PairJudge, completions: Sequence[Completion], *, store: Path, reference: bool = False
) -> list[Grade]:
    """A grade of every completion, in their order; each is kept in the folder `store` when it arrives.

    Grades already there (same question and answer, judge and prompt) are not asked for again. `reference`:
    whether the judge is shown the reference.
    """
    kept = JudgmentStore(store, judge.name, judge.prompt_key, Grade)
    questions = [Grading(row, reference) for row in completions]
    ask(judge, list({next(each.content_keys()): each for each in questions}.values()), kept)
    return [grade for each in questions if (grade := kept.get(each)) is not None]


def import_old_grades(log: Path, store: Path) -> None:
    """Put the grades in a log of earlier versions, which went by names, into a store."""
    import_old_log(
        log,
        store,
        Grade,
        lambda old: (old.completion, digest(old.example_id, old.contestant, old.completion)),
    )


def grade_scores(grades: Iterable[Grade]) -> list[Score]:
    """Mean grade of each contestant, unreadable ones left out; 95% interval by the normal approximation."""
    readable = sorted((row for row in grades if row.value is not None), key=lambda row: row.contestant)
    scores = []
    for contestant, rows in groupby(readable, key=lambda row: row.contestant):
        values = [row.value for row in rows if row.value is not None]
        mean = math.fsum(values) / len(values)
        spread = math.fsum((value - mean) ** 2 for value in values) / max(1, len(values) - 1)
        margin = Z * math.sqrt(spread / len(values)) if len(values) > 1 else None
        low, high = (mean - margin, mean + margin) if margin is not None else (None, None)
        scores.append(
            Score(contestant=contestant, metric="judge_grade", value=mean, low=low, high=high, n=len(values))
        )
    return scores
