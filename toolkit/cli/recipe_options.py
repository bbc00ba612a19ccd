"""The options of every command that carries out or checks a recipe."""

from __future__ import annotations

from pathlib import Path

import click

results_folder = click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("results"),
    show_default=True,
    help="Folder of runs.",
)

set_keys = click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a key of the recipe: stages.0.trainer.max_steps=5.",
)


def overrides(changes: tuple[str, ...]) -> dict[str, object]:
    """`("a.b=3",)` -> `{"a.b": 3}`; values are read as YAML."""
    from yaml import YAMLError

    from toolkit.recipe import read_yaml

    found: dict[str, object] = {}
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals:
            raise click.BadParameter(f"{change}: write it as KEY=VALUE", param_hint="--set")
        try:
            found[key] = read_yaml(value)
        except YAMLError as error:
            problem = getattr(error, "problem", None) or "not a YAML value"
            raise click.BadParameter(f"{change}: {problem}", param_hint="--set") from None
    return found
