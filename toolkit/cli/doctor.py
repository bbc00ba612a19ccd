"""`adapter-arena doctor`: what this machine has, what will be used, what is missing."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from toolkit.cli.output import print_json, print_text, show_progress

COLOURS = {"ok": "green", "note": "yellow", "missing": "red"}


@click.command("doctor")
@click.option("--out", type=click.Path(path_type=Path), default=Path(), help="Where runs would be written.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(ctx: click.Context, out: Path, *, as_json: bool) -> None:
    """Say what this machine has, what will be used of it and why, and what is missing and how to get it.

    Asks nothing of the network. Exit code 1 when something that is needed is missing.

    \b
    Example:
      adapter-arena doctor
    """
    show_progress()
    from toolkit.run.doctor import examine

    lines = examine(out)
    if as_json:
        print_json({"lines": [dataclasses.asdict(line) for line in lines]})
    else:
        width = max(len(line.what) for line in lines)
        for line in lines:
            click.secho(f"{line.state:<8}", fg=COLOURS[line.state], nl=False)
            print_text(f"{line.what:<{width}}  {line.found}{'; ' + line.fix if line.fix else ''}")
    ctx.exit(1 if any(line.state == "missing" for line in lines) else 0)
