"""`adapter-arena score`: contestants' completions scored and compared on the same examples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from toolkit.cli.model_options import PATH
from toolkit.cli.output import print_json, print_text, show_progress
from toolkit.cli.scores import (
    METRICS,
    REFERENCES,
    encoding,
    encoding_options,
    metric_option,
    print_differences,
    print_scores,
    require_references,
)


@click.command("score")
@click.argument("sources", nargs=-1, required=True, type=PATH)
@click.option(
    "--against",
    metavar="NAME",
    help="Compare all others with this contestant; left out, the first (of a run: the first of its recipe).",
)
@metric_option
@click.option("--references", type=PATH, multiple=True, help=REFERENCES)
@click.option(
    "--groups",
    type=PATH,
    help="File of `example_id` and `group` rows, where examples come in groups (one passage, one talk): "
    "intervals are then over groups; left out, the groups that run folders keep.",
)
@encoding_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def command(
    sources: tuple[Path, ...],
    against: str | None,
    metrics: tuple[str, ...],
    references: tuple[Path, ...],
    groups: Path | None,
    as_json: bool,
    **bertscore: Any,
) -> None:
    """Score the completions in SOURCES and compare the contestants, paired on the examples they share.

    SOURCES are run folders (their perplexities are taken over as they were measured, and so are the groups
    their examples come in), or files of completions as for `metrics`. Nothing is generated again.

    \b
    Example:
      adapter-arena score results/demo --against base
    """
    show_progress()
    from toolkit.errors import DataError
    from toolkit.metrics.compare import collect, compare, group_by_contestant, load_groups, read_groups

    members = read_groups(groups) if groups else load_groups(sources)
    if groups and not members:
        raise DataError(f"{groups}: no groups in it")
    found = collect(sources, metrics or METRICS, references=references, encoding=encoding(**bertscore))
    for name, own in group_by_contestant(found).items():
        require_references(sources[0], name, metrics, own)
    compared = compare(found, against=against, groups=members)
    if as_json:
        print_json(
            {"scores": compared.scores, "differences": compared.differences, "p_holm": compared.corrected}
            | {"examples_to_settle": compared.examples_needed}
        )
        return
    print_scores(compared.scores)
    if compared.differences:
        print_differences(compared)
    if members:
        print_text("\nintervals, p-values and n are over groups of examples")
