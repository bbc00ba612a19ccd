"""`adapter-arena check`: what is wrong with a recipe and its data, before anything is trained."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from toolkit.cli.output import print_json, print_text, show_progress
from toolkit.cli.recipe_options import overrides, set_keys
from toolkit.printable import printable

if TYPE_CHECKING:
    from toolkit.run.checks import Report, Shown

COLOURS = {"error": "red", "warning": "yellow", "info": "blue"}


@click.command("check")
@click.argument("recipe")
@set_keys
@click.option("--strict", is_flag=True, help="Let warnings fail too.")
@click.option(
    "--show", type=click.IntRange(1), metavar="N", help="Print N rows of each stage as the model sees them."
)
@click.option(
    "--gpu", help="GPU to train on: a100, 4090 ..., or a size such as 24GB; left out, the one here."
)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.pass_context
def command(  # noqa: PLR0913 - one argument per option
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
    from toolkit import recipe as recipes
    from toolkit.errors import RecipeError
    from toolkit.run import checks

    try:
        loaded = recipes.with_fewshot_baseline(recipes.load(recipe, overrides(changes)))
    except RecipeError as error:
        report, about = checks.Report(checks.parses(error), []), recipe
    else:
        report, about = checks.check(loaded, gpu=gpu, examples=show or 0), checks.describe(loaded)
    if as_json:
        print_json({"findings": report.findings})
    else:
        print_text(about)
        for row in report.shown:
            _print_row(row)
        for finding in report.findings:
            click.secho(f"{finding.severity:<7}", fg=COLOURS[finding.severity], nl=False)
            print_text(f" {finding.place}: {finding.message}; {finding.fix}")
        print_text(_closing(report))
    bad = {"error", "warning"} if strict else {"error"}
    ctx.exit(2 if any(finding.severity in bad for finding in report.findings) else 0)


def _print_row(row: Shown) -> None:
    """What is learned in colour, everything else dimmed; without colours, between ⟦ and ⟧."""
    cut = f", {row.cut} cut off" if row.cut else ""
    click.secho(printable(f"\n{row.title} ({row.tokens} tokens{cut})"), bold=True)
    coloured = sys.stdout.isatty()
    for text, learned in row.parts:
        if coloured:
            click.secho(printable(text), nl=False, fg="green" if learned else None, dim=not learned)
        else:
            print_text(f"⟦{text}⟧" if learned else text, nl=False)
    print_text("\n")


def _closing(report: Report) -> str:
    counts = [
        f"{n} {name}{'s' if n != 1 else ''}"
        for name in ("error", "warning")
        if (n := sum(finding.severity == name for finding in report.findings))
    ]
    return " and ".join(counts) if counts else "nothing wrong found"
