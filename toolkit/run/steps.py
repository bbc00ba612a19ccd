"""A recipe's steps, in order: check, train, answer, measure, benchmark, judge, rate."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from toolkit import records
from toolkit.judge import battles, judge_battles, open_judge, prompt_key, recorded, statistics, votes
from toolkit.metrics import Measurement, difference, score
from toolkit.ratings import bradley_terry, elo
from toolkit.recipe import Judge, Scoring, Stage, fingerprint
from toolkit.run.execution import Execution, Player
from toolkit.run.folder import RunFolder
from toolkit.types import Completion, Difference, Ratings, Score, StageResult, Verdict, Vote

logger = logging.getLogger(__name__)


def check(run: Execution) -> None:
    """Keep what a check finds for the report, and say aloud what is wrong; nothing is stopped by it."""

    def work() -> None:
        from toolkit.run.checking import check

        found = check(run.recipe).findings
        for finding in found:
            if finding.severity != "info":
                logger.warning(
                    "%s: %s: %s; %s", finding.severity, finding.place, finding.message, finding.fix
                )
        records.write_json(run.folder.checks, [finding.model_dump() for finding in found])

    asked = run.questions if run.recipe.scoring else None
    inputs = fingerprint(run.recipe.model_dump(mode="json", exclude={"name", "arena"}), run.data, asked)
    run.ledger.step("check", inputs, [run.folder.checks], work)


def train(run: Execution, stages: Sequence[Stage]) -> tuple[StageResult, ...]:
    """Train those of some stages, in the recipe's order, that are not trained yet."""
    results = []
    for stage in stages:

        def work(stage: Any = stage) -> None:
            from toolkit.train import train_stage

            run.release()  # training loads a copy of its own
            train_stage(run.recipe, stage, run.folder.path)

        published = run.folder.adapter(stage.name)
        aside = [run.folder.checkpoints(stage.name)]
        run.ledger.step(f"train {stage.name}", run.stage(stage), [published], work, aside=aside)
        results.append(StageResult.model_validate(records.read_json(published / "stage.json")))
    return tuple(results)


def answer(run: Execution, scoring: Scoring) -> dict[str, list[Completion]]:
    """Ask every contestant every example."""
    answers = {}
    for player in run.players:
        out = run.folder.completions(player.name)

        def work(player: Player = player, out: Path = out) -> None:
            from toolkit.generate import answer

            answer(
                player.spec.endpoint or run.ready(player),
                run.examples,
                contestant=player.name,
                adapter=player.name if player.adapter else None,
                prompt=player.spec.prompt,
                options=scoring.generation,
                seed=run.recipe.seed,
                out=out,
            )

        run.ledger.step(
            f"answer {player.name}",
            fingerprint(player.inputs, run.questions, scoring.generation),
            [out],
            work,
        )
        answers[player.name] = list(records.read(out, Completion))
    return answers


def measure(run: Execution, scoring: Scoring, answers: dict[str, list[Completion]]) -> list[Measurement]:
    """Every metric of every contestant, example by example."""
    found: list[Measurement] = []
    for player in run.players:
        out = run.folder.measurements(player.name)

        def work(player: Player = player, out: Path = out) -> None:
            from toolkit.metrics.measuring import measure_texts
            from toolkit.metrics.perplexity import measure_perplexity

            texts = [name for name in scoring.metrics if name != "perplexity"]
            measured = measure_texts(answers[player.name], texts, encoder=scoring.bertscore_model)
            if "perplexity" in scoring.metrics and player.model is not None:
                measured += measure_perplexity(
                    run.ready(player),
                    run.examples,
                    contestant=player.name,
                    adapter=player.name if player.adapter else None,
                    prompt=player.spec.prompt,
                )
            records.write(out, measured)

        said = [completion.model_dump(mode="json") for completion in answers[player.name]]
        inputs = fingerprint(
            player.inputs, run.questions, said, list(scoring.metrics), scoring.bertscore_model
        )
        run.ledger.step(f"measure {player.name}", inputs, [out], work)
        found += records.read(out, Measurement)
    return found


