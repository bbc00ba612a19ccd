"""`adapter-arena preferences`: votes to chosen/rejected pairs that `dpo` trains on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from toolkit.cli.output import print_json, print_text
from toolkit.cli.votes import database_of

if TYPE_CHECKING:
    from toolkit.arena.preferences import Preferences, VoteWithTexts


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
@click.option(
    "--scoring",
    type=click.Path(path_type=Path),
    help="JSONL file of the runs' examples that no training pair uses: the next recipe's scoring.examples.",
)
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
    scoring: Path | None,
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
    from toolkit.arena.battles import load_battle_pool
    from toolkit.arena.preferences import PreferenceOptions, preferences, untrained_examples
    from toolkit.errors import DataError
    from toolkit.run.folder import locked_run

    wanted = PreferenceOptions(min_votes, min_agreement, heldout_share if heldout or scoring else 0.0, seed)
    with locked_run(*(path for path in (out, heldout, scoring) if path)):
        opinions = [opinion for source in sources for opinion in opinions_in(source, voters)]
        found = preferences(opinions, wanted)
        if not found.train and not found.heldout:
            why = ", ".join(f"{count} {reason}" for reason, count in found.dropped_votes.items() if count)
            raise DataError(f"{', '.join(sources)}: no pairs in {len(opinions)} votes ({why or 'no votes'})")
        io.write(out, found.train)
        if heldout:
            io.write(heldout, found.heldout)
        examples = []
        if scoring:
            pools = [load_battle_pool(Path(source)) for source in sources]
            examples = [row for pool in pools for row in untrained_examples(pool, found.train)]
            if not examples:
                raise DataError(f"{scoring}: every prompt is in a training pair; raise --heldout-share")
            text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in examples)
            io.write_text(scoring, text)
    _print(found, len(opinions), len(examples), as_json)


def _print(found: Preferences, votes: int, examples: int, as_json: bool) -> None:
    unused = {reason: count for reason, count in found.dropped_votes.items() if count}
    used = votes - sum(unused.values())
    if as_json:
        result = {"votes": votes, "pairs": len(found.train), "heldout": len(found.heldout)}
        more = {"dropped": found.dropped, "used_votes": used, "dropped_votes": found.dropped_votes}
        print_json({**result, **more, "scoring": examples})
        return
    print_text(f"{used} of {votes} votes: {len(found.train)} pairs, {len(found.heldout)} held out")
    if unused:
        print_text("not used: " + ", ".join(f"{count} votes: {reason}" for reason, count in unused.items()))
    if examples:
        print_text(f"{examples} examples that no training pair uses")


def opinions_in(source: str, voters: str) -> list[VoteWithTexts]:
    """The votes of people (the vote store) and of judges (the run's votes.jsonl) in one source."""
    from toolkit import io
    from toolkit.arena import accepted_reveals
    from toolkit.arena.battles import load_battle_pool
    from toolkit.arena.preferences import votes_from_reveals, votes_with_run_texts
    from toolkit.types import Vote

    folder = Path(source)
    pool = load_battle_pool(folder) if (folder / "completions").is_dir() else None
    opinions: list[VoteWithTexts] = []
    if voters != "judge":
        opinions += votes_from_reveals(accepted_reveals(database_of(source)), pool)
    if voters != "people":
        votes = [vote for vote in io.read(folder / "votes.jsonl", Vote) if vote.kind == "judge"]
        opinions += votes_with_run_texts(pool or load_battle_pool(folder), votes)
    return opinions
