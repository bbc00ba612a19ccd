"""`adapter-arena perplexity`: how surprised a model is by texts, or by the right answers."""

from __future__ import annotations

from typing import Any

import click

from toolkit.cli.model_options import model_options, open_model
from toolkit.cli.output import print_json, show_progress
from toolkit.cli.scores import print_scores


@click.command("perplexity")
@click.argument("model")
@click.argument("data")
@click.option("--window", type=click.IntRange(1), help="Tokens seen at once; left out, the whole context.")
@click.option("--stride", type=click.IntRange(1), help="How far windows move on; left out, a whole window.")
@click.option("--limit", type=click.IntRange(1), help="Measure at most this many texts.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@model_options
def command(
    model: str,
    data: str,
    window: int | None,
    stride: int | None,
    limit: int | None,
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
    from toolkit.metrics.documents import load_documents
    from toolkit.recipe import DataSource

    texts, examples = load_documents(DataSource(source=data, limit=limit))
    chosen = open_model(model, **options)
    about: dict[str, Any] = {"contestant": chosen.name, "adapter": chosen.adapter}
    found = measure_text_perplexity(chosen.loaded, texts, window=window, stride=stride, **about)
    found += measure_perplexity(chosen.loaded, examples, **about)
    scores = [score(measurement) for measurement in found]
    if as_json:
        print_json({"scores": scores})
    else:
        print_scores(scores)
