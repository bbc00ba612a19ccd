"""`adapter-arena init`: a recipe of one's own from what one has, then its check."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import click

from toolkit.cli.check import command as check
from toolkit.cli.output import print_json, print_text

BASE = "Base model (hub id, folder, GGUF file or packaged name)"
DATA = "Training data (a file, or a hub data set; empty: nothing is trained)"
PAIRS = "Preference pairs, prompt/chosen/rejected (empty: none)"
EXAMPLES = "Test examples to score on (a file; empty: none)"
ADAPTER = "Adapter folder made elsewhere, to compare; may be repeated."
ANSWERS = "File of answers made elsewhere, to compare; may be repeated."


@click.command("init")
@click.argument("file", type=click.Path(path_type=Path), default=Path("recipe.yaml"))
@click.option("--base", help=BASE)
@click.option("--data", help=DATA)
@click.option("--pairs", help=PAIRS)
@click.option("--examples", "--heldout", help=EXAMPLES)
@click.option("--adapter", "adapters", multiple=True, help=ADAPTER)
@click.option("--answers", multiple=True, help=ANSWERS)
@click.option("--json", "as_json", is_flag=True, help="Print JSON; the questions go to stderr.")
@click.pass_context
def command(  # noqa: PLR0913, PLR0917 - one argument per option
    ctx: click.Context,
    file: Path,
    base: str | None,
    data: str | None,
    pairs: str | None,
    examples: str | None,
    adapters: tuple[str, ...],
    answers: tuple[str, ...],
    *,
    as_json: bool,
) -> None:
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
    if data is None and not adapters and not answers:
        base = base or click.prompt(BASE, default="smollm2-135m-instruct", err=True)
        data = click.prompt(DATA, default="", show_default=False, err=True)
        if examples is None:
            examples = click.prompt(EXAMPLES, default="", show_default=False, err=True)
    text, method = draft_recipe(file, Ingredients(base, data, pairs, examples, adapters, answers))
    recipes.parse(recipes.read_yaml(text), file)
    io.write_text(file, text)
    if as_json:
        print_json({"file": str(file), "method": method or ""})
        return
    print_text(f"{file}: written. Its check (again: adapter-arena check {file}):\n")
    with suppress(click.exceptions.Exit):  # the recipe is written, whatever is found
        ctx.invoke(check, recipe=str(file), changes=(), strict=False, show=None, gpu=None, as_json=False)
