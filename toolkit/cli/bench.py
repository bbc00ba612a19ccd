"""`adapter-arena bench`: lm-eval's tasks on a model."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from toolkit.cli.model_options import PATH, model_options, open_model, options_of_run
from toolkit.cli.output import print_json, show_progress
from toolkit.cli.scores import print_scores


@click.command("bench")
@click.argument("model")
@click.argument("task")
@click.option(
    "--file",
    "files",
    multiple=True,
    metavar="SPLIT=FILE",
    help="Rows of a split, with the hub set's columns; left out, the hub is asked.",
)
@click.option("--num-fewshot", type=click.IntRange(0), help="Left out, as the task says.")
@click.option("--limit", type=click.IntRange(1), help="Ask the first questions only (of each subtask).")
@click.option("--chat-template", is_flag=True, help="Wrap the prompts in the model's chat template.")
@click.option(
    "--allow-code-execution",
    is_flag=True,
    help="Run the code the model writes, in a sandbox; before Linux 5.13 it can read your files.",
)
@click.option(
    "--out", type=PATH, help="lm-eval result file, added to if it is there; left out: benchmarks/<name>.json."
)
@click.option("--seed", default=0, show_default=True, help="Of few-shot examples and sampling.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@model_options
def command(  # noqa: PLR0913, PLR0917 - one argument per option
    model: str,
    task: str,
    files: tuple[str, ...],
    num_fewshot: int | None,
    limit: int | None,
    chat_template: bool,
    allow_code_execution: bool,
    out: Path | None,
    seed: int,
    as_json: bool,
    **options: Any,
) -> None:
    """Run an lm-eval TASK (or group) on MODEL; results and every answer are kept in lm-eval's own format.

    \b
    Examples:
      adapter-arena bench smollm2-135m-instruct tickets_choice --file test=package:tickets/choice.jsonl
      adapter-arena bench MODEL gsm8k --file train=train.jsonl --file test=test.jsonl --limit 50
    """
    show_progress()
    from toolkit.benchmarks import run_benchmarks
    from toolkit.benchmarks.results import add_results, check_addable
    from toolkit.errors import DataError
    from toolkit.models.bases import content_fingerprint
    from toolkit.recipe import Benchmark
    from toolkit.run.cache import StepCache
    from toolkit.run.folder import locked_run

    benchmark = Benchmark(
        task=task,
        files=dict(_split(file) for file in files),
        num_fewshot=num_fewshot,
        limit=limit,
        chat_template=chat_template,
        allow_code_execution=allow_code_execution,
    )
    chosen = open_model(model, **(options_of_run(out, options) if out else options))
    folder = options["adapter"]
    weights = chosen.loaded.fingerprint + (content_fingerprint(folder) if folder else "")
    out = out or Path("benchmarks") / f"{chosen.name}.json"
    with locked_run(out) as run:
        recorded = StepCache(run) if run and StepCache(run).intact(out, out.with_suffix("")) else None
        check_addable(out, chosen.name, weights, task, limit)
        with TemporaryDirectory() as folder:
            new = Path(folder) / "new.json"
            who: dict[str, Any] = {"contestant": chosen.name, "adapter": chosen.adapter}
            scores = run_benchmarks(chosen.loaded, [benchmark], out=new, seed=seed, **who)
            replaced = add_results(out, new, weights, chosen.name)
        if recorded and not replaced:
            recorded.accept(out, out.with_suffix(""))
    if not scores:
        raise DataError(f"benchmark {task}: no figure came of it; does it ask anything?")
    if as_json:
        print_json({"scores": scores})
    else:
        print_scores(scores)


def _split(file: str) -> tuple[str, str]:
    split, equals, path = file.partition("=")
    if not equals:
        raise click.BadParameter(f"{file}: write it as SPLIT=FILE", param_hint="--file")
    return split, path
