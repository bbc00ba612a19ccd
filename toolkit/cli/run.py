"""`adapter-arena run`: everything in a recipe."""

from __future__ import annotations

from pathlib import Path

import click

from toolkit.cli.output import print_json, show_progress

results_folder = click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("results"),
    show_default=True,
    help="Folder of runs.",
)
"""Where commands that carry out a recipe write."""


@click.command("run")
@click.argument("recipe")
@results_folder
@click.option(
    "--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change a key: stages.0.trainer.max_steps=5."
)
@click.option("--json", "as_json", is_flag=True, help="Print summary.json instead of where things are.")
def command(recipe: str, out: Path, changes: tuple[str, ...], as_json: bool) -> None:
    r"""Do everything in RECIPE, a file or a packaged name: train, answer, score, judge, rate, report.

    Run it again after an interruption, or after changing the recipe: what is done and unchanged is skipped.

    \b
    Example:
      adapter-arena run demo
    """
    show_progress()
    from toolkit import recipe as recipes
    from toolkit.run import run

    summary = run(recipes.load(recipe, overrides(changes)), out)
    if as_json:
        print_json(summary)
        return
    folder = out / summary.run
    if "report" in summary.skipped:
        click.echo(
            f"Nothing to do: all {len(summary.skipped)} steps were done already and nothing has changed."
        )
    click.echo(f"Report:  {folder / 'report.html'}")
    click.echo(f"Arena:   adapter-arena serve {folder}")


def overrides(changes: tuple[str, ...]) -> dict[str, object]:
    """`("a.b=3",)` -> `{"a.b": 3}`; values are read as YAML."""
    parts = dict(change.partition("=")[::2] for change in changes)
    for change in changes:
        if "=" not in change:
            raise click.BadParameter(f"{change}: write it as KEY=VALUE", param_hint="--set")
    from toolkit.recipe import read_yaml

    return {key: read_yaml(value) for key, value in parts.items()}