def benchmark(run: Execution, scoring: Scoring) -> list[Score]:
    """lm-eval's tasks on every contestant that is a model here."""
    scores: list[Score] = []
    for player in run.players:
        if player.model is None or player.spec.prompt or not scoring.benchmarks:
            continue  # benchmarks bring prompts of their own, so a contestant's prompt plays no part
        out = run.folder.benchmarks(player.name)

        def work(player: Player = player, out: Path = out) -> None:
            from toolkit.benchmarks import run_benchmarks

            run_benchmarks(
                run.ready(player),
                scoring.benchmarks,
                contestant=player.name,
                adapter=player.name if player.adapter else None,
                out=out,
                seed=run.recipe.seed,
            )

        from toolkit.benchmarks import scores_of

        run.ledger.step(
            f"benchmark {player.name}", fingerprint(player.inputs, *scoring.benchmarks), [out], work
        )
        scores += scores_of(out, player.name)
    return scores


def summarise(found: list[Measurement], names: list[str]) -> tuple[list[Score], list[Difference]]:
    """Scores with intervals, and each contestant against every one named before it."""
    scores = [score(measurement) for measurement in found]
    by_metric: dict[str, dict[str, Measurement]] = {}
    for measurement in found:
        by_metric.setdefault(measurement.metric, {})[measurement.contestant] = measurement
    differences = [
        difference(by_name[later], by_name[earlier])
        for earlier, later in combinations(names, 2)
        for by_name in by_metric.values()
        if earlier in by_name and later in by_name
    ]
    return scores, [found for found in differences if found is not None]


def judge(run: Execution, asked: Judge, answers: dict[str, list[Completion]]) -> dict[str, Any]:
    """Let the judge vote on every pair; gives its statistics."""
    categories = {example.id: example.category for example in run.examples if example.category}
    fought = battles(answers, asked, run.recipe.seed, categories=categories)
    verdicts: list[Verdict] = []

    def work() -> None:
        judge_model = open_judge(asked, run.model, base=run.recipe.base)
        verdicts.extend(judge_battles(judge_model, fought, out=run.folder.verdicts))
        records.write(run.folder.votes, votes(fought, verdicts, rule=asked.rule))

    said = fingerprint([battle.id for battle in fought], prompt_key(asked))
    run.ledger.step("judge", fingerprint(asked, said, run.base), [run.folder.votes], work)
    heard = verdicts or _verdicts_behind(run.folder, prompt_key(asked))
    return statistics(fought, heard, rule=asked.rule)


def _verdicts_behind(folder: RunFolder, prompt: str) -> list[Verdict]:
    """The verdicts that the run's votes were made of; the log may hold more, of other judges and prompts."""
    voters = {vote.voter for vote in records.read(folder.votes, Vote)}
    said = recorded(folder.verdicts).values()
    return [verdict for verdict in said if verdict.judge in voters and verdict.prompt == prompt]


def rate(run: Execution) -> Ratings:
    """Ratings of the judge's votes and of people's, each on its own."""
    file = run.folder.votes
    cast = list(records.read(file, Vote)) if file.exists() else []
    judged = [vote for vote in cast if vote.kind == "judge"]
    people = people_votes(run.folder.arena)
    ratings = Ratings(
        people=bradley_terry(people).ratings if people else (),
        judge=bradley_terry(judged).ratings if judged else (),
    )
    online = {
        kind: [row.model_dump() for row in elo(some).ratings]
        for kind, some in (("people", people), ("judge", judged))
        if some
    }
    records.write_json(run.folder.ratings, {"bradley_terry": ratings.model_dump(mode="json"), "elo": online})
    return ratings


def people_votes(database: Path) -> list[Vote]:
    """The votes cast in the run's own arena, if one was opened."""
    if not database.exists():
        return []
    from toolkit.arena import accepted_votes

    return accepted_votes(f"sqlite:///{database}")
