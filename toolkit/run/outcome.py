"""What came of a run, read from the files that its steps left: summary, ratings, report."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

from toolkit import records
from toolkit.benchmarks import scores_of
from toolkit.judge import disagreement, statistics, votes
from toolkit.metrics import Measurement, difference, score
from toolkit.metrics.compare import write_groups
from toolkit.metrics.intervals import clustered
from toolkit.ratings import bradley_terry, elo
from toolkit.recipe import Judge, Stage, fingerprint
from toolkit.report import write_report
from toolkit.report.export import write_scores
from toolkit.report.load import arena_votes
from toolkit.run import provenance
from toolkit.run.cache import Step, StepCache
from toolkit.run.execution import Execution
from toolkit.run.folder import RunFolder
from toolkit.run.steps import benchmarked, fights, verdicts
from toolkit.types import Completion, Difference, Ratings, Score, StageResult, Summary, Vote


def summarise(execution: Execution, cache: StepCache) -> Summary:
    """Every figure of a run whose steps are done."""
    recipe, folder = execution.recipe, execution.folder
    players = execution.players
    scores: list[Score] = []
    differences: list[Difference] = []
    notes: dict[str, Any] = {}
    if recipe.scoring:
        files = [folder.measurements(player.name) for player in players]
        found = [measured for file in files for measured in records.read(file, Measurement)]
        if execution.groups:
            found = [clustered(measured, execution.groups) for measured in found]
            notes["groups"] = recipe.scoring.groups
        scores = [score(measured) for measured in found]
        differences = _differences(found, [player.name for player in players])
        for player in benchmarked(execution, recipe.scoring):
            scores += scores_of(folder.benchmarks(player.name), player.name)
        refused = {player.name: sum(each.refused for each in execution.said(player)) for player in players}
        if any(refused.values()):
            notes["refused"] = {name: count for name, count in refused.items() if count}
        if recipe.judge:
            notes |= _judged(execution, recipe.judge)
    return Summary(
        run=folder.path.name,
        contestants=tuple(player.name for player in players),
        scores=tuple(scores),
        differences=tuple(differences),
        ratings=_rate(execution) if recipe.scoring else Ratings(),
        stages=trained(folder, recipe.stages),
        skipped=tuple(cache.skipped),
        seconds=round(cache.seconds, 1),
        notes=notes,
    )


def _judged(execution: Execution, asked: Judge) -> dict[str, Any]:
    """What the judges' verdicts say about them: each on its own, and of a jury how far it is of one mind."""
    fought, judges = fights(execution, asked), asked.members()
    heard = [verdict for judge in judges for verdict in verdicts(execution, judge, fought)]
    notes = {"judge": statistics(fought, heard, rule=asked.rule)}
    if len(judges) > 1:
        notes["jury"] = disagreement(votes(fought, heard, rule=asked.rule))
    return notes


def trained(folder: RunFolder, stages: Sequence[Stage]) -> tuple[StageResult, ...]:
    """What training some stages gave."""
    files = [folder.adapter(stage.name) / "stage.json" for stage in stages]
    return tuple(StageResult.model_validate(records.read_json(file, finite=False)) for file in files)


def finish(execution: Execution, cache: StepCache, summary: Summary, command: str) -> None:
    """Write the summary and the report, unless they are there and say the same."""
    folder = execution.folder
    data = execution.data | ({"examples": execution.questions} if execution.recipe.scoring else {})

    def work() -> None:
        records.write_json(folder.scores, [score.model_dump() for score in summary.scores])
        records.write_json(folder.summary, summary)
        records.write_json(folder.ratings, ratings)
        if execution.groups:
            write_groups(folder.groups, execution.groups)
        else:
            folder.groups.unlink(missing_ok=True)
        cache.record(
            command=command,
            seed=execution.recipe.seed,
            versions=provenance.versions(),
            hardware=provenance.hardware(),
            data=data,
        )
        for stage in execution.recipe.stages:
            card = folder.adapter(stage.name) / "README.md"
            if card.exists():
                write_scores(card, execution.recipe, stage.name, summary)
        write_report(folder.path)

    kept = [execution.groups] if execution.groups else []
    ratings = _ratings(execution, summary)
    figures = summary.model_dump(mode="json", exclude={"skipped", "seconds"})
    inputs = fingerprint(figures, ratings, *kept, cache.outputs)
    outputs = [folder.scores, folder.summary, folder.ratings]
    outputs += [folder.path / "report.html", folder.path / "report.md"]
    outputs += [folder.groups for _ in kept]
    cache.do(Step("report", lambda: inputs, work, tuple(outputs)))


def _differences(found: Sequence[Measurement], names: Sequence[str]) -> list[Difference]:
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
    return {player.name: execution.said(player) for player in execution.players if execution.recipe.scoring}


def _votes(execution: Execution) -> tuple[list[Vote], list[Vote]]:
    """The judge's votes and people's."""
    folder = execution.folder
    cast = list(records.read(folder.votes, Vote)) if folder.votes.exists() else []
    return [vote for vote in cast if vote.kind == "judge"], arena_votes(folder.arena, _answers(execution))


def _rate(execution: Execution) -> Ratings:
    """Ratings of the judge's votes and of people's, each on its own."""
    judged, people = _votes(execution)
    return Ratings(
        people=bradley_terry(people).ratings if people else (),
        judge=bradley_terry(judged).ratings if judged else (),
    )


def _ratings(execution: Execution, summary: Summary) -> dict[str, Any]:
    """What `ratings.json` holds."""
    judged, people = _votes(execution)
    online = {
        kind: [row.model_dump() for row in elo(some).ratings]
        for kind, some in (("people", people), ("judge", judged))
        if some
    }
    return {"bradley_terry": summary.ratings.model_dump(mode="json"), "elo": online}
