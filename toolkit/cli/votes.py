"""Commands on an arena's votes: votes, preferences; and where all commands find votes."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from toolkit.cli.options import PATH, choice
from toolkit.cli.output import print_json, print_result, print_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from toolkit.arena.battles import Reveal
    from toolkit.arena.preferences import VoteWithTexts
    from toolkit.ratings import Table

logger = logging.getLogger(__name__)

DATABASES = (".db", ".sqlite", ".sqlite3")


def database_of(source: str) -> str:
    """The vote store a command means: a SQLAlchemy URL, a SQLite file, or a run folder's own arena."""
    from toolkit.errors import DataError

    if "://" in source:
        return source
    path = Path(source)
    file = path / "arena.db" if path.is_dir() else path
    if not file.is_file():
        raise DataError(f"{file}: no vote store here; `adapter-arena serve {source}` opens one")
    with file.open("rb") as opened:
        if not opened.read(16).startswith(b"SQLite format 3"):
            raise DataError(f"{file}: no vote store (an SQLite database); name an arena.db or a run folder")
    return f"sqlite:///{file.resolve()}"


def open_arena_claims(source: str) -> tuple[bool, tuple[tuple[str, str], ...] | None]:
    """Whether a source is an open arena's, and the pairs that its recipe has decided (`None`: all)."""
    from toolkit.recipe import arena_claims, load

    path = Path(source)
    if "://" in source:
        return True, None
    if path.suffix not in DATABASES and not (path.is_dir() and (path / "arena.db").exists()):
        return False, None
    recipe = (path if path.is_dir() else path.parent) / "recipe.yaml"
    return True, arena_claims(load(recipe)) if recipe.is_file() else None


def load_votes(source: str) -> Table:
    """The votes of a vote file, an `arena.db`, a database URL, or a run folder.

    A run folder's votes are the people's in its arena, or where no arena was opened the judge's. MT-bench's
    pair judgments and AlpacaEval's annotations are vote files too.
    """
    from toolkit.arena import accepted_votes
    from toolkit.arena.vote_io import FORMS, battle_row, load_vote_rows, parse_votes
    from toolkit.judge import readers
    from toolkit.ratings import RATED, read_votes, tabulate

    path = Path(source)
    judge_votes = path / "votes.jsonl"
    has_arena = path.is_dir() and ((path / "arena.db").exists() or not judge_votes.exists())
    if "://" in source or path.suffix in DATABASES or has_arena:
        return tabulate(accepted_votes(database_of(source)))
    if readers.has_fields(path, *FORMS):
        import pandas as pd

        return tabulate(pd.DataFrame(map(battle_row, parse_votes(load_vote_rows(path)))))
    return tabulate(read_votes(judge_votes if path.is_dir() else path, columns=RATED))


@click.group("votes")
def votes_command() -> None:
    """Export the votes of an arena, import votes cast elsewhere, or delete a voter."""


