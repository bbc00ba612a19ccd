"""The command judge: let judge models vote on answers, of a run or in files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from toolkit.cli.options import ENDPOINT_OPTIONS, PATH, add_options, build_endpoint, refuse, take_fields
from toolkit.cli.output import print_json, print_result, print_table, print_text, show_progress, table
from toolkit.registry import JUDGE_METHODS

if TYPE_CHECKING:
    from toolkit.judge.pipeline import Estimate, JudgeContext, JudgingResult
    from toolkit.recipe import Judge, Recipe
    from toolkit.types import Completion, Score


JUDGING = ("models", "endpoint", "method", "prompt", "reference", "baseline", "limit", "budget", "questions")
"""Options that say how to judge."""


@click.command("judge")
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--judge", "models", multiple=True, metavar="MODEL", help="Model that judges; several: a jury.")
@add_options(*ENDPOINT_OPTIONS)
@click.option("--method", type=click.Choice(list(JUDGE_METHODS)), help="How verdicts are read.")
@click.option("--prompt", help="A packaged judge prompt, or a .yaml file of your own.")
@click.option("--reference", is_flag=True, default=None, help="Show the judge the reference answers.")
@click.option("--baseline", metavar="NAME", help="Compare the others with this contestant only.")
@click.option("--limit", type=click.IntRange(1), help="Examples per pair, or to grade.")
@click.option("--budget", type=click.IntRange(1), help="Maximum number of battles or grades in total.")
@click.option("--max-new-tokens", type=click.IntRange(1), help="Maximum tokens of a written reply.")
@click.option("--rule", type=click.Choice(["agreement", "average"]), help="How two orders make a vote.")
@click.option("--questions", type=PATH, help="Your prompts for the run, or the questions of answer files.")
@click.option("--out", type=PATH, help="Folder to write to; left out: the run's, or `judged`.")
@click.option("--estimate", is_flag=True, help="Print the cost, and send nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def judge_command(  # noqa: PLR0913, PLR0917 - one argument per option
    sources: tuple[Path, ...],
    models: tuple[str, ...],
    questions: Path | None,
    out: Path | None,
    price: tuple[float, float] | None,
    estimate: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Judge every pair of answers in both orders with a model; with --prompt single, grade each answer.

    SOURCES is a run folder (judges that its recipe does not name write to RUN/judges/NAME inside it), or
    files of answers: this package's completions, AlpacaEval outputs, MT-bench or
    Arena-Hard answers, rows of a prompt with its outputs, or plain rows of a prompt and an answer. Rows are
    matched by their id, else by identical prompts. Of files, --out becomes a folder that `serve` and `report`
    open. Judging continues where it stopped. Of files of AlpacaEval's annotations, which are judged already,
    the win rates are printed.

    \b
    Examples:
      adapter-arena judge results/demo
      adapter-arena judge results/demo --questions my_prompts.txt
      adapter-arena judge mine.jsonl theirs.jsonl --judge MODEL --out results/compared
      adapter-arena judge outputs.jsonl --judge smollm2-135m-instruct --budget 200
      adapter-arena judge outputs.jsonl --judge MODEL --endpoint http://127.0.0.1:8000/v1 --estimate
    """
    show_progress()
    from toolkit.judge import pipeline
    from toolkit.judge.readers import ANNOTATION, has_fields
    from toolkit.recipe import load
    from toolkit.run.cache import StepCache
    from toolkit.run.folder import locked_run
    from toolkit.run.summary import write_run

    if all(has_fields(source, ANNOTATION) for source in sources):
        refuse("annotations, which are judged already,", *JUDGING)
        _print_annotated(sources, as_json)
        return
    is_run = len(sources) == 1 and (sources[0] / "recipe.yaml").is_file()
    recipe = load(sources[0] / "recipe.yaml") if is_run else None
    judges = _judges(models, options | {"price": price}, recipe)
    single = pipeline.grades_single(judges[0])
    _refuse_ignored(judges, single)
    folder = out or _default_folder(sources, recipe, questions, judges)
    price = price or next((one.endpoint.price for one in judges if one.endpoint), None)
    with locked_run(folder) as run:
        answers = _answers(sources, recipe, questions, folder)
        context = _context(sources[0], recipe, folder)
        if estimate:
            _print_estimate(pipeline.estimate_costs(judges, answers, context), price, as_json)
        elif single:
            _print_grades(pipeline.run_graders(judges, answers, context), as_json)
        else:
            written = [(folder / name).resolve() for name in ("votes.jsonl", "verdicts.jsonl")]
            cache = StepCache(run) if run else None
            recorded = cache is not None and cache.intact(*written)
            result = pipeline.run_judges(judges, answers, context)
            if cache and recorded:
                cache.accept(*written)
            if recipe is None:
                write_run(folder, answers, result.votes, {"judge": result.statistics})
            _print_result(result, folder, price, as_json)


