"""A run folder, read into one frozen view for the report. Only the summary must be there."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce
from operator import getitem
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from toolkit import io
from toolkit.benchmarks.results import values_of
from toolkit.errors import DataError
from toolkit.judge.aggregation import mean_probability, pair_orders
from toolkit.metrics import Measurement
from toolkit.metrics.compare import load_groups
from toolkit.metrics.measurement import read_measurements
from toolkit.ratings import BradleyTerry, PredictionPowered, bradley_terry, prediction_powered
from toolkit.recipe import Recipe, arena_claims, read_yaml
from toolkit.types import Completion, Finding, Record, Summary, Verdict, Vote

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class RunView:
    """Contents of a run folder for the report; absent parts are empty."""

    folder: Path
    summary: Summary
    manifest: dict[str, Any] = field(default_factory=dict)
    recipe_text: str = ""
    """The resolved recipe's YAML."""
    recipe: Recipe | None = None
    """The same, read; `None` when it is absent or of another version."""
    completions: dict[str, list[Completion]] = field(default_factory=dict)
    measurements: dict[str, list[Measurement]] = field(default_factory=dict)
    """Contestant -> its metrics, example by example."""
    groups: dict[str, str] = field(default_factory=dict)
    """Example -> the group it is in, where intervals are over groups."""
    judge_votes: list[Vote] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    """Judge verdicts, for the reasons behind votes."""
    people: list[Vote] = field(default_factory=list)
    simulated: list[Vote] = field(default_factory=list)
    """Votes of simulated voters, rated apart."""
    curves: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Stage -> the rows of its training log."""
    lineages: dict[str, dict[str, Any]] = field(default_factory=dict)
    benchmarks: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Contestant -> lm-eval's own results."""
    questions: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    """Contestant -> benchmark metric -> question -> value, from lm-eval's sample logs."""
    findings: list[Finding] = field(default_factory=list)
    """What `check` found, where it was run."""
    same_test_set: tuple[str, ...] = ()
    """Other runs in the results folder that were scored on the same examples."""

    @cached_property
    def people_fit(self) -> BradleyTerry | None:
        """The ratings of the votes there are now: people go on voting when the run is over."""
        if not self.people:
            return None
        fit = bradley_terry(self.people)
        claims = arena_claims(self.recipe) if self.recipe else None
        return fit.for_open_arena(self.people, claims) if self.has_arena else fit

    @cached_property
    def judge_fit(self) -> BradleyTerry | None:
        """The ratings of the judge's votes, a closed set."""
        return bradley_terry(self.judge_votes) if self.judge_votes else None

    @cached_property
    def both_fit(self) -> PredictionPowered | None:
        """People and judge together; `None` where they share too few examples."""
        if self.people_fit is None or not self.judge_votes:
            return None
        found = prediction_powered(self.people, self.judge_votes)
        return found.ranked_by(self.people_fit.decisions) if found else None

    @property
    def has_arena(self) -> bool:
        """Whether people's votes come from the run's own arena."""
        return (self.folder / "arena.db").exists()

    @property
    def less_is_better(self) -> frozenset[str]:
        """Metrics that the recipe, or lm-eval (`task/metric`), declares lower-is-better."""
        own = {found.metric for each in self.measurements.values() for found in each if found.lower_is_better}
        return frozenset(own).union(
            f"{task}/{metric}"
            for result in self.benchmarks.values()
            for task, metrics in result.get("higher_is_better", {}).items()
            for metric, more in metrics.items()
            if more is False
        )


