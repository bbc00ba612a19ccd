"""Build a run's summary, ratings and report from the files that its steps wrote."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit import io
from toolkit.benchmarks.results import scores_of
from toolkit.errors import DataError, first_line
from toolkit.generate.completions import check_replaceable
from toolkit.judge.pipeline import all_battles, summarize_verdicts
from toolkit.metric_info import known_figures
from toolkit.metrics import Measurement, difference, score
from toolkit.metrics.compare import slice_examples, slice_figures, write_groups
from toolkit.metrics.intervals import clustered
from toolkit.metrics.measurement import join_seeds, read_by_seed, values_by_seed
from toolkit.ratings import bradley_terry, elo, prediction_powered
from toolkit.recipe import Judge, Recipe, Scoring, Stage, arena_claims, contestants, fingerprint, load
from toolkit.recipe.files import completion_files
from toolkit.report import PAGES, write_report
from toolkit.report.export import write_scores
from toolkit.report.headline import METRIC_ORDER, unusable_answers, unusable_sentence
from toolkit.report.load import TEST_SET, arena_votes, runs_on
from toolkit.run.cache import Step, StepCache
from toolkit.run.doctor import describe_hardware, package_versions
from toolkit.run.folder import RunFolder
from toolkit.run.plan import benchmarked_contestants, judge_context, run_battles
from toolkit.run.resolve import Execution
from toolkit.types import Completion, Difference, Example, Ratings, Score, StageResult, Summary, Verdict, Vote

if TYPE_CHECKING:
    from toolkit.train.merge import Drift, Into

logger = logging.getLogger(__name__)


def build_summary(execution: Execution, cache: StepCache) -> Summary:
    """Every figure of a run whose steps are done."""
    recipe, folder, scoring = execution.recipe, execution.folder, execution.recipe.scoring
    names = [contestant.name for contestant in execution.contestants]
    scores: list[Score] = []
    found, notes = _measured(execution, scoring, names) if scoring else ([], {})
    if scoring:
        scores = [score(measured) for measured in found]
        for contestant in benchmarked_contestants(execution):
            scores += scores_of(folder.benchmarks(contestant.name), contestant.name)
        notes |= _answer_notes(execution)
        if recipe.judge:
            notes |= _judge_notes(execution, recipe.judge)
    return Summary(
        run=folder.path.name,
        contestants=tuple(names),
        scores=tuple(scores),
        differences=tuple(paired_differences(found, names)),
        ratings=_rate(execution) if scoring else Ratings(),
        stages=load_stage_results(folder, recipe.stages),
        skipped=tuple(cache.skipped),
        seconds=round(cache.seconds, 1),
        notes=notes,
    )


def _measured(
    execution: Execution, scoring: Scoring, names: Sequence[str]
) -> tuple[list[Measurement], dict[str, Any]]:
    """The measurements of all contestants, over seeds and groups, and notes on how they were made."""
    recipe, notes = execution.recipe, dict[str, Any]()
    by_seed = {name: read_by_seed(execution.folder.path, name, recipe.seeds) for name in names}
    found = [each for name in names for each in join_seeds(by_seed[name], recipe.seeds)]
    if recipe.seeds > 1:
        trained = {name for name, spec in contestants(recipe).items() if spec.stage is not None}
        values = {name: values_by_seed(by_seed[name]) for name in names if name in trained}
        notes["seeds"] = {"count": recipe.seeds, "values": values}
    if scoring.slices:
        notes["slices"] = _slices(execution, scoring, found)
    if execution.groups:
        found = [clustered(measured, execution.groups) for measured in found]
        notes["groups"] = scoring.groups
    if scoring.generation.samples > 1:
        notes["samples"] = scoring.generation.samples
    if scoring.primary:
        notes["primary"] = scoring.primary
    if execution.swept:
        notes["sweep"] = execution.swept
    return found, notes


def _judge_notes(execution: Execution, judge: Judge) -> dict[str, Any]:
    verdicts = list(io.read(execution.folder.verdicts, Verdict))
    seen = {each.battle_id for each in verdicts}
    battles = all_battles(_answers(execution), judge, run_battles(execution, judge))
    battles = [battle for battle in battles if battle.id in seen]  # the command `judge` may have added some
    judged = summarize_verdicts(judge.members(), battles, verdicts, judge_context(execution))
    return {"judge": judged.statistics} | (
        {} if judged.disagreement is None else {"jury": judged.disagreement}
    )


def _answer_notes(execution: Execution) -> dict[str, Any]:
    """Refused requests, worked examples of contestants, and whose answers are cut or empty too often."""
    answers = _answers(execution)
    refused = {name: sum(each.refused for each in found) for name, found in answers.items()}
    shots: dict[str, Any] = {}
    for each in execution.contestants:
        if worked := execution.worked_examples(each):
            shots[each.name] = worked.model_dump(mode="json", exclude={"prompt", "stop"})
    unusable = unusable_answers(answers)
    for name, counts in unusable.items():
        logger.warning("%s", unusable_sentence(name, counts))
    notes: dict[str, Any] = {"refused": {name: count for name, count in refused.items() if count}}
    notes |= {"shots": shots, "unusable_answers": unusable}
    return {key: note for key, note in notes.items() if note}


def _slices(execution: Execution, scoring: Scoring, found: Sequence[Measurement]) -> list[dict[str, Any]]:
    """Figures by slice of the primary measure, or the one that is quoted, and of the recipe's own metrics."""
    there = {measured.metric for measured in found}
    quoted = (name for name in (scoring.primary, *METRIC_ORDER) if name in there)
    chosen = {next(quoted, None)} | (there - known_figures().keys())
    members = slice_examples(execution.examples, execution.columns, scoring.slices)
    figures = slice_figures([each for each in found if each.metric in chosen], members, execution.groups)
    return [figure.model_dump(mode="json", exclude_none=True) for figure in figures]


