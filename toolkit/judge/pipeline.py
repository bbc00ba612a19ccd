"""Judging from answers to figures: one judge or a jury, everything it says kept in one folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit import records
from toolkit.errors import JudgeError
from toolkit.generate.store import VERDICTS
from toolkit.judge.aggregation import (
    aggregate_votes,
    majority_votes,
    preferences_from_votes,
    validate_vote_count,
    win_rates,
)
from toolkit.judge.battles import build_battles
from toolkit.judge.bias import disagreement, judge_statistics
from toolkit.judge.costs import Estimate, count_tokens, estimate_judge, estimate_reward
from toolkit.judge.factory import (
    build_grader,
    build_judge,
    load_judge_prompt,
    local_judge_name,
    prompt_key,
    prompt_method,
    validate_judges,
)
from toolkit.judge.grading import (
    Grade,
    GradeStore,
    grade_completions,
    grade_scores,
    grading_case,
    import_old_grades,
)
from toolkit.judge.readers import AnswerSet, battle_log, mt_bench_judgments
from toolkit.judge.verdicts import (
    VerdictStore,
    both_orders,
    import_old_verdicts,
    judge_battles,
    load_verdicts,
)
from toolkit.recipe import Judge, ModelOptions
from toolkit.types import Battle, Completion, Score, Verdict, Vote

if TYPE_CHECKING:
    from toolkit.models import Loaded


@dataclass(frozen=True)
class JudgingResult:
    """What came of it. With several judges `votes` are the jury's, and `disagreement` is between them."""

    battles: list[Battle]
    verdicts: list[Verdict]
    votes: list[Vote]
    statistics: dict[str, dict[str, Any]]
    win_rates: list[dict[str, Any]]
    disagreement: dict[str, Any] | None


def run_judges(  # noqa: PLR0913 - one call says who judges what, how models are loaded, and where it is kept
    judges: Sequence[Judge],
    answers: AnswerSet,
    load: Callable[[str], Loaded],
    *,
    out: Path,
    store: Path | None = None,
    base: str | None = None,
    options: ModelOptions = ModelOptions(),
    seed: int = 0,
) -> JudgingResult:
    """Put the battles that the first judge's section asks for to every judge, and count their votes.

    Votes and figures are those of all verdicts in the store on these answers: a limit, a budget or a baseline
    restricts what is asked now, and takes nothing away that was judged before.

    Args:
        judges: one, or a jury.
        answers: what contestants said.
        load: gives a local model by its name.
        out: folder for `verdicts.jsonl`, `votes.jsonl`, `battle_log.jsonl` (for FastChat and arena-rank),
            `mt_bench_judgments.jsonl` and `judge.json`.
        store: folder where every verdict is kept as it arrives; left out, `.verdicts` in `out`.
        base: the model that judges where a section names none.
        options: how a reward model is loaded.
        seed: of the choice of examples.

    Raises:
        ToolkitError: as the parts do; what was judged before is kept, and the same call continues.
    """
    validate_judges(judges, base=base)
    wanted = build_battles(answers.completions, judges[0], seed, categories=answers.categories)
    rule, store = judges[0].rule, store or out / VERDICTS
    import_old_verdicts(out / "verdicts.jsonl", store)
    everything = _all_battles(wanted, answers, judges[0], seed)
    verdicts: list[Verdict] = []
    for section in judges:
        judge = build_judge(section, load, base=base, options=options)
        try:
            judge_battles(judge, wanted, store=store)
        finally:
            verdicts += load_verdicts(everything, judge.name, judge.prompt_key, store=store)
            records.write(out / "verdicts.jsonl", verdicts)
    known = {verdict.battle_id for verdict in verdicts}
    fought = [battle for battle in everything if battle.id in known]
    each = aggregate_votes(fought, verdicts, rule=rule)
    validate_vote_count(each, verdicts)
    several = len(judges) > 1
    cast = majority_votes(each) if several else each
    found = JudgingResult(
        battles=fought,
        verdicts=verdicts,
        votes=cast,
        statistics=judge_statistics(fought, verdicts, rule=rule),
        win_rates=win_rates(preferences_from_votes(fought, cast)),
        disagreement=disagreement(each) if several else None,
    )
    _write(found, out)
    return found


def _all_battles(wanted: list[Battle], answers: AnswerSet, judge: Judge, seed: int) -> list[Battle]:
    """The wanted battles, and behind them every other one between these answers."""
    whole = judge.model_copy(update={"pairs": "all", "baseline": None, "limit": None, "budget": None})
    there = {_sides(battle) for battle in wanted}
    others = build_battles(answers.completions, whole, seed, categories=answers.categories)
    return [*wanted, *(battle for battle in others if _sides(battle) not in there)]


