"""`adapter-arena perplexity`: how surprised a model is by texts, or by the right answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from toolkit.cli.model_options import model_options, open_model
from toolkit.cli.output import print_json, print_table, show_progress
from toolkit.cli.scores import number, print_scores

if TYPE_CHECKING:
    from toolkit.metrics import Measurement


@click.command("perplexity")
@click.argument("model")
@click.argument("data")
@click.option("--window", type=click.IntRange(1), help="Tokens seen at once; left out, the whole context.")
@click.option("--stride", type=click.IntRange(1), help="How far windows move on; left out, a whole window.")
@click.option("--limit", type=click.IntRange(1), help="Measure at most this many texts.")
@click.option("--each", is_flag=True, help="Also the figures of every text on its own.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@model_options
def command(  # noqa: PLR0913, PLR0917 - one argument per option
    model: str,
    data: str,
    window: int | None,
    stride: int | None,
    limit: int | None,
    each: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Perplexity and bits per byte of MODEL on DATA, with 95% intervals over texts.

    DATA is a .txt file (one text), rows with `text`, or rows with questions and reference answers: of those,
    the answers are measured, given the questions.

    \b
    Examples:
      adapter-arena perplexity smollm2-135m-instruct wikitext.txt --stride 512
      adapter-arena perplexity smollm2-135m-instruct heldout.jsonl --adapter results/demo/adapters/sft
    """
    show_progress()
    from toolkit.metrics import measure_perplexity, measure_text_perplexity, score
    from toolkit.metrics.perplexity import load_documents
    from toolkit.recipe import DataSource

    texts, examples = load_documents(DataSource(source=data, limit=limit))
    chosen = open_model(model, **options)
    about: dict[str, Any] = {"contestant": chosen.name, "adapter": chosen.adapter}
    found = measure_text_perplexity(chosen.loaded, texts, window=window, stride=stride, **about)
    found += measure_perplexity(chosen.loaded, examples, **about)
    scores = [score(measurement) for measurement in found]
    documents = by_document(found) if each else []
    if as_json:
        print_json({"scores": scores} | ({"documents": documents} if each else {}))
        return
    print_scores(scores)
    if documents:
        click.echo()
        rows = [[document["id"], *map(number, list(document.values())[1:])] for document in documents]
        print_table(list(documents[0]), rows)


def by_document(found: Sequence[Measurement]) -> list[dict[str, Any]]:
    """Every text's own figures, one object a text: `id`, then metric by metric."""
    values = {each.metric: each.per_example() for each in found}
    ids = found[0].example_ids if found else ()
    return [{"id": name} | {metric: each[name] for metric, each in values.items()} for name in ids]