def load_stage_results(folder: RunFolder, stages: Sequence[Stage]) -> tuple[StageResult, ...]:
    """What training some stages gave."""
    files = [folder.adapter(stage.name) / "stage.json" for stage in stages]
    return tuple(StageResult.model_validate(io.read_json(file, finite=False)) for file in files)


def finish(execution: Execution, cache: StepCache, summary: Summary, command: str) -> None:
    """Write the summary and the report, unless they are there and say the same."""
    folder, recipe, groups = execution.folder, execution.recipe, execution.groups
    judged, people = _votes(execution)
    online = {kind: elo(votes) for kind, votes in (("people", people), ("judge", judged)) if votes}
    tables = {kind: [row.model_dump() for row in fit.ratings] for kind, fit in online.items()}
    ratings = {"bradley_terry": summary.ratings.model_dump(mode="json"), "elo": tables}
    tested = {"examples": execution.questions, TEST_SET: execution.test_set} if recipe.scoring else {}
    others = runs_on(folder.path, tested.get(TEST_SET))

    def work() -> None:
        _write_summary(folder, summary)
        io.write_json(folder.ratings, ratings)
        if groups:
            write_groups(folder.groups, groups)
        else:
            folder.groups.unlink(missing_ok=True)
        cache.record(
            command=command,
            seed=recipe.seed,
            versions=package_versions(),
            hardware=describe_hardware(),
            data=execution.data | tested,
            **({"engines": execution.engine_records} if execution.engine_records else {}),
        )
        for stage in recipe.stages:
            card = folder.adapter(stage.name) / "README.md"
            if card.exists():
                write_scores(card, recipe, stage.name, summary, folder.path / "completions")
        write_report(folder.path)
        log_figures(recipe, summary, folder.path)

    figures = summary.model_dump(mode="json", exclude={"skipped", "seconds"})
    inputs = fingerprint(figures, ratings, *([groups] if groups else []), *others, cache.outputs)
    outputs = [folder.scores, folder.summary, folder.ratings, *(folder.path / name for name in PAGES)]
    outputs += [folder.groups] if groups else []
    cache.do(Step("report", lambda: inputs, work, tuple(outputs)))


def _write_summary(folder: RunFolder, summary: Summary) -> None:
    io.write_json(folder.scores, [score.model_dump() for score in summary.scores])
    io.write_json(folder.summary, summary)


def paired_differences(found: Sequence[Measurement], names: Sequence[str]) -> list[Difference]:
    """Each contestant against every one named before it, metric by metric."""
    by_metric: dict[str, dict[str, Measurement]] = {}
    for measured in found:
        by_metric.setdefault(measured.metric, {})[measured.contestant] = measured
    pairs = [
        difference(by_name[later], by_name[earlier])
        for earlier, later in combinations(names, 2)
        for by_name in by_metric.values()
        if earlier in by_name and later in by_name
    ]
    return [paired for paired in pairs if paired is not None]


def _answers(execution: Execution) -> dict[str, list[Completion]]:
    scored = execution.contestants if execution.recipe.scoring else ()
    return {contestant.name: execution.load_completions(contestant) for contestant in scored}


def _votes(execution: Execution) -> tuple[list[Vote], list[Vote]]:
    folder = execution.folder
    cast = list(io.read(folder.votes, Vote)) if folder.votes.exists() else []
    return [vote for vote in cast if vote.kind == "judge"], arena_votes(folder.arena, _answers(execution))


def _rate(execution: Execution) -> Ratings:
    """Ratings of the judge's votes and of people's, each on its own, and of both together."""
    judged, people = _votes(execution)
    claims = arena_claims(execution.recipe)
    fit = bradley_terry(people).for_open_arena(people, claims) if people else None
    both = prediction_powered(people, judged) if fit and judged else None
    return Ratings(
        people=fit.ratings if fit else (),
        judge=bradley_terry(judged).ratings if judged else (),
        people_and_judge=both.ranked_by(fit.decisions).ratings if fit and both else (),
    )


