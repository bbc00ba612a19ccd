"""`adapter-arena serve`: the blind arena in the browser."""

from __future__ import annotations

from pathlib import Path

import click

from toolkit.cli.output import print_json, print_text


@click.command("serve")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0: everywhere."
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8501, show_default=True, help="Port to listen on."
)
@click.option("--base-path", default="", help="Prefix of the URL behind a proxy.")
@click.option(
    "--db", metavar="URL", help="SQLAlchemy URL of the vote store; arena.db in the run folder if left out."
)
@click.option(
    "--contestant", "contestants", multiple=True, help="Who takes part; repeat it. Everyone if left out."
)
@click.option("--seed", default=0, show_default=True, help="Seed of the pairing.")
@click.option(
    "--votes-per-minute", default=60, show_default=True, help="Most votes of one voter in a minute."
)
@click.option("--undo-seconds", default=60.0, show_default=True, help="How long a vote can be taken back.")
@click.option(
    "--check-every", default=0, show_default=True, help="One battle in so many checks attention; 0: none."
)
@click.option("--ask", is_flag=True, help="Let voters ask questions of their own; loads the models.")
@click.option("--json", "as_json", is_flag=True, help="Print the address as JSON, then serve.")
def command(  # noqa: PLR0913, PLR0917 - one argument per option
    run: Path,
    host: str,
    port: int,
    base_path: str,
    db: str | None,
    contestants: tuple[str, ...],
    seed: int,
    votes_per_minute: int,
    undo_seconds: float,
    check_every: int,
    ask: bool,
    as_json: bool,
) -> None:
    """Open the blind arena on the answers of RUN, a folder that `adapter-arena run` wrote.

    \b
    Example:
      adapter-arena serve results/demo
    """
    from apps.server import Address, serve
    from apps.settings import Settings
    from toolkit.arena.battles import load_battle_pool
    from toolkit.arena.store import Store

    load_battle_pool(run, contestants)  # errors of the run or the store show here, not in the browser
    database = db or f"sqlite:///{(run / 'arena.db').resolve()}"
    Store(database).close()
    settings = Settings(
        run=str(run.resolve()),
        database=database,
        contestants=contestants,
        seed=seed,
        per_minute=votes_per_minute,
        grace=undo_seconds,
        check_every=check_every,
        ask=ask,
    )
    url = f"http://{'localhost' if host in ('127.0.0.1', '0.0.0.0') else host}:{port}/{base_path}"
    if as_json:
        print_json({"url": url})
    else:
        print_text(f"Arena: {url}")
    serve(settings, Address(host, port, base_path))