def load_run(folder: Path) -> RunView:
    """Read everything the report needs; raises `DataError` where there is no summary, or a file is broken."""
    file = folder / "summary.json"
    if not file.exists():
        raise DataError(f"{folder}: no summary.json here; run the recipe first (adapter-arena run ...)")
    summary = _valid(Summary, _json(file, {}), file)
    names, stages = summary.contestants, [stage.name for stage in summary.stages]
    votes = _records(folder / "votes.jsonl", Vote)
    verdicts = _records(folder / "verdicts.jsonl", Verdict)
    answers = {name: _records(folder / "completions" / f"{name}.jsonl", Completion) for name in names}
    text, completions = _text(folder / "recipe.yaml"), {name: rows for name, rows in answers.items() if rows}
    recipe, people = _recipe(text), [vote for vote in votes if vote.kind == "person"]
    benchmarks = {name: _json(folder / "benchmarks" / f"{name}.json", {}) for name in names}
    questions = {name: values_of(folder / "benchmarks" / name) for name in names}
    manifest = _json(folder / "manifest.json", {})
    logs = {stage: folder / "adapters" / stage / "training.jsonl" for stage in stages}
    return RunView(
        folder=folder,
        summary=summary,
        manifest=manifest,
        recipe_text=text,
        recipe=recipe,
        completions=completions,
        measurements={
            name: read_measurements(folder, name, recipe.seeds if recipe else 1)
            for name in names
            if (folder / "measurements" / f"{name}.jsonl").exists()
        },
        groups=load_groups([folder]),
        judge_votes=with_probabilities([vote for vote in votes if vote.kind == "judge"], verdicts),
        verdicts=verdicts,
        people=people + arena_votes(folder / "arena.db", completions),
        simulated=[vote for vote in votes if vote.kind == "simulated"]
        + arena_votes(folder / "arena.db", completions, simulated=True),
        curves={
            stage: [json.loads(line) for _, line in io.read_lines(log)] if log.exists() else []
            for stage, log in logs.items()
        },
        lineages={stage: _json(folder / "adapters" / stage / "lineage.json", {}) for stage in stages},
        benchmarks={name: found for name, found in benchmarks.items() if found},
        questions={name: found for name, found in questions.items() if found},
        same_test_set=runs_on(folder, manifest.get("data", {}).get(TEST_SET)),
        findings=[_valid(Finding, row, folder / "checks.json") for row in _json(folder / "checks.json", [])],
    )


TEST_SET = "test set"
"""Key of the manifest's `data`: fingerprint of the examples, whatever their order."""


def runs_on(folder: Path, test_set: str | None) -> tuple[str, ...]:
    """The other finished runs beside a run's folder that were scored on the test set of this fingerprint."""
    found = []
    for file in sorted(folder.resolve().parent.glob("*/manifest.json")) if test_set else ():
        if file.parent == folder.resolve() or not (file.parent / "summary.json").exists():
            continue
        try:
            data = io.read_json(file, kind=dict).get("data")
        except DataError:  # says nothing of this run
            continue
        if isinstance(data, dict) and data.get(TEST_SET) == test_set:
            found.append(file.parent.name)
    return tuple(found)


def with_probabilities(votes: list[Vote], verdicts: Sequence[Verdict]) -> list[Vote]:
    """Votes with their judge's mean probability, which earlier versions kept in verdicts alone."""
    known = {
        (battle, judge): mean
        for (battle, judge, _), orders in pair_orders(verdicts).items()
        if (mean := mean_probability(*orders)) is not None
    }
    return [
        vote.model_copy(update={"probability_a": known.get((vote.battle_id, vote.voter), vote.probability_a)})
        for vote in votes
    ]


def arena_votes(
    database: Path, completions: Mapping[str, Sequence[Completion]], *, simulated: bool = False
) -> list[Vote]:
    """People's votes in the run's own arena on its current answers; or simulated voters'."""
    if not database.exists():
        return []
    from toolkit.arena import accepted_votes

    answers: dict[str, dict[str, str]] = {}
    for name, rows in completions.items():
        for row in rows:
            answers.setdefault(row.example_id, {})[name] = row.completion
    return accepted_votes(f"sqlite:///{database.resolve()}", answers=answers, simulated=simulated)


def _recipe(text: str) -> Recipe | None:
    """The recipe, without keys that this version does not know: a run may be older or newer than it."""
    try:
        raw = read_yaml(text)
        return Recipe.model_validate(raw)
    except yaml.YAMLError:
        return None
    except ValidationError as error:
        for problem in error.errors():
            if problem["type"] == "extra_forbidden":
                *parents, last = problem["loc"]
                del reduce(getitem, parents, raw)[last]
    try:
        return Recipe.model_validate(raw)
    except ValidationError:
        return None


def _valid(kind: type[R], value: Any, file: Path) -> R:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise DataError(f"{file}: {io.first_problem(error, kind.__name__)}") from None


def _records(path: Path, kind: type[R]) -> list[R]:
    return list(io.read(path, kind)) if path.exists() else []


def _json(path: Path, otherwise: Any) -> Any:
    return io.read_json(path, finite=False, kind=type(otherwise)) if path.exists() else otherwise


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8") if path.exists() else ""
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from None
