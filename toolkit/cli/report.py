"""`adapter-arena report`: write a run's report again, or compare two runs."""

from __future__ import annotations

from pathlib import Path

import click

from toolkit.cli.output import print_json, print_text


@click.command("report")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("against", type=click.Path(path_type=Path), required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(run: Path, against: Path | None, as_json: bool) -> None:
    """Write report.html and report.md of RUN, a folder that `adapter-arena run` wrote.

    With AGAINST, another such folder, write RUN/against-AGAINST.html and .md instead: the contestants both
    have, compared in pairs on the examples both have, and what was changed between the two runs.

    \b
    Example:
      adapter-arena report results/demo
      adapter-arena report results/second results/demo
    """
    from toolkit.report import write_comparison, write_report
    from toolkit.run.cache import StepCache
    from toolkit.run.folder import locked_run

    with locked_run(run) as folder:
        page = write_comparison(run, against) if against else write_report(run)
        if folder and not against:
            StepCache(folder).accept(page, page.with_suffix(".md"))
    if as_json:
        print_json({"html": str(page), "markdown": str(page.with_suffix(".md"))})
    else:
        print_text(page)
