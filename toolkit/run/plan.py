"""A recipe's steps, each with what it needs and leaves: check, train, answer, measure, benchmark, judge."""

import logging
import shutil
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from toolkit import distributed, io
from toolkit.data import load_columns
from toolkit.errors import DataError, RecipeError
from toolkit.fingerprints import folder_hash
from toolkit.judge.aggregation import validate_vote_count
from toolkit.judge.battles import build_battles
from toolkit.judge.factory import judge_name, prompt_key
from toolkit.judge.pipeline import JudgeContext, load_judge_verdicts, run_judge, summarize_verdicts
from toolkit.metric_info import METRICS
from toolkit.metrics import Measurement
from toolkit.metrics.checks import metric_identity
from toolkit.metrics.measurement import pool_samples
from toolkit.recipe import Benchmark, Check, Judge, Recipe, Scoring, Stage, answered_data, fingerprint
from toolkit.run import shots
from toolkit.run.cache import Step, StepCache
from toolkit.run.folder import RunFolder
from toolkit.run.resolve import Execution, ResolvedContestant
from toolkit.types import Battle, Example

logger = logging.getLogger(__name__)

CHECK = ".check"  # hash of the other files of a folder, in it


def plan_steps(run: Execution, *, judges: int = 0) -> list[Step]:
    """Every step of a recipe, each behind those that it comes after.

    `judges`: how many local models can judge at the same time; each member of a jury gets a step, a local one
    as many steps as this. 0: judging is one step.
    """
    scoring = run.recipe.scoring
    drawn = [_shots(run, scoring, each) for each in run.contestants if scoring and each.spec.shots]
    early = [step for step in drawn if not step.depends_on]
    steps = [*([] if run.checked else [_check(run)]), *early, *training_steps(run, run.recipe.stages)]
    if scoring:
        steps += [step for step in drawn if step.depends_on]
        steps += [_answer(run, scoring, contestant) for contestant in run.contestants]
        steps += [_measure(run, scoring, contestant) for contestant in run.contestants]
        steps += [_benchmark(run, scoring, contestant) for contestant in benchmarked_contestants(run)]
        if run.recipe.judge:
            steps += _judging(run, run.recipe.judge, judges)
    return steps


def training_steps(run: Execution, stages: Sequence[Stage]) -> list[Step]:
    """Training some stages, in the recipe's order; none of them begins before all could."""

    @cache
    def refuse_all() -> None:
        from toolkit.train import dry_run

        dry_run.refuse(run.recipe, [stage for stage in stages if not stage.taken_from])

    return [_train(run, stage, refuse_all) for stage in stages]


def benchmarked_contestants(run: Execution) -> list[ResolvedContestant]:
    """Contestants with a model here and no prompt of their own: benchmarks bring their own prompts."""
    if not run.recipe.scoring or not run.recipe.scoring.benchmarks:
        return []
    return [each for each in run.contestants if each.model is not None and not each.spec.has_prompt]


def _check(run: Execution) -> Step:
    """Findings about recipe and data, kept for the report; errors stop the run, unless it goes on anyway."""

    def inputs() -> str:
        examples = (run.questions, run.groups) if run.recipe.scoring else None
        recipe = run.recipe.model_dump(mode="json", exclude={"name", "arena"})
        contents = (run.identity(), run.others(), run.data, examples, run.named_files)
        return fingerprint(recipe, *contents, run.anyway)

    def work() -> None:
        check_recipe(run.recipe, run.anyway, run.folder.checks)

    return Step("check", inputs, work, (run.folder.checks,))


