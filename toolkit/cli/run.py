"""`adapter-arena run`: everything in a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from toolkit.cli.output import print_json, print_text, show_progress
from toolkit.cli.recipe_options import overrides, results_folder, set_keys


@click.command("run")
@click.argument("recipe")
@results_folder
@set_keys
@click.option(
    "--on",
    type=click.Choice(["here", "ray"]),
    default="here",
    show_default=True,
    help="ray: steps side by side on the cluster at RAY_ADDRESS, or on this machine's GPUs.",
)
@click.option("--anyway", is_flag=True, help="Go on in spite of errors that the check finds.")
@click.option("--json", "as_json", is_flag=True, help="Print summary.json instead of where things are.")
def command(
    recipe: str, out: Path, changes: tuple[str, ...], on: Literal["here", "ray"], anyway: bool, as_json: bool
) -> None:
    """Do everything in RECIPE, a file or a packaged name: train, answer, score, judge, rate, report.

    Run it again after an interruption, or after changing the recipe: what is done and unchanged is skipped.

    \b
    Example:
      adapter-arena run demo
    """
    show_progress()
    from toolkit import recipe as recipes
    from toolkit.run import run

    summary = run(recipes.load(recipe, overrides(changes)), out, on=on, anyway=anyway)
    if as_json:
        print_json(summary)
        return
    folder = out / summary.run
    if "report" in summary.skipped:
        print_text(
            f"Nothing to do: all {len(summary.skipped)} steps were done already and nothing has changed."
        )
    print_text(f"Report:  {folder / 'report.html'}")
    print_text(f"Arena:   adapter-arena serve {folder}")
