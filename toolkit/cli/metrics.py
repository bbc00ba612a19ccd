"""`adapter-arena metrics`: text metrics of completions against their references."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from toolkit.cli.model_options import PATH
from toolkit.cli.output import print_json, show_progress
from toolkit.cli.scores import (
    METRICS,
    REFERENCES,
    encoding,
    encoding_options,
    metric_option,
    print_scores,
    require_references,
)


@click.command("metrics")
@click.argument("files", nargs=-1, required=True, type=PATH)
@metric_option
@click.option("--references", type=PATH, multiple=True, help=REFERENCES)
@encoding_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def command(
    files: tuple[Path, ...],
    metrics: tuple[str, ...],
    references: tuple[Path, ...],
    as_json: bool,
    **bertscore: Any,
) -> None:
    """Score the completions in FILES against their references, with no network.

    FILES are this package's completions, AlpacaEval outputs, MT-bench answers, lm-eval samples, or rows with
    a prompt and an answer.

    \b
    Example:
      adapter-arena metrics results/demo/completions/*.jsonl --metric rouge --metric bleu
    """
    show_progress()
    from toolkit.generate.importers import read_completions, read_references
    from toolkit.metrics import measure_texts, score
    from toolkit.metrics.compare import group_by_contestant

    known, bert = read_references(references), encoding(**bertscore)
    scores = []
    for file in files:
        for name, own in sorted(group_by_contestant(read_completions(file)).items()):
            found = measure_texts(own, metrics or METRICS, encoding=bert, references=known)
            require_references(file, name, metrics, found)
            scores += [score(each) for each in found]
    if as_json:
        print_json({"scores": scores})
    else:
        print_scores(scores)
