"""`adapter-arena check`: what is wrong with a recipe and its data, before anything is trained."""

from __future__ import annotations

import os

import click

from toolkit.cli.output import print_json

COLOURS = {"error": "red", "warning": "yellow", "info": "blue"}


@click.command("check")
@click.argument("recipe")
@click.option("--strict", is_flag=True, help="Let warnings fail too.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.pass_context
def command(ctx: click.Context, recipe: str, *, strict: bool, as_json: bool) -> None:
    r"""Check RECIPE, a file or a packaged name: keys, rows, trainer fields, template, lengths, overlaps.

    Downloads nothing: what is on the hub and not in its local cache is reported as not checked. Exit code 2
    when there is an error (with --strict: or a warning).

    \b
    Example:
      adapter-arena check chapter
    """
    os.environ["HF_HUB_OFFLINE"] = "1"  # look at what is here; download nothing
    from toolkit import recipe as recipes
    from toolkit.errors import RecipeError
    from toolkit.run import checking

    try:
        loaded = recipes.load(recipe)
    except RecipeError as error:
        findings, about = checking.parses(error), recipe
    else:
        findings, about = checking.check(loaded), checking.describe(loaded)
    if as_json:
        print_json({"findings": findings})
    else:
        click.echo(about)
        for finding in findings:
            label = click.style(f"{finding.severity:<7}", fg=COLOURS[finding.severity])
            click.echo(f"{label} {finding.place}: {finding.message}; {finding.fix}")
        click.echo("nothing wrong found" if not findings else f"{len(findings)} findings")
    bad = {"error", "warning"} if strict else {"error"}
    ctx.exit(2 if any(finding.severity in bad for finding in findings) else 0)