def check_recipe(recipe: Recipe, anyway: bool, out: Path | None = None) -> None:
    """Check a recipe, log and write the findings; errors are a `RecipeError`, unless `anyway`."""
    from toolkit.run.checks import check

    found = check(recipe).findings
    if out:
        io.write_json(out, [finding.model_dump() for finding in found])
    errors = []
    for each in found:
        line = f"{each.place}: {each.message}; {each.fix}"
        if each.severity == "error":
            errors.append(line)
        if each.severity == "warning" or (each.severity == "error" and anyway):
            logger.warning("%s: %s", each.severity, line)
    if errors and not anyway:
        raise RecipeError("\n".join([*errors, "mend this, or go on with --anyway"]))


def _train(run: Execution, stage: Stage, refuse: Callable[[], None]) -> Step:
    def work() -> None:
        from toolkit.train import train_stage

        if stage.taken_from:
            _take(run, stage, Path(stage.taken_from))
            return
        refuse()
        run.release()  # training loads a copy of its own
        if run.recipe.processes > 1 and distributed.count() == 1:
            from toolkit.run.launch import train_in_processes

            train_in_processes(run.recipe, stage, run.folder)
        else:
            train_stage(run.recipe, stage, run.folder.path)

    def rename() -> None:
        from toolkit.train.publish import rename

        rename(run.folder.adapter(stage.name), run.recipe, stage)

    ours = [part.name for part in run.recipe.stages]
    return Step(
        name=f"train {stage.name}",
        inputs=lambda: run.trained_on(stage),
        work=work,
        outputs=(run.folder.adapter(stage.name),),
        temporary=(run.folder.checkpoints(stage.name),),
        depends_on=tuple(f"train {name}" for name in (stage.start, *stage.rewards) if name in ours),
        rename=rename,
        model=True,
    )


def _take(run: Execution, stage: Stage, source: Path) -> None:
    """Copy a stage that another run trained, if it is whole and stands on the same base."""
    from toolkit.train.publish import rename

    if not StepCache(RunFolder(source.parents[1])).intact(source):
        raise DataError(f"{source}: changed after it was written; run its recipe again")
    if distributed.is_main():
        with io.new_folder(run.folder.adapter(stage.name)) as new:
            shutil.copytree(source, new, dirs_exist_ok=True)
        rename(run.folder.adapter(stage.name), run.recipe, stage)
    distributed.wait()


def _answer(run: Execution, scoring: Scoring, contestant: ResolvedContestant) -> Step:
    out, generation = run.folder.completions(contestant.name), scoring.generation
    several = generation.samples > 1 and not contestant.spec.answers

    def inputs() -> str:
        engine = run.engine_name(contestant.model)
        other: list[Any] = [] if engine == "transformers" else [engine]  # all contestants on a base go to one
        other += [generation.samples] if several else []
        return fingerprint(run.contestant(contestant), run.questions, run.sampling(generation), *other)

    return Step(
        name=f"answer {contestant.name}",
        inputs=inputs,
        work=lambda: run.answer(contestant, generation),
        outputs=(out, run.folder.samples(contestant.name)) if several else (out,),
        depends_on=(f"shots {contestant.name}",) if contestant.spec.shots else _trained(contestant),
        model=contestant.model is not None,
    )


def _shots(run: Execution, scoring: Scoring, contestant: ResolvedContestant) -> Step:
    """Drawing a contestant's worked examples, before training where it is not trained."""
    out, generation = run.folder.shots(contestant.name), scoring.generation
    data, number = answered_data(run.recipe) or "", contestant.spec.shots
    metric, figure = scoring.tuning_metric

    def inputs() -> str:
        own = metric_identity(metric)
        rows = [each.model_dump(mode="json") for each in run.exchanges]
        who = run.answerer(contestant, contestant.spec.prompt)
        return fingerprint(number, rows, own, scoring.tokenizer, who, run.questions, run.sampling(generation))

    def measure(worked: shots.WorkedExamples, examples: list[Example]) -> list[Measurement]:
        from toolkit.metrics.registry import Encoding, measure_texts

        part = out.with_suffix("") / f"{worked.shots}.jsonl"
        found = run.generate(contestant, examples, generation, part, worked)
        columns = load_columns(run.recipe.data[data]) if isinstance(metric, Check) else {}
        metrics = dict.fromkeys((metric, "rouge"))
        return measure_texts(found, list(metrics), encoding=Encoding.of(scoring), rows=columns)

    def work() -> None:
        reader = None
        if contestant.model:
            from toolkit.models.loading import context_window  # imports torch

            loaded = run.ready(contestant)
            window = context_window(loaded.model.config) - generation.max_new_tokens
            reader = shots.Reader(loaded.tokenizer, window)
        choice = shots.Choice(contestant.name, contestant.spec, data, run.exchanges, run.examples, reader)
        io.write_json(out, choice.tuned(measure, figure) if number == "auto" else choice.fixed(number or 0))

    return Step(
        name=f"shots {contestant.name}",
        inputs=inputs,
        work=work,
        outputs=(out, out.with_suffix("")) if number == "auto" else (out,),
        depends_on=_trained(contestant),
        model=contestant.model is not None,
    )


