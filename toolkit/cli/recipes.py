"""Commands that write, check or carry out a recipe: init, check, train, run; and doctor."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from toolkit.cli.options import PATH, choice, load_recipe, results_folder, set_keys
from toolkit.cli.output import print_json, print_result, print_text, show_progress, table
from toolkit.printable import printable

if TYPE_CHECKING:
    from toolkit.run.checks.template import Shown

SEVERITY_COLOURS = {"error": "red", "warning": "yellow", "info": "blue"}
STATE_COLOURS = {"ok": "green", "note": "yellow", "missing": "red"}


@click.command("run")
@click.argument("recipe")
@results_folder
@set_keys
@choice("--on", "here", "ray", help="ray: steps side by side, at RAY_ADDRESS or on this machine's GPUs.")
@click.option("--anyway", is_flag=True, help="Continue even if the check reports errors.")
@click.option("--json", "as_json", is_flag=True, help="Print summary.json instead of where things are.")
def run_command(
    recipe: str, out: Path, changes: tuple[str, ...], on: Literal["here", "ray"], anyway: bool, as_json: bool
) -> None:
    """Do everything in RECIPE, a file or a packaged name: train, answer, score, judge, rate, report.

    Run it again after an interruption, or after changing the recipe: what is done and unchanged is skipped.

    \b
    Example:
      adapter-arena run demo
    """
    show_progress()
    from toolkit.run import run

    summary = run(load_recipe(recipe, changes), out, on=on, anyway=anyway)
    folder = out / summary.run
    if not as_json and not summary.executed:
        print_text(f"Nothing to do: all {len(summary.skipped)} steps were done and nothing has changed.")
    text = f"Report:  {folder / 'report.html'}\nArena:   adapter-arena serve {folder}"
    print_result(summary, text, as_json=as_json)


@click.command("train")
@click.argument("recipe")
@click.argument("stages", nargs=-1)
@results_folder
@set_keys
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def train_command(
    recipe: str, stages: tuple[str, ...], out: Path, changes: tuple[str, ...], *, as_json: bool
) -> None:
    """Train the STAGES of RECIPE, with the stages they stand on; all of them when none is named.

    `adapter-arena run` of the same recipe takes them up from where this stopped.

    \b
    Example:
      adapter-arena train demo sft
      accelerate launch --num_processes 2 -m toolkit.cli train demo     # on two GPUs
    """
    show_progress()
    from toolkit import distributed
    from toolkit.run import train

    results = train(load_recipe(recipe, changes), out, stages)
    if not distributed.is_main():
        return
    rows = []
    for each in results:
        heldout = f"{each.heldout['loss']:.4f}" if "loss" in each.heldout else ""
        rows.append([each.name, each.method, f"{each.train_loss:.4f}", heldout, f"{each.seconds:.0f}"])
    text = table(["stage", "method", "train loss", "held-out loss", "seconds"], rows)
    print_result({"stages": results}, text, as_json=as_json)


@click.command("check")
@click.argument("recipe")
@set_keys
@click.option("--strict", is_flag=True, help="Treat warnings as errors.")
@click.option(
    "--show", type=click.IntRange(1), metavar="N", help="Print N rows a stage as the model sees them."
)
@click.option("--gpu", help="GPU to train on: a100, 4090 ..., or a size like 24GB; left out, the one here.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.pass_context
def check_command(  # noqa: PLR0913 - one argument per option
    ctx: click.Context,
    recipe: str,
    changes: tuple[str, ...],
    *,
    strict: bool,
    show: int | None,
    gpu: str | None,
    as_json: bool,
) -> None:
    """Check RECIPE, a file or a packaged name: keys, rows, fields, template, lengths, overlaps, memory.

    Downloads nothing: what is on the hub and not in its local cache is reported as not checked. Exit code 2
    when there is an error (with --strict: or a warning).

    \b
    Example:
      adapter-arena check chapter --gpu t4
    """
    show_progress()
    os.environ["HF_HUB_OFFLINE"] = "1"  # look at what is here; download nothing
    from toolkit.errors import RecipeError
    from toolkit.recipe import with_fewshot_baseline
    from toolkit.run import checks

    try:
        loaded = with_fewshot_baseline(load_recipe(recipe, changes))
    except RecipeError as error:
        report, about = checks.Report(checks.parses(error), []), recipe
    else:
        report, about = checks.check(loaded, gpu=gpu, examples=show or 0), checks.describe(loaded)
    severities = [finding.severity for finding in report.findings]
    if as_json:
        print_json({"findings": report.findings})
    else:
        print_text(about)
        for row in report.shown:
            _print_row(row)
        for finding in report.findings:
            click.secho(f"{finding.severity:<7}", fg=SEVERITY_COLOURS[finding.severity], nl=False)
            print_text(f" {finding.place}: {finding.message}; {finding.fix}")
        counts = [(severities.count(name), name) for name in ("error", "warning")]
        total = " and ".join(f"{n} {name}{'s' if n != 1 else ''}" for n, name in counts if n)
        print_text(total or "nothing wrong found")
    bad = {"error", "warning"} if strict else {"error"}
    ctx.exit(2 if bad & set(severities) else 0)


def _print_row(row: Shown) -> None:
    """What is learned in colour, everything else dimmed; without colours, between ⟦ and ⟧."""
    cut = f", {row.cut} cut off" if row.cut else ""
    click.secho(printable(f"\n{row.title} ({row.tokens} tokens{cut})"), bold=True)
    for text, learned in row.parts:
        if sys.stdout.isatty():
            click.secho(printable(text), nl=False, fg="green" if learned else None, dim=not learned)
        else:
            print_text(f"⟦{text}⟧" if learned else text, nl=False)
    print_text("\n")


BASE = "Base model (hub id, folder, GGUF file or packaged name)"
DATA = "Training data (a file, or a hub data set; empty: nothing is trained)"
EXAMPLES = "Test examples to score on (a file; empty: none)"


@click.command("init")
@click.argument("file", type=PATH, default=Path("recipe.yaml"))
@click.option("--base", help=BASE)
@click.option("--data", help=DATA)
@click.option("--pairs", help="Preference pairs, prompt/chosen/rejected (empty: none)")
@click.option("--examples", "--heldout", help=EXAMPLES)
@click.option("--adapter", "adapters", multiple=True, help="Adapter folder to compare; may be repeated.")
@click.option("--answers", multiple=True, help="File of answers made elsewhere, to compare; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; the questions go to stderr.")
@click.pass_context
def init_command(ctx: click.Context, /, file: Path, as_json: bool, **sources: Any) -> None:
    """Write a recipe to FILE from what there is, and check it.

    Questions are asked where nothing to train on or to compare is named. Columns are recognised, and
    renamed in the recipe; the measure that decides and the slices are chosen by looking at the examples.

    \b
    Example:
      adapter-arena init mine.yaml
      adapter-arena init mine.yaml --data train.jsonl --pairs pairs.jsonl --examples test.jsonl
      adapter-arena init mine.yaml --adapter ./a --adapter ./b --examples test.jsonl
    """
    from toolkit import io
    from toolkit import recipe as recipes
    from toolkit.errors import DataError
    from toolkit.run.draft import Ingredients, draft_recipe

    if file.exists():
        raise DataError(f"{file}: is there already; name another file")
    if sources["data"] is None and not sources["adapters"] and not sources["answers"]:
        sources["base"] = sources["base"] or click.prompt(BASE, default="smollm2-135m-instruct", err=True)
        sources["data"] = click.prompt(DATA, default="", show_default=False, err=True)
        if sources["examples"] is None:
            sources["examples"] = click.prompt(EXAMPLES, default="", show_default=False, err=True)
    text, method = draft_recipe(file, Ingredients(**sources))
    recipes.parse(recipes.read_yaml(text), file)
    io.write_text(file, text)
    about = f"{file}: written. Its check (again: adapter-arena check {file}):\n"
    print_result({"file": str(file), "method": method or ""}, about, as_json=as_json)
    if not as_json:
        with suppress(click.exceptions.Exit):  # the recipe is written, whatever is found
            ctx.invoke(check_command, recipe=str(file))


@click.command("doctor")
@click.option("--out", type=PATH, default=Path(), help="Where runs would be written.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def doctor_command(ctx: click.Context, out: Path, *, as_json: bool) -> None:
    """Show hardware, packages and models: what will be used and why, what is missing and how to get it.

    Uses no network. Exit code 1 when something that is needed is missing.

    \b
    Example:
      adapter-arena doctor
    """
    show_progress()
    from toolkit.run.doctor import examine

    lines = examine(out)
    if as_json:
        print_json({"lines": lines})
    else:
        width = max(len(line.what) for line in lines)
        for line in lines:
            click.secho(f"{line.state:<8}", fg=STATE_COLOURS[line.state], nl=False)
            print_text(f"{line.what:<{width}}  {line.found}{'; ' + line.fix if line.fix else ''}")
    ctx.exit(1 if any(line.state == "missing" for line in lines) else 0)
