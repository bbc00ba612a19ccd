"""`adapter-arena selftest`: how often a run's rules claim something where nothing is there."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from toolkit.cli.output import print_json, print_table


@click.command("selftest")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--times", type=click.IntRange(20), default=1000, show_default=True, help="Relabelled runs.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(run: Path, times: int, as_json: bool) -> None:
    """Exchange the contestants' names at random within each example of RUN, on answers and votes, many times.

    Nobody is better then. Prints in what share of the relabelled runs the report would claim something, by
    kind of claim: about 5% or less if its statements of certainty hold on data like these.

    \b
    Example:
      adapter-arena selftest results/demo
    """
    from toolkit.report.selftest import run_selftest

    found = run_selftest(run, times)
    if as_json:
        print_json({"times": times, "claims": [asdict(row) for row in found]})
        return
    rows = [[row.kind, f"{row.share:.1%}", f"{row.low:.1%} to {row.high:.1%}"] for row in found]
    print_table(["kind of claim", "relabelled runs with any", "95% interval"], rows)