def _measure(run: Execution, scoring: Scoring, contestant: ResolvedContestant) -> Step:
    out = run.folder.measurements(contestant.name)
    likely = "perplexity" in scoring.metrics and contestant.model is not None
    guarded = scoring.guard is not None and contestant.model is not None

    def inputs() -> str:
        completions = [each.model_dump(mode="json") for part in run.load_samples(contestant) for each in part]
        known = sorted(each for each in scoring.metrics if isinstance(each, str) and each in METRICS)
        parts: list[Any] = [completions, run.contestant(contestant) if likely or guarded else "", known]
        if guarded:
            parts += [[example.model_dump(mode="json") for example in run.guard]]
        if scoring.checks:
            parts += [[metric_identity(check) for check in scoring.checks], fingerprint(run.columns)]
        if scoring.tokenizer:
            parts += [scoring.tokenizer]
        if "bertscore" in scoring.metrics:
            parts += run.encoding(scoring)
        return fingerprint(*parts)

    def work() -> None:
        measured = pool_samples([run.measure(part) for part in run.load_samples(contestant)])
        if likely:
            measured += _likelihood(run, contestant, run.examples)
        for each in _likelihood(run, contestant, run.guard) if guarded else ():
            if each.metric == "bits_per_byte":
                measured.append(each.model_copy(update={"metric": f"guard_{each.metric}"}))
        io.write(out, measured)

    return Step(
        name=f"measure {contestant.name}",
        inputs=inputs,
        work=work,
        outputs=(out,),
        depends_on=(f"answer {contestant.name}",),
        model=likely or guarded or "bertscore" in scoring.metrics,
    )


def _likelihood(
    run: Execution, contestant: ResolvedContestant, examples: Sequence[Example]
) -> list[Measurement]:
    from toolkit.metrics.perplexity import measure_perplexity

    who: dict[str, Any] = {"contestant": contestant.name, "adapter": contestant.adapter_name}
    return measure_perplexity(run.ready(contestant), examples, prompt=run.prompt(contestant), **who)


def _benchmark(run: Execution, scoring: Scoring, contestant: ResolvedContestant) -> Step:
    """lm-eval's tasks on a contestant, each kept by what it depends on: a further task runs alone."""
    out, seed = run.folder.benchmarks(contestant.name), run.recipe.seed

    def keys() -> list[str]:
        from toolkit.benchmarks.task_files import task_content

        who = run.contestant(contestant)
        return [fingerprint(who, task_content(each), seed) for each in scoring.benchmarks]

    def measure(benchmark: Benchmark, part: Path) -> None:
        from toolkit.benchmarks.runner import run_benchmarks

        shutil.rmtree(part, ignore_errors=True)
        with io.new_folder(part) as new:
            who: dict[str, Any] = {"contestant": contestant.name, "adapter": contestant.adapter_name}
            run_benchmarks(run.ready(contestant), [benchmark], out=new / "result.json", seed=seed, **who)
            io.write_text(new / CHECK, folder_hash(new))

    def work() -> None:
        from toolkit.benchmarks.results import add_results

        out.unlink(missing_ok=True)
        shutil.rmtree(out.with_suffix(""), ignore_errors=True)
        for benchmark, key in zip(scoring.benchmarks, keys(), strict=True):
            part = run.folder.measured / key
            there = (part / CHECK).exists()
            if there and folder_hash(part) != (part / CHECK).read_text(encoding="utf-8"):
                logger.warning("%s: changed after it was written; the task is run again", part)
                there = False
            if not there:
                measure(benchmark, part)
            add_results(out, part / "result.json", run.measured_weights(contestant), contestant.name)

    return Step(
        name=f"benchmark {contestant.name}",
        inputs=lambda: fingerprint(keys()),
        work=work,
        outputs=(out, out.with_suffix("")),
        depends_on=_trained(contestant),
        model=True,
    )


