"""`adapter-arena report`: write a run's report again."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("report")
@click.argument("run", type=click.Path(path_type=Path))
def command(run: Path) -> None:
    r"""Write report.html and report.md of RUN, a folder that `adapter-arena run` wrote.

    \b
    Example:
      adapter-arena report results/demo
    """
    from toolkit.report import write_report

    click.echo(write_report(run))
