"""`adapter-arena serve`: the blind arena in the browser."""

import os
import time
from pathlib import Path
from typing import Any

import click

from toolkit.cli.options import PATH, choice
from toolkit.cli.output import print_result


@click.command("serve")
@click.argument("sources", nargs=-1, required=True, type=PATH)
@click.option("--out", type=PATH, help="Folder for the votes on files; results/A-B if left out.")
@click.option("--host", default="127.0.0.1", help="Address to listen on; 0.0.0.0: everywhere.")
@click.option("--port", type=click.IntRange(0, 65535), default=8501, help="Port to listen on.")
@click.option("--base-path", default="", show_default=False, help="Prefix of the URL behind a proxy.")
@click.option("--db", metavar="URL", help="SQLAlchemy URL of the vote store; left out: the run's arena.db.")
@click.option(
    "--contestant", "contestants", multiple=True, help="Contestant to show; repeat it. Left out: all."
)
@click.option("--seed", default=0, help="Seed for drawing battles, combined with the arena's secret.")
@choice(
    "--reveal",
    "after-vote",
    "after-session",
    help="When voters learn who wrote the answers: at once, or when they finish (at most 12 hours later).",
)
@click.option("--sign-in", is_flag=True, help="Only voters with an account (OpenID Connect) may vote.")
@click.option("--public-name", "names", multiple=True, help="Host name that browsers use; repeat it.")
@click.option(
    "--trusted-proxy",
    "proxies",
    multiple=True,
    metavar="ADDRESS",
    help="Proxy, address or network, whose X-Forwarded-For and -Proto are believed; repeat it.",
)
@click.option(
    "--voters-per-address",
    type=click.IntRange(min=0),
    help="Voters without an account who count, of one address; 0: all.  [default: 5, or as set before]",
)
@click.option(
    "--votes-per-minute",
    "per_minute",
    default=60,
    help="Most votes a minute of an account, or of an address.",
)
@click.option("--undo-seconds", "grace", default=60.0, help="How long a vote can be taken back.")
@click.option("--check-every", default=0, help="One attention check per N battles on average; 0: none.")
@click.option("--ask", is_flag=True, help="Let voters ask questions of their own; loads the models.")
@click.option("--json", "as_json", is_flag=True, help="Print the address as JSON, then serve.")
def serve_command(
    sources: tuple[Path, ...],
    out: Path | None,
    db: str | None,
    voters_per_address: int | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Open the blind arena on SOURCES: a run folder, or two or more files of answers to the same questions.

    Files are read as `judge` reads them, and become a run folder that holds the votes.

    \b
    Examples:
      adapter-arena serve results/demo
      adapter-arena serve mine.jsonl theirs.jsonl
    """
    from dataclasses import fields

    from apps.server import Address, serve
    from apps.settings import SECRETS, Settings
    from toolkit.arena.battles import answer_files
    from toolkit.arena.settings import SettingsStore
    from toolkit.arena.store import Store
    from toolkit.errors import DataError

    if options["sign_in"] and not os.environ.get(SECRETS) and not Path(".streamlit/secrets.toml").exists():
        raise DataError(f"--sign-in needs an identity provider: put it into the file that {SECRETS} names")
    run = sources[0] if len(sources) == 1 and not sources[0].is_file() else _run_of_files(sources, out)
    answer_files(run)  # before anything is written into a folder that has none
    database = db or f"sqlite:///{(run / 'arena.db').resolve()}"
    if voters_per_address is not None:
        store = Store(database)
        settings_store = SettingsStore(store, run.resolve().name, time.time)
        control = settings_store.control.model_copy(update={"voters_per_address": voters_per_address})
        if control != settings_store.control:
            settings_store.change(control, "serve --voters-per-address", "command line")
        store.close()
    chosen = {field.name: options[field.name] for field in fields(Settings) if field.name in options}
    address = Address(**{field.name: options[field.name] for field in fields(Address)})
    shown = "localhost" if address.host in ("127.0.0.1", "0.0.0.0") else address.host
    url = f"http://{shown}:{address.port}/{address.base_path}"

    settings = Settings(run=str(run.resolve()), database=database, **chosen)
    serve(settings, address, lambda: print_result({"url": url}, f"Arena: {url}", as_json=as_json))


def _run_of_files(files: tuple[Path, ...], out: Path | None) -> Path:
    from toolkit.generate.importers import read_answer_files
    from toolkit.run.summary import write_run

    folder = out or Path("results", "-".join(file.stem for file in files)[:100])
    answers = read_answer_files(files)
    write_run(folder, answers)
    return folder
