"""`adapter-arena push`: an adapter or a merged model to the hub."""

from __future__ import annotations

from pathlib import Path

import click

from toolkit.cli.output import print_json, print_text


@click.command("push")
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("repo")
@click.option("--public", is_flag=True, help="Make a new repository public; left out, it is private.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(folder: Path, repo: str, *, public: bool, as_json: bool) -> None:
    """Upload FOLDER, an adapter or a merged model with its card and scores, to REPO (owner/name) on the hub.

    \b
    Example:
      adapter-arena push results/demo/adapters/dpo ann/tickets-dpo
    """
    from toolkit.models.bases import push

    address = push(folder, repo, private=not public)
    if as_json:
        print_json({"repository": address})
    else:
        print_text(address)