def merge_stage(run: Path, stage: str, out: Path, *, into: Into, dtype: str) -> list[Drift]:
    """`toolkit.train.merge.merge` of a run's stage, with the run's scores in the card, where it has any."""
    from toolkit.train.merge import merge  # imports torch

    folder = RunFolder(run)
    recipe = load(folder.recipe)
    drifts = merge(recipe, recipe.stage(stage), run, out, into=into, dtype=dtype)
    add_scores(folder, recipe, stage, out / "README.md")
    return drifts


def add_scores(folder: RunFolder, recipe: Recipe, stage: str, card: Path) -> None:
    """`write_scores` of a run's stage, where the run has any."""
    if folder.summary.exists():
        summary = Summary.model_validate(io.read_json(folder.summary, finite=False))
        write_scores(card, recipe, stage, summary, folder.path / "completions")


Figures = Mapping[str, float]


def log_figures(recipe: Recipe, summary: Summary, run: Path) -> None:
    """Send all figures to the trackers that a stage's `report_to` names; one that fails is a warning."""
    named: list[str] = []
    for stage in recipe.stages:
        names = stage.trainer.get("report_to") or []
        named += [names] if isinstance(names, str) else names
    figures = flatten_figures(summary)
    for name in dict.fromkeys(named):
        if name in TRACKERS and figures:
            try:
                TRACKERS[name](recipe, figures, run)
            except Exception as error:  # noqa: BLE001 - of a server elsewhere, or of its settings
                logger.warning("%s: scores were not sent: %s", name, first_line(error)[:300])


def flatten_figures(summary: Summary) -> dict[str, float]:
    """`scores/<metric>/<contestant>` and `ratings/<voters>/<contestant>` -> value, where there is one."""
    figures = {f"scores/{each.metric}/{each.contestant}": each.value for each in summary.scores}
    for voters, ratings in summary.ratings:
        figures |= {f"ratings/{voters}/{each.contestant}": each.value for each in ratings}
    return {name: float(value) for name, value in figures.items() if math.isfinite(value)}


def _tensorboard(recipe: Recipe, figures: Figures, run: Path) -> None:
    module = "torch.utils.tensorboard" if importlib.util.find_spec("tensorboard") else "tensorboardX"
    writer: Any = importlib.import_module(module).SummaryWriter(str(run / "tensorboard" / "scores"))
    for name, value in figures.items():
        writer.add_scalar(name, value)
    writer.close()


def _mlflow(recipe: Recipe, figures: Figures, run: Path) -> None:
    import mlflow

    with mlflow.start_run(run_name=f"{recipe.name}/scores"):
        mlflow.log_metrics(dict(figures))
        mlflow.log_artifact(str(run / "summary.json"))


TRACKERS = {"tensorboard": _tensorboard, "mlflow": _mlflow}
"""Name in `report_to` -> how it takes figures; others get training's loss alone."""


METRICS_OF_FILES = ("rouge", "chrf", "exact_match", "length")
"""What needs no model; those that need references are left out where there are none."""


def write_run(
    path: Path,
    answers: Mapping[str, Sequence[Completion]],
    votes: Sequence[Vote] = (),
    notes: Mapping[str, Any] | None = None,
) -> None:
    """Write a run folder, which the arena and the report open, of contestants whose answers are in files.

    Raises:
        DataError: the folder holds a run of a recipe, or answers that would be lost.
        BusyError: another process writes there.
    """
    folder = RunFolder(path)
    if folder.recipe.exists():
        raise DataError(f"{path}: the run of a recipe is here; name another folder with --out")
    with folder.locked():
        others = sorted(completion_files(path).keys() - answers.keys())
        if others:
            raise DataError(
                f"{path}: answers of {others[0]} are here, too; name their file as well, or another --out"
            )
        for name, rows in answers.items():
            examples = [Example(id=row.example_id, messages=row.messages) for row in rows]
            check_replaceable(folder.completions(name), examples)
        if not votes and folder.votes.is_file() and folder.summary.is_file():  # of judges who went before
            votes, notes = list(io.read(folder.votes, Vote)), io.read_json(folder.summary)["notes"]
        _write_run(folder, answers, votes, notes)


def _write_run(
    folder: RunFolder,
    answers: Mapping[str, Sequence[Completion]],
    votes: Sequence[Vote],
    notes: Mapping[str, Any] | None,
) -> None:
    from toolkit.metrics.registry import measure_texts  # imports evaluate

    measured = []
    for name, rows in answers.items():
        io.write(folder.completions(name), rows)
        found = measure_texts(rows, METRICS_OF_FILES)
        io.write(folder.measurements(name), found)
        measured += found
    summary = Summary(
        run=folder.path.resolve().name,
        contestants=tuple(answers),
        scores=tuple(score(each) for each in measured),
        differences=tuple(paired_differences(measured, list(answers))),
        ratings=Ratings(judge=bradley_terry(votes).ratings if votes else ()),
        stages=(),
        skipped=(),
        seconds=0.0,
        notes=dict(notes or {}),
    )
    _write_summary(folder, summary)
    write_report(folder.path)
