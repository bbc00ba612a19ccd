"""Run a judge over questions: each judgment is stored when it arrives, and is requested once."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from statistics import fmean, stdev
from types import MappingProxyType
from typing import Any, Generic, Protocol, TypeVar, cast

from pydantic import ValidationError

from toolkit.generate.completions import Store
from toolkit.judge.questions import Grade, Grading, Question, both_orders
from toolkit.progress import log_progress
from toolkit.statistics import Z
from toolkit.types import Battle, Completion, Judgment, Score, Verdict, digest

logger = logging.getLogger(__name__)

NOT_FINITE = "the model's figures are not finite; load it in bfloat16 or float32"
"""`reason` of no verdict: an overflow says nothing about either answer."""

MARK = re.compile(r"@([0-9a-f]{6})$")
"""End of a local judge's name: the start of its weights' fingerprint."""

OLD_ID_DIGITS = 16
"""Hex digits of the ids of battles and completions in logs of earlier versions, which went by names."""

J = TypeVar("J", bound=Judgment)


class PairJudge(Protocol):
    """A model that compares two answers."""

    @property
    def name(self) -> str:
        """What its verdicts and votes are signed with."""

    @property
    def prompt_key(self) -> str:
        """Hash of the judge prompt it uses."""

    def verdicts(self, comparisons: Sequence[Any], known: Mapping[Any, Any], /) -> Iterator[Any]:
        """Yield the missing judgments on `comparisons`, each as soon as it is there, in any order.

        These are all questions, so that how they are grouped does not depend on what is known. `known` has
        the last judgment on each; on an unreadable one a judge may give another, with the next `attempt`.
        """


class JudgmentStore(Generic[J]):
    """The judgments of one judge with one prompt, by what it read."""

    def __init__(self, folder: Path, judge: str, prompt: str, kind: type[J]) -> None:
        """Open the store in a folder; a local judge goes by its weights, not by its name."""
        self.judge = judge
        marked = MARK.search(judge)
        settings = {"judge": marked[1] if marked else judge, "prompt": prompt}
        self._store = Store(folder, settings, kind.model_validate)

    def get(self, question: Question) -> J | None:
        """The last judgment on a question, in its own terms."""
        for key in question.content_keys():
            if (found := self._store.replies.get(key)) is not None:
                restated: Any = question.restate(found, self.judge)
                return cast("J", restated)
        return None

    def of(self, questions: Iterable[Question]) -> list[J]:
        """The judgments on these questions so far, in their order."""
        return [found for each in questions if (found := self.get(each)) is not None]

    def add(self, key: str, judgment: J) -> None:
        """Keep a judgment; it is on disk when this returns."""
        self._store.add(key, judgment, judgment.model_dump(mode="json"), lambda other: other.readable)

    def __contains__(self, key: str) -> bool:
        return key in self._store.replies


def ask(
    judge: PairJudge,
    questions: Sequence[Question],
    store: JudgmentStore[Any],
    elsewhere: Mapping[Question, Judgment] = MappingProxyType({}),
) -> None:
    """Run a judge over the questions without a stored judgment; refused ones are requested again.

    `store` is of this judge and prompt; the questions in `elsewhere` are asked by other processes.
    """
    known = {each: found for each in questions if (found := store.get(each)) and not found.refused}
    known |= elsewhere
    total, done = len(questions) - len(elsewhere), len(known) - len(elsewhere)
    logger.info("judge %s: %d verdicts wanted, %d known", judge.name, total, done)
    by_subject = {question.subject: question for question in questions}
    for judgment in judge.verdicts(questions, known):
        names = ("battle_id", "order") if isinstance(judgment, Verdict) else ("example_id", "contestant")
        question = by_subject[tuple(getattr(judgment, name) for name in names)]
        store.add(next(question.content_keys()), judgment)
        done = min(done + 1, total)  # an unreadable reply is requested again
        log_progress(logger, "verdicts", done, total)


def judge_battles(
    judge: PairJudge, battles: Sequence[Battle], *, store: Path, share: tuple[int, int] = (0, 1)
) -> list[Verdict]:
    """Verdicts of `judge` on both orders of every battle, in the order of `battles`.

    Each verdict is kept in `store` when it arrives. Verdicts already there (same question, answers, judge,
    order and prompt, whatever the names and whichever side is called a) are not requested again, so an
    interrupted call continues and a finished one costs nothing.

    Args:
        judge: who judges.
        battles: all of them, also those that other processes judge: what is batched with what hangs on all.
        store: folder of verdicts; several processes may add to one.
        share: `(k, n)`: judge only the k-th of n parts of the battles, counted from 0, and give its verdicts.

    Raises:
        JudgeError: the judge cannot be used for these battles.
        EndpointError: the judge's server does not answer; earlier verdicts are kept.
    """
    kept, (part, parts) = JudgmentStore(store, judge.name, judge.prompt_key, Verdict), share
    questions = both_orders(battles)
    count = len(questions) // 2
    mine = questions[2 * (part * count // parts) : 2 * ((part + 1) * count // parts)]
    for each in [each for each in mine if each.identical and kept.get(each) is None]:
        kept.add(next(each.content_keys()), each.tie(judge.name, judge.prompt_key))
    own, distinct = set(mine), [each for each in questions if not each.identical]
    ask(judge, distinct, kept, {e: e.tie(judge.name, judge.prompt_key) for e in distinct if e not in own})
    return kept.of(mine)


def load_verdicts(battles: Iterable[Battle], judge: str, prompt: str, *, store: Path) -> list[Verdict]:
    """The verdicts of a judge of this name and prompt on battles so far, in their order."""
    return JudgmentStore(store, judge, prompt, Verdict).of(both_orders(battles))


def import_old_log(log: Path, store: Path, kind: type[Judgment]) -> None:
    """Put the verdicts or grades of a log of earlier versions, which went by names, into a store."""
    if not log.exists():
        return
    fields = ("battle_id", "order") if kind is Verdict else ("completion", "example_id", "contestant")
    stores: dict[tuple[str, str], JudgmentStore[Any]] = {}
    for line in log.read_text(encoding="utf-8", errors="replace").split("\n"):
        with suppress(ValidationError):  # torn
            judgment = kind.model_validate_json(line)
            old_id, *others = (getattr(judgment, name) for name in fields)
            key = digest(old_id, *others) if kind is Verdict else digest(*others, old_id)
            if len(old_id) == OLD_ID_DIGITS:
                who = judgment.judge, judgment.prompt
                kept = stores[who] = stores.get(who) or JudgmentStore(store, *who, kind)
                if key not in kept:
                    kept.add(key, judgment)


def grade_completions(
    judge: PairJudge, completions: Sequence[Completion], *, store: Path, reference: bool = False
) -> list[Grade]:
    """A grade from 1 to 10 of every completion, in their order, kept in the folder `store` as they arrive.

    Grades already there (same question and answer, judge and prompt) are not requested again. `reference`:
    whether the judge is shown the reference.
    """
    kept = JudgmentStore(store, judge.name, judge.prompt_key, Grade)
    questions = [Grading(row, reference) for row in completions]
    ask(judge, list({next(each.content_keys()): each for each in questions}.values()), kept)
    return kept.of(questions)


def grade_scores(grades: Iterable[Grade]) -> list[Score]:
    """Mean grade of each contestant, unreadable ones left out; 95% interval by the normal approximation."""
    readable = sorted((row for row in grades if row.value is not None), key=lambda row: row.contestant)
    scores = []
    for contestant, rows in groupby(readable, key=lambda row: row.contestant):
        values = [row.value for row in rows if row.value is not None]
        mean, ends = fmean(values), {}
        if len(values) > 1:
            margin = Z * stdev(values) / len(values) ** 0.5
            ends = {"low": mean - margin, "high": mean + margin}
        scores.append(Score(contestant=contestant, metric="judge_grade", value=mean, n=len(values), **ends))
    return scores
