"""`adapter-arena answer`: a model's answers to a file of questions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from toolkit.cli.endpoint_options import build_endpoint, endpoint_options, take_fields
from toolkit.cli.model_options import PATH, model_options, open_model
from toolkit.cli.option_checks import finite, refuse
from toolkit.cli.output import print_json, print_text, show_progress

if TYPE_CHECKING:
    from toolkit.types import Completion, Message


@click.command("answer")
@click.argument("model")
@click.argument("examples")
@click.option("--out", type=PATH, required=True, help="JSONL file of completions; continued if it is there.")
@click.option("--system", help="System message put before every question.")
@endpoint_options
@click.option("--max-new-tokens", type=click.IntRange(1), default=256, show_default=True)
@click.option(
    "--temperature",
    type=click.FloatRange(0),
    callback=finite,
    default=0.0,
    show_default=True,
    help="0: greedy.",
)
@click.option(
    "--top-p", type=click.FloatRange(0, 1, min_open=True), callback=finite, default=1.0, show_default=True
)
@click.option("--stop", multiple=True, metavar="TEXT", help="Text that ends an answer; may be repeated.")
@click.option(
    "--batch-size", type=click.IntRange(1), help="Conversations at a time; left out, by free memory."
)
@click.option("--limit", type=click.IntRange(1), help="Ask at most this many examples.")
@click.option("--seed", default=0, show_default=True, help="Of sampling.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@model_options
def command(  # noqa: PLR0913, PLR0917 - one argument per option
    model: str,
    examples: str,
    out: Path,
    system: str | None,
    endpoint: str | None,
    limit: int | None,
    seed: int,
    as_json: bool,
    name: str | None,
    **options: Any,
) -> None:
    """Ask MODEL (hub id, folder, GGUF file, packaged name) every question in EXAMPLES, and keep the answers.

    \b
    Examples:
      adapter-arena answer smollm2-135m-instruct package:tickets/heldout.jsonl --out base.jsonl
      adapter-arena answer MODEL questions.jsonl --endpoint http://127.0.0.1:8000/v1 --out remote.jsonl
    """
    show_progress()
    fields = take_fields(options, remote=bool(endpoint))
    if endpoint:
        refuse("--endpoint", "adapter", "device", "dtype", "quantization", "batch_size")
    from toolkit.data import load_examples
    from toolkit.generate import generate_completions
    from toolkit.recipe import DataSource, Generation
    from toolkit.run.folder import locked_run
    from toolkit.types import Message

    loaded_examples = load_examples(DataSource(source=examples, limit=limit))
    options["batch_size"] = options["batch_size"] or "auto"
    settings = {key: options.pop(key) for key in Generation.model_fields if key in options}
    prompt: tuple[Message, ...] = (Message(role="system", content=system),) if system else ()
    common: dict[str, Any] = {"prompt": prompt, "options": Generation(**settings), "seed": seed, "out": out}
    with locked_run(out):
        if endpoint:
            server = build_endpoint(endpoint, model, fields)
            completions = generate_completions(
                server, loaded_examples, contestant=name or Path(model).name, **common
            )
        else:
            chosen = open_model(model, name=name, **options)
            completions = generate_completions(
                chosen.loaded, loaded_examples, contestant=chosen.name, adapter=chosen.adapter, **common
            )
    _print(completions, out, as_json)


def _print(completions: list[Completion], out: Path, as_json: bool) -> None:
    tokens = sum(completion.tokens for completion in completions)
    cut = sum(completion.finish == "length" for completion in completions)
    refused = [completion for completion in completions if completion.refused]
    if as_json:
        print_json(
            {
                "contestant": completions[0].contestant if completions else None,
                "completions": len(completions),
                "tokens": tokens,
            }
            | {"cut_off": cut, "refused": len(refused), "file": str(out)}
        )
    else:
        print_text(
            f"{len(completions) - len(refused)} answers, {tokens} tokens, {cut} cut off at the limit: {out}"
        )
        for one in refused[:1]:
            print_text(f"{len(refused)} refused by the server, such as {one.example_id}: {one.error}")