@votes_command.command("export")
@click.argument("source")
@click.argument("out", type=PATH)
@click.option("--texts", is_flag=True, help="Write both conversations of every vote too.")
@choice("--kind", "people", "simulated")
@click.option("--run", help="Only the votes of this run.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def export(source: str, out: Path, texts: bool, kind: str, run: str | None, as_json: bool) -> None:
    """Write the votes in SOURCE (run folder, arena.db or database URL) to OUT (.jsonl, .json, .csv).

    \b
    Example:
      adapter-arena votes export results/demo votes.csv
    """
    from toolkit.arena.store import SIMULATED, VOTE_KINDS, Store
    from toolkit.arena.vote_io import battle_row, write_battle_log
    from toolkit.errors import DataError
    from toolkit.run.folder import locked_run

    kinds = (SIMULATED,) if kind == SIMULATED else VOTE_KINDS
    votes = Store(database_of(source)).cast_votes(run, kinds=kinds)
    rows = [battle_row(reveal, texts=texts) for reveal in votes]
    if not rows:
        raise DataError(f"{source}: no votes of {kind}{f' in run {run}' if run else ''} to write")
    with locked_run(out):
        write_battle_log(out, rows)
    text = f"{len(rows)} votes written to {out}"
    print_result({"votes": len(rows), "file": str(out)}, text, as_json=as_json)


@votes_command.command("import")
@click.argument("file", type=PATH)
@click.argument("target")
@click.option("--run", help="Run the votes belong to; left out, the name of the folder TARGET.")
@choice("--kind", "people", "simulated")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def import_(file: Path, target: str, run: str | None, kind: str, as_json: bool) -> None:
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
    _warn_of_strangers(folder, votes)
    with locked_run(folder):
        done = import_votes(Store(url), votes, run=run, simulated=kind == "simulated", source=str(file))
    text = f"{done.added} votes added to {target}; {done.known} were there already"
    text += f"; {done.corrected} corrected" * bool(done.corrected)
    print_result(done._asdict() | {"run": run}, text, as_json=as_json)


def _warn_of_strangers(folder: Path, votes: Sequence[Reveal]) -> None:
    """Name contestants of votes that the run has no answers of."""
    competing = {file.stem for file in (folder / "completions").glob("*.jsonl")}
    voted = {name for vote in votes for name in (vote.ballot.contestant_a, vote.ballot.contestant_b)}
    if strangers := competing and sorted(voted - competing):
        names = ", ".join(strangers)
        print_text(f"warning: {folder} has no answers of {names}; votes on them are rated too", err=True)


@votes_command.command("forget")
@click.argument("source")
@click.argument("voter")
@click.option("--remove", is_flag=True, help="Remove the votes too; else they are kept without the person.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def forget(source: str, voter: str, remove: bool, as_json: bool) -> None:
    """Delete what SOURCE (run folder, arena.db or database URL) holds of VOTER (an id).

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
    text = f"{voter} is forgotten; {count} battles {'removed' if remove else 'kept without the person'}"
    print_result({"voter": voter, "battles": count, "removed": remove}, text, as_json=as_json)


@click.command("preferences")
@click.option(
    "--from-votes",
    "sources",
    multiple=True,
    required=True,
    metavar="SOURCE",
    help="Run folder, arena.db or database URL; repeat it to join several.",
)
@click.option("--out", type=PATH, required=True, help="JSONL file of training pairs.")
@click.option("--heldout", type=PATH, help="JSONL file of held-out pairs.")
@click.option(
    "--scoring",
    type=PATH,
    help="JSONL file of the runs' examples that no training pair uses: the next recipe's scoring.examples.",
)
@choice("--voters", "people", "judge", "all", "simulated")
@click.option("--min-votes", default=1, help="Votes a pair needs, ties left out.")
@click.option("--min-agreement", default=0.6, help="Share of them on the chosen side.")
@click.option("--heldout-share", default=0.1, help="Share of held-out prompts; 0 without --heldout.")
@click.option("--seed", default=0, help="Of the split.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def preferences_command(
    sources: tuple[str, ...],
    out: Path,
    heldout: Path | None,
    scoring: Path | None,
    voters: str,
    *,
    as_json: bool,
    **options: Any,
) -> None:
    """Write the preference pairs in the votes of SOURCE, in TRL's conversational format.

    \b
    Example:
      adapter-arena preferences --from-votes results/demo --out pairs.jsonl --heldout pairs-heldout.jsonl
    """
    from toolkit import io
    from toolkit.arena.battles import load_battle_pool
    from toolkit.arena.preferences import PreferenceOptions, preferences, untrained_examples
    from toolkit.errors import DataError
    from toolkit.run.folder import locked_run

    if not heldout and not scoring:
        options["heldout_share"] = 0.0
    examples: list[dict[str, Any]] = []
    with locked_run(*(path for path in (out, heldout, scoring) if path)):
        votes = [vote for source in sources for vote in _votes_with_texts(source, voters)]
        found = preferences(votes, PreferenceOptions(**options))
        unused = {reason: count for reason, count in found.dropped_votes.items() if count}
        if not found.train and not found.heldout:
            why = ", ".join(f"{count} {reason}" for reason, count in unused.items()) or "no votes"
            raise DataError(f"{', '.join(sources)}: no pairs in {len(votes)} votes ({why})")
        io.write(out, found.train)
        if heldout:
            io.write(heldout, found.heldout)
        if scoring:
            for source in map(Path, sources):
                columns = _scoring_columns(source / "recipe.yaml")
                rows = untrained_examples(load_battle_pool(source), found.train)
                examples += [columns.get(row["id"], {}) | row for row in rows]
            if not examples:
                raise DataError(f"{scoring}: every prompt is in a training pair; raise --heldout-share")
            io.write_rows(scoring, examples)
    used = len(votes) - sum(unused.values())
    if as_json:
        counts = {"votes": len(votes), "pairs": len(found.train), "heldout": len(found.heldout)}
        reasons = {"dropped": found.dropped, "used_votes": used, "dropped_votes": found.dropped_votes}
        print_json(counts | reasons | {"scoring": len(examples)})
        return
    print_text(f"{used} of {len(votes)} votes: {len(found.train)} pairs, {len(found.heldout)} held out")
    if unused:
        print_text("not used: " + ", ".join(f"{count} votes: {reason}" for reason, count in unused.items()))
    if examples:
        print_text(f"{len(examples)} examples that no training pair uses")


def _scoring_columns(recipe: Path) -> dict[str, dict[str, Any]]:
    """Example id -> the columns by which a run's scoring slices and groups; none where its data is gone."""
    from toolkit.data import load_columns
    from toolkit.errors import DataError
    from toolkit.recipe import load

    run = load(recipe) if recipe.is_file() else None
    named = (*run.scoring.slices, run.scoring.groups) if run and run.scoring else ()
    names = {name for name in named if name}
    try:
        rows = load_columns(run.data[run.scoring.examples]) if run and run.scoring and names else {}
    except DataError as error:
        logger.warning("without the columns of scoring.slices and scoring.groups: %s", error)
        return {}
    return {example: {name: row[name] for name in names & row.keys()} for example, row in rows.items()}


def _votes_with_texts(source: str, voters: str) -> list[VoteWithTexts]:
    """The votes of people (the vote store) and of judges (the run's votes.jsonl) in one source."""
    from toolkit import io
    from toolkit.arena import accepted_reveals
    from toolkit.arena.battles import load_battle_pool
    from toolkit.arena.preferences import votes_from_reveals, votes_with_run_texts
    from toolkit.types import Vote

    folder = Path(source)
    pool = load_battle_pool(folder) if (folder / "completions").is_dir() else None
    found: list[VoteWithTexts] = []
    if voters != "judge":
        reveals = accepted_reveals(database_of(source), simulated=voters == "simulated")
        found += votes_from_reveals(reveals, pool)
    if voters in ("judge", "all"):
        votes = [vote for vote in io.read(folder / "votes.jsonl", Vote) if vote.kind == "judge"]
        found += votes_with_run_texts(pool or load_battle_pool(folder), votes)
    return found
