"""`adapter-arena preferences`: votes to chosen/rejected pairs that `dpo` trains on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from toolkit.cli.output import print_json, print_text
from toolkit.cli.votes import database_of

if TYPE_CHECKING:
    from toolkit.arena.preferences import VoteWithTexts


@click.command("preferences")
@click.option(
    "--from-votes",
    "sources",
    multiple=True,
    required=True,
    metavar="SOURCE",
    help="Run folder, arena.db or database URL; repeat it to join several.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="JSONL file of training pairs.")
@click.option("--heldout", type=click.Path(path_type=Path), help="JSONL file of held-out pairs.")
@click.option("--voters", type=click.Choice(["people", "judge", "all"]), default="people", show_default=True)
@click.option("--min-votes", default=1, show_default=True, help="Votes a pair needs, ties left out.")
@click.option("--min-agreement", default=0.6, show_default=True, help="Share of them on the chosen side.")
@click.option("--heldout-share", default=0.1, show_default=True, help="Of the prompts; 0 without --heldout.")
@click.option("--seed", default=0, show_default=True, help="Of the split.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(  # noqa: PLR0913, PLR0917 - one argument per option
    sources: tuple[str, ...],
    out: Path,
    heldout: Path | None,
    voters: str,
    min_votes: int,
    min_agreement: float,
    heldout_share: float,
    seed: int,
    as_json: bool,
) -> None:
    """Write the preference pairs in the votes of SOURCE, in TRL's conversational format.

    \b
    Example:
      adapter-arena preferences --from-votes results/demo --out pairs.jsonl --heldout pairs-heldout.jsonl
    """
    from toolkit import io
    from toolkit.arena.preferences import PreferenceOptions, preferences
    from toolkit.errors import DataError
    from toolkit.run.folder import locked_run

    wanted = PreferenceOptions(min_votes, min_agreement, heldout_share if heldout else 0.0, seed)
    with locked_run(out, heldout or out):
        opinions = [opinion for source in sources for opinion in opinions_in(source, voters)]
        found = preferences(opinions, wanted)
        if not found.train and not found.heldout:
            why = ", ".join(f"{count} {reason}" for reason, count in found.dropped.items())
            raise DataError(f"{', '.join(sources)}: no pairs in {len(opinions)} votes (dropped: {why})")
        io.write(out, found.train)
        if heldout:
            io.write(heldout, found.heldout)
    result = {
        "votes": len(opinions),
        "pairs": len(found.train),
        "heldout": len(found.heldout),
        "dropped": found.dropped,
    }
    if as_json:
        print_json(result)
    else:
        print_text(f"{len(opinions)} votes: {len(found.train)} pairs, {len(found.heldout)} held out")
        print_text("dropped: " + ", ".join(f"{count} {why}" for why, count in found.dropped.items()))


def opinions_in(source: str, voters: str) -> list[VoteWithTexts]:
    """The votes of people (the vote store) and of judges (the run's votes.jsonl) in one source."""
    from toolkit import io
    from toolkit.arena.battles import load_battle_pool
    from toolkit.arena.preferences import votes_from_reveals, votes_with_run_texts
    from toolkit.arena.store import Store
    from toolkit.types import Vote

    opinions: list[VoteWithTexts] = []
    if voters != "judge":
        opinions += votes_from_reveals(Store(database_of(source)).cast_votes())
    if voters != "people":
        votes = [vote for vote in io.read(Path(source) / "votes.jsonl", Vote) if vote.kind == "judge"]
        opinions += votes_with_run_texts(load_battle_pool(Path(source)), votes)
    return opinions
