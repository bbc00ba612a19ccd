"""`adapter-arena gate`: exit codes for a pipeline that ships a contestant only when it is good enough."""

from __future__ import annotations

from pathlib import Path

import click

from toolkit.cli.output import print_json, print_table, print_text

CODES = {"passed": 0, "undecided": 3, "failed": 4}
FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("gate")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--require",
    "requirements",
    multiple=True,
    required=True,
    help="`METRIC: better than NAME [by X]` or `METRIC: not worse than NAME by X`; METRIC may be `primary` "
    "or `guard`. Repeat it: all must pass.",
)
@click.option("--contestant", metavar="NAME", help="Who must pass; left out, that of the last stage.")
@click.option("--markdown", type=FILE, help="Write a comment for a pull request to this file.")
@click.option("--junit", type=FILE, help="Write JUnit XML to this file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.pass_context
def command(  # noqa: PLR0913, PLR0917 - one argument per option
    context: click.Context,
    run: Path,
    requirements: tuple[str, ...],
    contestant: str | None,
    markdown: Path | None,
    junit: Path | None,
    as_json: bool,
) -> None:
    """Hold a contestant of RUN against requirements, by 95% intervals of paired differences.

    Exit code 0: all passed; 3: none failed, and some are undecided; 4: some failed.

    \b
    Example:
      adapter-arena gate results/demo --require 'rougeL: better than base-fewshot'
    """
    from toolkit import io
    from toolkit.report import gate

    result = gate.run_gate(run, [gate.parse_requirement(text) for text in requirements], contestant)
    for file, text in ((markdown, gate.to_markdown(result)), (junit, gate.to_junit(result))):
        if file:
            io.write_text(file, text)
    if as_json:
        print_json(result.model_dump())
    else:
        rows = [[check.verdict, check.requirement, gate.describe(check)] for check in result.checks]
        print_table(["", "requirement", "difference, more is better"], rows)
        print_text(f"\n{result.contestant}: {result.verdict}")
    context.exit(CODES[result.verdict])