def _sides(battle: Battle) -> tuple[str, frozenset[str]]:
    return battle.example_id, frozenset((battle.model_a, battle.model_b))


def run_graders(
    judges: Sequence[Judge],
    answers: AnswerSet,
    load: Callable[[str], Loaded],
    *,
    out: Path,
    store: Path | None = None,
    base: str | None = None,
) -> dict[str, list[Score]]:
    """Every judge's mean grade of every contestant; `grades.jsonl` and `judge.json` in `out`.

    Args and errors as of `hold`, for sections whose prompts grade single answers.
    """
    rows, store = _gradable(answers), store or out / VERDICTS
    import_old_grades(out / "grades.jsonl", store)
    found: dict[str, list[Score]] = {}
    every: list[Grade] = []
    for section in judges:
        grader = build_grader(section, load, base=base)
        grades = grade_completions(grader, rows, store=store)
        every += grades
        found[grader.name] = grade_scores(grades)
        if not found[grader.name]:
            first = next((" ".join((each.reason or "").split())[:200] for each in grades), "nothing to grade")
            raise JudgeError(f"{grader.name}: none of {len(grades)} grades could be read, the first: {first}")
    records.write(out / "grades.jsonl", every)
    scores = {name: [score.model_dump() for score in said] for name, said in found.items()}
    records.write_json(out / "judge.json", {"grades": scores})
    return found


def _gradable(answers: AnswerSet) -> list[Completion]:
    """Every completion but those that a server refused."""
    return [row for completions in answers.completions.values() for row in completions if not row.refused]


def grades_single(section: Judge) -> bool:
    """Whether a section's prompt has the judge grade answers one by one."""
    return section.method != "reward" and load_judge_prompt(section).protocol == "single"


def estimate_costs(  # noqa: PLR0913 - as `hold`
    judges: Sequence[Judge],
    answers: AnswerSet,
    options_of: Callable[[str], ModelOptions],
    *,
    out: Path,
    store: Path | None = None,
    base: str | None = None,
    seed: int = 0,
) -> list[Estimate]:
    """What `hold` or `grade_all` would ask of each judge. Loads no model and asks nothing of the network.

    `options_of` gives how a model of a name is loaded; the others are those of `hold`.

    Raises:
        ToolkitError: as they do, where that shows without a model.
    """
    store = store or out / VERDICTS
    if grades_single(judges[0]):
        names = [local_judge_name(section, options_of, base=base) for section in judges]
        pairs = zip(judges, names, strict=True)
        import_old_grades(out / "grades.jsonl", store)
        return [_costs_of_grades(section, name, _gradable(answers), store) for section, name in pairs]
    validate_judges(judges, base=base)
    import_old_verdicts(out / "verdicts.jsonl", store)
    fought = build_battles(answers.completions, judges[0], seed, categories=answers.categories)
    found = []
    for section in judges:
        name = local_judge_name(section, options_of, base=base)
        kept = VerdictStore(store, name, prompt_key(section))
        known = {
            comparison
            for comparison in both_orders(fought)
            if (said := kept.get(comparison)) and not said.refused
        }
        if section.method == "reward":
            found.append(estimate_reward(name, fought, known))
        else:
            each = estimate_judge(
                name, fought, load_judge_prompt(section), prompt_method(section), known, section.reference
            )
            found.append(_bounded(each, section))
    return found


def _costs_of_grades(section: Judge, name: str, rows: Sequence[Completion], store: Path) -> Estimate:
    kept = GradeStore(store, name, prompt_key(section), reference=section.reference)
    left = [row for row in rows if kept.get(row) is None]
    found = Estimate(
        judge=name,
        battles=len(rows),
        identical=0,
        known=len(rows) - len(left),
        **count_tokens(
            load_judge_prompt(section),
            prompt_method(section),
            [grading_case(row, section.reference) for row in left],
        ),
    )
    return _bounded(found, section)


def _bounded(found: Estimate, section: Judge) -> Estimate:
    """With replies as long as this section lets them be."""
    longest = section.max_new_tokens if section.method == "written" else 0
    return found.model_copy(update={"tokens_out": found.requests * longest})


def _write(found: JudgingResult, out: Path) -> None:
    records.write(out / "votes.jsonl", found.votes)
    _write_rows(out / "battle_log.jsonl", battle_log(found.votes))
    _write_rows(out / "mt_bench_judgments.jsonl", mt_bench_judgments(found.battles, found.verdicts))
    figures = {"statistics": found.statistics, "win_rates": found.win_rates}
    if found.disagreement is not None:
        figures["disagreement"] = found.disagreement
    records.write_json(out / "judge.json", figures)


def _write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    records.write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
