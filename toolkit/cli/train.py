"""`adapter-arena train`: the stages of a recipe, and nothing else."""

from __future__ import annotations

from pathlib import Path

import click

from toolkit.cli.output import print_json, print_table, show_progress
from toolkit.cli.recipe_options import overrides, results_folder, set_keys


@click.command("train")
@click.argument("recipe")
@click.argument("stages", nargs=-1)
@results_folder
@set_keys
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
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
    from toolkit import recipe as recipes
    from toolkit.run import train

    results = train(recipes.load(recipe, overrides(changes)), out, stages)
    if not distributed.is_main():
        return
    if as_json:
        print_json({"stages": results})
        return
    print_table(
        ["stage", "method", "train loss", "held-out loss", "seconds"],
        [
            [
                result.name,
                result.method,
                f"{result.train_loss:.4f}",
                f"{result.heldout['loss']:.4f}" if "loss" in result.heldout else "",
                f"{result.seconds:.0f}",
            ]
            for result in results
        ],
    )