def _refuse_ignored(judges: list[Judge], single: bool) -> None:
    """Refuse options that would change nothing."""
    if single:
        refuse("a prompt that grades answers one by one", "baseline", "rule")
    replies = {JUDGE_METHODS[one.method].prompt for one in judges}
    if "written" not in replies:
        refuse("a judge that writes no reply", "max_new_tokens")
    if replies == {None}:
        refuse("a reward model", "prompt", "reference")


def _context(source: Path, recipe: Recipe | None, folder: Path) -> JudgeContext:
    """Where verdicts are kept, and how a local judge is loaded: as the run's recipe says."""
    from toolkit.judge.pipeline import JudgeContext
    from toolkit.models import load_base
    from toolkit.recipe import ModelOptions
    from toolkit.run.folder import RunFolder

    def options_of(name: str) -> ModelOptions:
        return recipe.options_of(name) if recipe else ModelOptions()

    return JudgeContext(
        out=folder,
        load=lambda name: load_base(name, options_of(name)),
        options_of=options_of,
        base=recipe.base if recipe else None,
        store=RunFolder(source.resolve()).judgments if recipe else None,
        seed=recipe.seed if recipe else 0,
    )


def _judges(models: tuple[str, ...], options: dict[str, Any], recipe: Recipe | None) -> list[Judge]:
    """The recipe's judge or jury, or those that are named instead, with the options put in."""
    from toolkit.errors import InputError
    from toolkit.recipe import Judge

    section = recipe.judge if recipe and recipe.judge else Judge()
    url = options.pop("endpoint")
    remote = url is not None or any(one.endpoint for one in section.members() if not models)
    fields = take_fields(options, remote=remote)
    changes = {name: value for name, value in options.items() if value is not None}
    if "baseline" in changes:
        changes["pairs"] = "baseline"
    if url is not None:
        if not models:
            raise InputError("--endpoint: name the model that judges there with --judge")
        changes = {"method": "written", "rule": "agreement", "jury": ()} | changes  # what a server can do
        servers = [build_endpoint(url, name, fields) for name in models]
        return [section.model_copy(update=changes | {"endpoint": server}) for server in servers]
    named = [section.model_copy(update={"model": name, "endpoint": None, "jury": ()}) for name in models]
    judges = [one.model_copy(update=changes) for one in named or section.members()]
    for place, one in enumerate(judges):
        if one.endpoint and fields:
            whole = one.endpoint.model_dump() | fields
            server = build_endpoint(whole.pop("url"), whole.pop("model"), whole)
            judges[place] = one.model_copy(update={"endpoint": server})
    return judges


def _default_folder(
    sources: tuple[Path, ...], recipe: Recipe | None, questions: Path | None, judges: list[Judge]
) -> Path:
    """The run's folder for the run's own judges; other judges and prompts get one inside it."""
    from toolkit.recipe import Judge

    if recipe is None:
        return Path("judged")
    if questions:
        return sources[0] / "questions" / questions.stem
    own = (recipe.judge or Judge()).members()
    if [_identity(one) for one in judges] == [_identity(one) for one in own]:
        return sources[0]
    names = [Path(one.endpoint.model if one.endpoint else one.model or recipe.base).name for one in judges]
    first, ours = judges[0], own[0]
    if first.method != ours.method and not first.endpoint:
        names.append(first.method)
    if first.prompt != ours.prompt:
        names.append(Path(first.prompt).stem)
    if first.reference != ours.reference:
        names.append("reference" if first.reference else "no-reference")
    if first.rule != ours.rule and first.rule == "average":
        names.append(first.rule)
    return sources[0] / "judges" / re.sub(r"[^\w.@-]+", "-", "-".join(names))[:100]


def _identity(judge: Judge) -> tuple[object, ...]:
    """What makes its votes another judge's."""
    who = judge.endpoint.model if judge.endpoint else judge.model
    return (who, judge.method, judge.prompt, judge.reference, judge.rule)


