"""`adapter-arena judge`: let judge models vote on answers, of a run or in files."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from toolkit.cli.endpoint_options import build_endpoint, endpoint_options, take_fields
from toolkit.cli.output import print_json, print_table, print_text, show_progress

if TYPE_CHECKING:
    from toolkit.judge.costs import Estimate
    from toolkit.judge.pipeline import JudgingResult
    from toolkit.recipe import Judge, ModelOptions, Recipe
    from toolkit.types import Completion, Score

PATH = click.Path(path_type=Path)


@click.command("judge")
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--judge", "models", multiple=True, metavar="MODEL", help="Who judges; several make a jury.")
@endpoint_options
@click.option("--method", type=click.Choice(["logits", "written", "reward"]), help="How verdicts are read.")
@click.option("--prompt", help="A packaged judge prompt, or a .yaml file of your own.")
@click.option("--reference", is_flag=True, default=None, help="Show the judge the reference answers.")
@click.option("--baseline", metavar="NAME", help="Compare the others with this contestant only.")
@click.option("--limit", type=click.IntRange(1), help="Examples per pair.")
@click.option("--budget", type=click.IntRange(1), help="Battles in all, spread over pairs and categories.")
@click.option("--max-new-tokens", type=click.IntRange(1), help="Length of a reply in words.")
@click.option("--rule", type=click.Choice(["agreement", "average"]), help="How two orders make a vote.")
@click.option("--questions", type=PATH, help="Your prompts for the run, or the questions of answer files.")
@click.option("--out", type=PATH, help="Folder to write to; left out: the run's, or `judged`.")
@click.option("--estimate", is_flag=True, help="Say what it would cost, and ask nobody.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def command(  # noqa: PLR0913, PLR0917 - one argument per option
    sources: tuple[Path, ...],
    models: tuple[str, ...],
    questions: Path | None,
    out: Path | None,
    price: tuple[float, float] | None,
    estimate: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Let a judge vote on every pair of answers, in both orders; with --prompt single, grade each answer.

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
    from toolkit.run.folder import locked_run

    if _annotated(sources):
        _print_annotated(sources, as_json)
        return
    recipe = _recipe_of(sources)
    judges = _judges(models, options | {"price": price}, recipe)
    folder = out or _default_folder(sources, recipe, questions, judges)
    price = price or next((one.endpoint.price for one in judges if one.endpoint), None)
    with locked_run(folder):
        _judge(sources, recipe, judges, folder, questions, price=price, estimate=estimate, as_json=as_json)


def _judge(  # noqa: PLR0913 - what the command has worked out
    sources: tuple[Path, ...],
    recipe: Recipe | None,
    judges: list[Judge],
    folder: Path,
    questions: Path | None,
    *,
    price: tuple[float, float] | None,
    estimate: bool,
    as_json: bool,
) -> None:
    """Judge, grade or estimate, and print the result."""
    from toolkit.judge import pipeline
    from toolkit.run.folder import RunFolder

    answers = _answers(sources, recipe, questions, folder)
    context = pipeline.JudgeContext(
        out=folder,
        load=partial(_load, recipe),
        options_of=partial(_options, recipe),
        base=recipe.base if recipe else None,
        store=RunFolder(sources[0].resolve()).judgments if recipe else None,
        seed=recipe.seed if recipe else 0,
    )
    if estimate:
        _print_estimate(pipeline.estimate_costs(judges, answers, context), price, as_json)
    elif pipeline.grades_single(judges[0]):
        _print_grades(pipeline.run_graders(judges, answers, context), as_json)
    else:
        result = pipeline.run_judges(judges, answers, context)
        if recipe is None:
            from toolkit.run.from_files import write_run

            write_run(folder, answers, result.votes, {"judge": result.statistics})
        _print_result(result, folder, price, as_json)


def _recipe_of(sources: tuple[Path, ...]) -> Recipe | None:
    """The recipe of the run, where the source is one."""
    from toolkit.recipe import load

    if len(sources) == 1 and (sources[0] / "recipe.yaml").is_file():
        return load(sources[0] / "recipe.yaml")
    return None


def _judges(models: tuple[str, ...], options: dict[str, Any], recipe: Recipe | None) -> list[Judge]:
    """The recipe's judge or jury, or those that are named instead, with the options put in."""
    from toolkit.errors import InputError
    from toolkit.recipe import Judge

    section = recipe.judge if recipe and recipe.judge else Judge()
    url = options.pop("endpoint")
    served = url is not None or any(one.endpoint for one in section.members() if not models)
    fields = take_fields(options, remote=served)
    set_options = {name: value for name, value in options.items() if value is not None}
    if "baseline" in set_options:
        set_options["pairs"] = "baseline"
    if url is None:
        named = [{"model": name, "endpoint": None, "jury": ()} for name in models]
        sitting = [section.model_copy(update=who) for who in named] or section.members()
        return [one.model_copy(update=set_options | _changed(one, fields)) for one in sitting]
    if not models:
        raise InputError("--endpoint: name the model that judges there with --judge")
    servers = [build_endpoint(url, name, fields) for name in models]
    writing = {"method": "written", "rule": "agreement"}  # what a server can do, unless told otherwise
    return [
        section.model_copy(update=writing | set_options | {"endpoint": one, "jury": ()}) for one in servers
    ]


