"""`adapter-arena votes`: people's votes in and out of an arena, as FastChat-style battle logs."""

from __future__ import annotations

from pathlib import Path

import click

from toolkit.cli.output import print_json, print_text


def database_of(source: str) -> str:
    """The vote store a command means: a SQLAlchemy URL, a SQLite file, or a run folder's own arena.

    Raises:
        DataError: a path at which there is nothing, or something else.
    """
    from toolkit.errors import DataError

    if "://" in source:
        return source
    path = Path(source)
    file = path / "arena.db" if path.is_dir() else path
    if not file.is_file():
        raise DataError(f"{file}: no vote store here; `adapter-arena serve {source}` opens one")
    with file.open("rb") as opened:
        if not opened.read(16).startswith(b"SQLite format 3"):
            raise DataError(
                f"{file}: no vote store: not an SQLite database; name an arena.db or a run folder"
            )
    return f"sqlite:///{file.resolve()}"


@click.group("votes")
def command() -> None:
    """Write the arena's votes to a file, read votes cast elsewhere into it, or forget a voter."""


@command.command("export")
@click.argument("source")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--texts", is_flag=True, help="Write both conversations of every vote too.")
@click.option("--run", help="Only the votes of this run.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def export(source: str, out: Path, texts: bool, run: str | None, as_json: bool) -> None:
    """Write the votes in SOURCE (run folder, arena.db or database URL) to OUT (.jsonl, .json, .csv).

    \b
    Example:
      adapter-arena votes export results/demo votes.csv
    """
    from toolkit.arena.store import Store
    from toolkit.arena.vote_io import battle_row, write_battle_log
    from toolkit.errors import DataError
    from toolkit.run.folder import locked_run

    store = Store(database_of(source))
    rows = [battle_row(reveal, texts=texts) for reveal in store.cast_votes(run)]
    if not rows:
        raise DataError(f"{source}: no votes{f' of run {run}' if run else ''} to write")
    with locked_run(out):
        write_battle_log(out, rows)
    if as_json:
        print_json({"votes": len(rows), "file": str(out)})
    else:
        print_text(f"{len(rows)} votes written to {out}")


@command.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("target")
@click.option("--run", help="Run the votes belong to; left out, the name of the folder TARGET.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def import_(file: Path, target: str, run: str | None, as_json: bool) -> None:
    """Add the votes of FILE (model_a, model_b, winner ...) to TARGET (run folder or database URL), once.

    \b
    Example:
      adapter-arena votes import battles.jsonl results/demo
    """
    from toolkit.arena.store import Store
    from toolkit.arena.vote_io import import_votes, load_vote_rows, parse_votes
    from toolkit.errors import DataError
    from toolkit.run.folder import locked_run

    folder = Path(target)
    url = f"sqlite:///{(folder / 'arena.db').resolve()}" if folder.is_dir() else database_of(target)
    votes = parse_votes(load_vote_rows(file))
    if not votes:
        raise DataError(f"{file}: no votes in it")
    run = run or (folder.resolve().name if folder.is_dir() else file.stem)
    with locked_run(folder):
        added, known = import_votes(Store(url), votes, run=run)
    if as_json:
        print_json({"added": added, "known": known, "run": run})
    else:
        print_text(f"{added} votes added to {target}; {known} were there already")


@command.command("forget")
@click.argument("source")
@click.argument("voter")
@click.option(
    "--remove", is_flag=True, help="Remove the votes too; without it they are kept without the person."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def forget(source: str, voter: str, remove: bool, as_json: bool) -> None:
    """Delete what SOURCE (run folder, arena.db or database URL) knows of VOTER (an id).

    \b
    Example:
      adapter-arena votes forget results/demo 0123456789abcdef0123456789abcdef
    """
    from toolkit.arena.store import Store
    from toolkit.errors import DataError

    store = Store(database_of(source))
    if not store.has_voter(voter):
        raise DataError(f"{source}: no voter {voter}; the id is on the voter's page Your votes and on Admin")
    count = store.forget(voter, remove=remove)
    if as_json:
        print_json({"voter": voter, "battles": count, "removed": remove})
    else:
        print_text(
            f"{voter} is forgotten; {count} battles {'removed' if remove else 'kept without the person'}"
        )