def _answers(
    sources: tuple[Path, ...], recipe: Recipe | None, questions: Path | None, out: Path
) -> dict[str, list[Completion]]:
    from toolkit.generate.importers import read_answer_files
    from toolkit.recipe import contestants
    from toolkit.run.folder import RunFolder
    from toolkit.run.resolve import answer_prompts

    if recipe is None:
        files: list[Path] = []
        for source in sources:
            folder = source / "completions" if (source / "completions").is_dir() else source
            files += sorted([*folder.glob("*.jsonl"), *folder.glob("*.json")]) or [source]
        return read_answer_files(files, questions=questions)
    if questions is None:
        files = [RunFolder(sources[0]).completions(name) for name in contestants(recipe)]
        return read_answer_files(file for file in files if file.exists())  # not those that left the recipe
    return answer_prompts(sources[0], questions, out / "completions")


def _print_annotated(sources: tuple[Path, ...], as_json: bool) -> None:
    from toolkit.judge.aggregation import win_rates
    from toolkit.judge.readers import read_preferences

    rates = win_rates(row for source in sources for row in read_preferences(source))
    if as_json:
        n = sum(row["win_rate"]["n"] for row in rates)
        print_json({"battles": n, "votes": n, "folder": "", "statistics": {}, "win_rates": rates})
    else:
        _print_win_rates(rates)


def _print_estimate(found: list[Estimate], price: tuple[float, float] | None, as_json: bool) -> None:
    from toolkit.models.rate_limit import cost

    if price:
        dollars = [cost(price, each.tokens_in, each.tokens_out) for each in found]
        found = [each.model_copy(update={"dollars": n}) for each, n in zip(found, dollars, strict=True)]
    header = ["judge", "battles", "identical", "known", "requests", "tokens in", "tokens out, at most"]
    rows = []
    for each in found:
        counts = (each.battles, each.identical, each.known, each.requests, each.tokens_in, each.tokens_out)
        row = [each.judge, *(f"{count:,}" for count in counts)]
        rows.append(row if each.dollars is None else [*row, f"{each.dollars:.2f}"])
    text = table([*header, *(["dollars, at most"] if price else [])], rows)
    print_result({"estimates": found}, text, as_json=as_json)


def _print_grades(found: dict[str, list[Score]], as_json: bool) -> None:
    rows = []
    for judge, scores in found.items():
        for score in scores:
            has_interval = score.low is not None and score.high is not None
            interval = f"{score.low:.2f} to {score.high:.2f}" if has_interval else ""
            rows.append([judge, score.contestant, f"{score.value:.2f}", interval, str(score.n)])
    text = table(["judge", "", "mean grade", "95% interval", "answers"], rows)
    print_result({"grades": found}, text, as_json=as_json)


def _print_result(
    result: JudgingResult, folder: Path, price: tuple[float, float] | None, as_json: bool
) -> None:
    from toolkit.models.rate_limit import cost

    if as_json:
        counts = {"battles": len(result.battles), "votes": len(result.votes), "folder": str(folder)}
        print_json(counts | {"statistics": result.statistics, "win_rates": result.win_rates})
        return
    _print_win_rates(result.win_rates)
    for judge, figures in result.statistics.items():
        print_text(
            f"{judge}: same verdict in both orders {_share(figures['consistency'])}, first answer wins "
            f"{_share(figures['first_position'])}, unreadable {_share(figures['unreadable'])}, "
            f"refused {_share(figures['refused'])}"
        )
        read, written = figures["tokens_in"], figures["tokens_out"]
        dollars = f", {cost(price, read, written):.2f} dollars" if price else ""
        print_text(f"{judge}: {read:,} tokens read and {written:,} written{dollars}")
    print_text(f"Votes: {folder / 'votes.jsonl'}")


def _print_win_rates(rates: list[dict[str, Any]]) -> None:
    from toolkit.judge.aggregation import is_separable

    rows = []
    for row in rates:
        controlled = row["length_controlled"]
        equal_length = _share(controlled) if is_separable(controlled) else "not separable"
        pair = f"{row['contestant']} over {row['against']}"
        rows.append([pair, _share(row["win_rate"]), equal_length, str(row["win_rate"]["n"])])
    print_table(["", "win rate", "at equal length", "votes"], rows)


def _share(share: dict[str, Any]) -> str:
    if share["value"] is None:
        return "-"
    return f"{share['value']:.0%} ({share['low']:.0%}..{share['high']:.0%})"
