"""Run judges over completions: battles, verdicts, votes and statistics, for recipes and the command line."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import ConfigDict

from toolkit import io
from toolkit.errors import DataError, InputError, JudgeError, RecipeError
from toolkit.generate.completions import VERDICTS
from toolkit.judge.aggregation import (
    aggregate_votes,
    disagreement,
    judge_statistics,
    majority_votes,
    pair_orders,
    preferences_from_votes,
    validate_vote_count,
    win_rates,
)
from toolkit.judge.battles import build_battles, choose_answers
from toolkit.judge.factory import build_judge, judge_name, load_judge_prompt, prompt_key, validate_judges
from toolkit.judge.prompts import render
from toolkit.judge.readers import battle_log, mt_bench_judgments
from toolkit.judge.verdicts import (
    ORDERS,
    Comparison,
    Grade,
    Grading,
    J,
    JudgmentStore,
    PairJudge,
    both_orders,
    conversations,
    grade_completions,
    grade_scores,
    import_old_log,
    judge_battles,
    load_verdicts,
)
from toolkit.recipe import Judge, ModelOptions
from toolkit.registry import JUDGE_METHODS
from toolkit.types import Battle, Completion, Judgment, Record, Score, Verdict, Vote

if TYPE_CHECKING:
    from toolkit.generate.engine import ServedModel
    from toolkit.judge.logprob import LogprobJudge
    from toolkit.models import Loaded


Answers = Mapping[str, Sequence[Completion]]
"""Contestant -> its completions."""


@dataclass(frozen=True)
class JudgeContext:
    """Where judges write, and how their models are loaded."""

    out: Path
    load: Callable[[str], Loaded | ServedModel]
    options_of: Callable[[str], ModelOptions]
    """Load options of a model by name."""
    base: str | None = None
    """Model of the judges that name none."""
    store: Path | None = None
    """Folder of the verdict store; `None`: `.verdicts` in `out`."""
    seed: int = 0
    """Seed of the choice of examples."""

    @property
    def verdict_store(self) -> Path:
        return self.store or self.out / VERDICTS

    def judgments(self, section: Judge, kind: type[J], *, fetch: bool = True) -> JudgmentStore[J]:
        """The stored judgments of one judge; `fetch` as of `judge_name`."""
        name = judge_name(section, self.options_of, base=self.base, fetch=fetch)
        return JudgmentStore(self.verdict_store, name, prompt_key(section), kind)


@dataclass(frozen=True)
class JudgingResult:
    """Verdicts with their votes and statistics; of several judges the votes are the majority's."""

    battles: list[Battle]
    verdicts: list[Verdict]
    votes: list[Vote]
    statistics: dict[str, dict[str, Any]]
    disagreement: dict[str, Any] | None
    """Between the judges, where there are several."""

    @cached_property
    def win_rates(self) -> list[dict[str, Any]]:
        """Raw and length-controlled win rates of the votes."""
        return win_rates(preferences_from_votes(self.battles, self.votes))


def load_judge_verdicts(section: Judge, battles: Iterable[Battle], context: JudgeContext) -> list[Verdict]:
    """The verdicts of one judge on battles that are in the store, in the order of the battles."""
    return context.judgments(section, Verdict).of(both_orders(battles))


def run_judge(
    section: Judge, battles: Sequence[Battle], context: JudgeContext, share: tuple[int, int] = (0, 1)
) -> None:
    """Run one judge over battles; its model is loaded only where a verdict is missing or unreadable.

    `battles` are all, also those of other processes; `share` is as of `judge_battles`.
    """
    known = load_judge_verdicts(section, battles, context)
    complete = len(known) == 2 * len({battle.id for battle in battles})
    if not complete or not all(verdict.readable for verdict in known):
        judge = _build(section, context)
        judge_battles(judge, battles, store=context.verdict_store, share=share)
        if share[0] == 0 and hasattr(judge, "measure_noise"):
            _store_noise(cast("LogprobJudge", judge), battles, context)