def _changed(judge: Judge, fields: dict[str, Any]) -> dict[str, Any]:
    """The recipe's endpoint of a judge, with options put in."""
    if judge.endpoint is None or not fields:
        return {}
    whole = judge.endpoint.model_dump() | fields
    return {"endpoint": build_endpoint(whole.pop("url"), whole.pop("model"), whole)}


def _default_folder(
    sources: tuple[Path, ...], recipe: Recipe | None, questions: Path | None, judges: list[Judge]
) -> Path:
    """The run's folder for the run's own judges; other judges and prompts get one inside it."""
    if recipe is None:
        return Path("judged")
    if questions:
        return sources[0] / "questions" / questions.stem
    from toolkit.recipe import Judge

    own = (recipe.judge or Judge()).members()
    if [_identity(one) for one in judges] == [_identity(one) for one in own]:
        return sources[0]
    names = [Path(one.endpoint.model if one.endpoint else one.model or recipe.base).name for one in judges]
    prompts = [Path(judges[0].prompt).stem] if judges[0].prompt != own[0].prompt else []
    return sources[0] / "judges" / re.sub(r"[^\w.@-]+", "-", "-".join([*names, *prompts]))[:100]


def _identity(judge: Judge) -> tuple[object, ...]:
    """What makes its votes another judge's."""
    who = judge.endpoint.model if judge.endpoint else judge.model
    return (who, judge.method, judge.prompt, judge.reference, judge.rule)


def _answers(
    sources: tuple[Path, ...], recipe: Recipe | None, questions: Path | None, out: Path
) -> dict[str, list[Completion]]:
    """The answers to judge: of files, of the run, or of the run's contestants to new questions."""
    from toolkit.generate.importers import read_answer_files

    if recipe is None:
        files = [file for source in sources for file in ([source] if source.is_file() else _within(source))]
        return read_answer_files(files, questions=questions)
    if questions is None:
        from toolkit.recipe import contestants
        from toolkit.run.folder import RunFolder

        files = [RunFolder(sources[0]).completions(name) for name in contestants(recipe)]
        return read_answer_files(file for file in files if file.exists())  # not those that left the recipe
    from toolkit.run.resolve import answer_prompts

    return answer_prompts(sources[0], questions, out / "completions")


def _within(folder: Path) -> list[Path]:
    return sorted([*folder.glob("*.jsonl"), *folder.glob("*.json")])


def _load(recipe: Recipe | None, name: str) -> Any:
    """A local judge, loaded as the run's recipe says."""
    from toolkit.models import load_base

    return load_base(name, _options(recipe, name))


def _options(recipe: Recipe | None, name: str) -> ModelOptions:
    from toolkit.recipe import ModelOptions

    return recipe.options_of(name) if recipe else ModelOptions()


def _annotated(sources: tuple[Path, ...]) -> bool:
    from toolkit.judge.readers import ANNOTATION, has_fields

    return all(has_fields(source, ANNOTATION) for source in sources)


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
        found = [
            each.model_copy(update={"dollars": cost(price, each.tokens_in, each.tokens_out)})
            for each in found
        ]
    if as_json:
        print_json({"estimates": found})
        return
    header = ["judge", "battles", "identical", "known", "requests", "tokens in", "tokens out, at most"]
    rows = []
    for each in found:
        counts = (each.battles, each.identical, each.known, each.requests, each.tokens_in, each.tokens_out)
        dollars = [] if each.dollars is None else [f"{each.dollars:.2f}"]
        rows.append([each.judge, *(f"{count:,}" for count in counts), *dollars])
    print_table([*header, *(["dollars, at most"] if price else [])], rows)


def _print_grades(found: dict[str, list[Score]], as_json: bool) -> None:
    if as_json:
        print_json({"grades": found})
        return
    rows = [
        [judge, score.contestant, f"{score.value:.2f}", f"{score.low:.2f} to {score.high:.2f}", str(score.n)]
        if score.low is not None and score.high is not None
        else [judge, score.contestant, f"{score.value:.2f}", "", str(score.n)]
        for judge, scores in found.items()
        for score in scores
    ]
    print_table(["judge", "", "mean grade", "95% interval", "answers"], rows)


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

    rows = [
        [
            f"{row['contestant']} over {row['against']}",
            _share(row["win_rate"]),
            _share(row["length_controlled"]) if is_separable(row["length_controlled"]) else "not separable",
            str(row["win_rate"]["n"]),
        ]
        for row in rates
    ]
    print_table(["", "win rate", "at equal length", "votes"], rows)


def _share(share: dict[str, Any]) -> str:
    if share["value"] is None:
        return "-"
    return f"{share['value']:.0%} ({share['low']:.0%}..{share['high']:.0%})"
