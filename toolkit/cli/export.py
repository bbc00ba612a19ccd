"""`adapter-arena export`: a run's completions, scores and votes as data sets."""

from __future__ import annotations

from pathlib import Path

import click

from toolkit.cli.output import print_json, print_text, show_progress


@click.command("export")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(run: Path, out: Path, *, as_json: bool) -> None:
    """Write the completions, scores and votes of RUN to the new folder OUT, as `datasets` loads them.

    \b
    Example:
      adapter-arena export results/demo demo-data
    """
    show_progress()
    from toolkit.report.export import write_datasets
    from toolkit.run.folder import locked_run

    with locked_run(out):
        sizes = write_datasets(run, out)
    if as_json:
        print_json({"folder": str(out), "rows": sizes})
    else:
        print_text(f"{', '.join(f'{count} {name}' for name, count in sizes.items())} written to {out}")