def _build(section: Judge, context: JudgeContext) -> PairJudge:
    options = context.options_of(section.model or context.base or "")
    return build_judge(section, context.load, base=context.base, options=options)


NOISE_SAMPLE = 6
"""Battles judged twice, to measure how far probabilities move by rounding."""
NOISE_FILE = "noise.json"
"""In the verdict store: judge -> its noise band, and how it computes."""


def _store_noise(judge: LogprobJudge, battles: Sequence[Battle], context: JudgeContext) -> None:
    """Measure the noise band of a judge with probabilities, once for each judge and prompt."""
    known, key = load_noise(context.verdict_store), f"{judge.name}/{judge.prompt_key}"
    verdicts = load_verdicts(battles, judge.name, judge.prompt_key, store=context.verdict_store)
    pairs = {battle_id: both for (battle_id, *_), both in pair_orders(verdicts).items()}
    different = {each.id: each for each in battles if each.completion_a != each.completion_b}
    both = [(battle, *pairs[battle.id]) for battle in different.values() if battle.id in pairs]
    chosen = both[:: max(1, len(both) // NOISE_SAMPLE)][:NOISE_SAMPLE]
    if key in known or not chosen:
        return
    again = [(Comparison(battle, verdict.order), verdict) for battle, *orders in chosen for verdict in orders]
    moved = judge.measure_noise(*zip(*again, strict=True))
    means = [abs(one + other) / 2 for one, other in zip(moved[::2], moved[1::2], strict=False)]
    known[key] = {"judge": judge.name, "band": max(means, default=0.0), "battles": len(means), **judge.setup}
    io.write_json(context.verdict_store / NOISE_FILE, known)


def load_noise(store: Path) -> dict[str, dict[str, Any]]:
    """What is known of the noise of judges; empty where nothing was measured."""
    file = store / NOISE_FILE
    return dict(io.read_json(file)) if file.is_file() else {}


def summarize_verdicts(
    judges: Sequence[Judge], battles: Sequence[Battle], verdicts: Sequence[Verdict], context: JudgeContext
) -> JudgingResult:
    """Votes and statistics of all judges' verdicts on battles; the first section's `rule` makes the votes."""
    rule, jury = judges[0].rule, len(judges) > 1
    measured = {row["judge"]: row for row in load_noise(context.verdict_store).values()}
    noise = {name: float(row["band"]) for name, row in measured.items()}
    votes = aggregate_votes(battles, verdicts, rule=rule, noise=noise)
    statistics = judge_statistics(battles, verdicts, rule=rule, noise=noise)
    for name in statistics.keys() & measured.keys():
        statistics[name]["setup"] = measured[name]
    return JudgingResult(
        battles=list(battles),
        verdicts=list(verdicts),
        votes=majority_votes(votes) if jury else votes,
        statistics=statistics,
        disagreement=disagreement(votes) if jury else None,
    )


def run_judges(judges: Sequence[Judge], answers: Answers, context: JudgeContext) -> JudgingResult:
    """Run judges over the battles that the first section asks for; write verdicts, votes and statistics.

    The folder gets `verdicts.jsonl`, `votes.jsonl`, `battle_log.jsonl` (for FastChat and arena-rank),
    `mt_bench_judgments.jsonl` and `judge.json`. They cover all verdicts in the store on these answers: a
    limit, budget or baseline restricts what is judged now, and removes no earlier verdict.

    Raises:
        ToolkitError: a judge failed; finished verdicts stay in the store, and the same call continues.
    """
    validate_judges(judges, base=context.base)
    out = context.out
    requested = build_battles(answers, judges[0], context.seed)
    everything = all_battles(answers, judges[0], requested)
    import_old_log(out / "verdicts.jsonl", context.verdict_store, Verdict)
    found = (verdict for section in judges for verdict in load_judge_verdicts(section, everything, context))
    covered = {battle.id for battle in requested} | {verdict.battle_id for verdict in found}
    _refuse_to_lose(out / "votes.jsonl", Vote, [battle for battle in everything if battle.id in covered])
    verdicts: list[Verdict] = []
    for section in judges:
        try:
            run_judge(section, requested, context)
        finally:
            verdicts += load_judge_verdicts(section, everything, context)
            io.write(out / "verdicts.jsonl", verdicts)
    known = {verdict.battle_id for verdict in verdicts}
    result = summarize_verdicts(
        judges, [battle for battle in everything if battle.id in known], verdicts, context
    )
    validate_vote_count(result.votes, verdicts)
    io.write(out / "votes.jsonl", result.votes)
    rows = mt_bench_judgments(result.battles, result.verdicts)
    for name, lines in (("battle_log", battle_log(result.votes)), ("mt_bench_judgments", rows)):
        io.write_rows(out / f"{name}.jsonl", lines)
    figures: dict[str, Any] = {"statistics": result.statistics, "win_rates": result.win_rates}
    if result.disagreement is not None:
        figures["disagreement"] = result.disagreement
    io.write_json(out / "judge.json", figures)
    return result


def all_battles(answers: Answers, judge: Judge, requested: Sequence[Battle]) -> list[Battle]:
    """The battles of all pairs, which limit, budget or baseline restrict to those that are requested."""
    unrestricted = {"pairs": "all", "baseline": None, "limit": None, "budget": None}
    by_pair = {_unordered(battle): battle for battle in requested}
    possible = build_battles(answers, judge.model_copy(update=unrestricted))
    return [by_pair.get(_unordered(battle), battle) for battle in possible]


def _refuse_to_lose(
    file: Path, kind: type[Vote] | type[Grade], covered: Sequence[Battle] | Sequence[Completion]
) -> None:
    """Raise where a file's judgments of a pair or a contestant would give way to ones on fewer examples."""
    former: list[Any] = []
    with suppress(DataError):  # absent, or torn: judging makes it again
        former += io.read(file, kind)
    counts = Counter(_subject(row) for row in {_unordered(row): row for row in former}.values())
    now = Counter(_subject(row) for row in covered)
    lost = sum((counts - now).values())
    if lost:
        raise InputError(
            f"{file}: {lost} of {counts.total()} judgments would be lost: other answers or only a part of "
            "them are judged now, by another judge, prompt or weights; judge all, name another folder with "
            "--out, or remove the file"
        )


def _subject(row: Any) -> frozenset[str]:
    return frozenset((row.contestant,) if hasattr(row, "contestant") else (row.model_a, row.model_b))


def _unordered(row: Any) -> tuple[str, frozenset[str]]:
    return row.example_id, _subject(row)


def run_graders(judges: Sequence[Judge], answers: Answers, context: JudgeContext) -> dict[str, list[Score]]:
    """Mean grade of every contestant by each judge; writes `grades.jsonl` and `judge.json`.

    Args and errors as of `run_judges`, for sections whose prompts grade single answers.
    """
    rows, out, store = choose_answers(answers, judges[0], context.seed), context.out, context.verdict_store
    everything = choose_answers(answers, Judge())
    import_old_log(out / "grades.jsonl", store, Grade)
    earlier = [grade for one in judges for grade in _load_judge_grades(one, everything, context)]
    covered = {_unordered(row) for row in (*rows, *earlier)}
    _refuse_to_lose(out / "grades.jsonl", Grade, [row for row in everything if _unordered(row) in covered])
    scores: dict[str, list[Score]] = {}
    grades: list[Grade] = []
    for section in judges:
        if JUDGE_METHODS[section.method].prompt is None:
            raise RecipeError(
                "judge.method: a reward model gives no grades from 1 to 10; use a pairwise prompt"
            )
        judge = _build(section, context)
        grade_completions(judge, rows, store=store, reference=section.reference)
        own = _load_judge_grades(section, everything, context)
        grades += own
        scores[judge.name] = grade_scores(own)
        if not scores[judge.name]:
            first = next((" ".join((each.reason or "").split())[:200] for each in own), "nothing to grade")
            raise JudgeError(f"{judge.name}: none of {len(own)} grades could be read, the first: {first}")
    io.write(out / "grades.jsonl", grades)
    plain = {name: [score.model_dump() for score in of_judge] for name, of_judge in scores.items()}
    io.write_json(out / "judge.json", {"grades": plain})
    return scores


def _load_judge_grades(section: Judge, rows: Iterable[Completion], context: JudgeContext) -> list[Grade]:
    return context.judgments(section, Grade).of(Grading(row, section.reference) for row in rows)


def grades_single(section: Judge) -> bool:
    """Whether a section's prompt has the judge grade answers one by one."""
    return (
        JUDGE_METHODS[section.method].prompt is not None and load_judge_prompt(section).protocol == "single"
    )


CHARACTERS_PER_TOKEN = 4.0
"""Of English text with the usual tokenizers."""


class Estimate(Record):
    """Requests and tokens that one judge still needs."""

    model_config = ConfigDict(use_attribute_docstrings=True)  # for the JSON schema

    judge: str
    battles: int
    """Or answers, where they are graded one by one."""
    identical: int
    """Battles between equal texts: ties without a request."""
    known: int
    """Verdicts that are on disk already."""
    requests: int
    tokens_in: int
    """At four characters a token."""
    tokens_out: int
    """At most: every reply as long as allowed, none unreadable."""
    dollars: float | None = None
    """At most; where prices are given."""


def estimate_usage(
    name: str, section: Judge, questions: Sequence[Comparison] | Sequence[Grading], known: Container[object]
) -> Estimate:
    """What a judge still needs for both orders of all battles, or all answers to grade, less the `known`."""
    ending = JUDGE_METHODS[section.method].prompt
    orders = 2 if questions and isinstance(questions[0], Comparison) else 1
    different = {each.subject: each for each in questions if not each.identical}.values()
    left = [each for each in different if each not in known]
    if ending is None:  # every answer is read once
        read = {answer for each in left if isinstance(each, Comparison) for answer in conversations(each)}
        shown, written = [*read], 0
    else:
        prompt = load_judge_prompt(section)
        shown = [render(prompt, ending, each.case(section.reference)) for each in left]
        written = section.max_new_tokens if ending == "written" else 0
    texts = [message.content for messages in shown for message in messages]
    return Estimate(
        judge=name,
        battles=len(questions) // orders,
        identical=sum(each.identical for each in questions) // orders,
        known=len(different) - len(left),
        requests=len(shown),
        tokens_in=sum(math.ceil(len(text) / CHARACTERS_PER_TOKEN) for text in texts),
        tokens_out=len(shown) * written,
    )


def estimate_costs(judges: Sequence[Judge], answers: Answers, context: JudgeContext) -> list[Estimate]:
    """Requests and tokens that `run_judges` or `run_graders` would need; no model is loaded, nothing sent."""
    single, estimates = grades_single(judges[0]), []
    kind: type[Judgment] = Grade if single else Verdict
    if not single:
        validate_judges(judges, base=context.base)
    log = context.out / ("grades.jsonl" if single else "verdicts.jsonl")
    import_old_log(log, context.verdict_store, kind)
    for section in judges:
        questions: list[Comparison] | list[Grading]
        if single:
            rows = choose_answers(answers, judges[0], context.seed)
            questions = [Grading(row, section.reference) for row in rows]
        else:
            battles = build_battles(answers, judges[0], context.seed)
            questions = [Comparison(battle, order) for battle in battles for order in ORDERS]
        store = context.judgments(section, kind, fetch=False)
        known = {each for each in questions if (found := store.get(each)) and not found.refused}
        estimates.append(estimate_usage(store.judge, section, questions, known))
    return estimates