def _judging(run: Execution, spec: Judge, slots: int) -> list[Step]:
    """Judging every pair: the last step turns verdicts into votes, and judges whatever no step before has."""
    recipe, judges, context = run.recipe, spec.members(), judge_context(run)
    answered = tuple(f"answer {contestant.name}" for contestant in run.contestants)

    @cache
    def battles() -> list[Battle]:
        return run_battles(run, spec)

    def inputs(*who: Judge) -> str:
        named = [(judge_name(one, recipe.options_of, base=recipe.base), prompt_key(one)) for one in who]
        settings = [(one.method, one.rule, one.max_new_tokens) for one in who]
        shown = [(each.id, each.example_id, each.model_a, each.model_b, each.category) for each in battles()]
        return fingerprint(settings, named, shown)

    def judge(one: Judge, part: int, of: int) -> None:
        if one.method == "reward":
            run.release()  # it brings a model of its own
        run_judge(one, battles(), context, share=(part, of))

    def count() -> None:
        try:
            for one in judges:
                judge(one, 0, 1)
        finally:
            verdicts = [verdict for one in judges for verdict in load_judge_verdicts(one, battles(), context)]
            io.write(run.folder.verdicts, verdicts)
        votes = summarize_verdicts(judges, battles(), verdicts, context).votes
        validate_vote_count(votes, verdicts)
        io.write(run.folder.votes, votes)

    shares = [(one, slots if one.endpoint is None else min(1, slots)) for one in judges]
    parts = [(one, part, of) for one, of in shares for part in range(of)]
    steps = [
        Step(
            name=f"judge part {number} of {len(parts)}",
            inputs=partial(inputs, one),
            work=partial(judge, one, part, of),
            depends_on=answered,
            model=one.endpoint is None,
        )
        for number, (one, part, of) in enumerate(parts if len(parts) > 1 else (), start=1)
    ]
    last = Step(
        name="judge",
        inputs=partial(inputs, *judges),
        work=count,
        outputs=(run.folder.votes, run.folder.verdicts),
        depends_on=tuple(step.name for step in steps) or answered,
        model=not steps and any(one.endpoint is None for one in judges),
    )
    return [*steps, last]


def judge_context(run: Execution) -> JudgeContext:
    """Where the recipe's judges write, and how their models are loaded."""
    recipe, folder = run.recipe, run.folder
    own: dict[str, Any] = {"base": recipe.base, "options_of": recipe.options_of, "seed": recipe.seed}
    return JudgeContext(out=folder.path, load=run.judging_model, store=folder.judgments, **own)


def run_battles(run: Execution, spec: Judge) -> list[Battle]:
    """The battles to judge, of the answers that are there."""
    answers = {contestant.name: run.load_completions(contestant) for contestant in run.contestants}
    return build_battles(answers, spec, run.recipe.seed)


def _trained(contestant: ResolvedContestant) -> tuple[str, ...]:
    return (f"train {contestant.spec.stage}",) if contestant.spec.stage else ()
