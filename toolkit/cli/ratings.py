"""`adapter-arena ratings`: who is better, from a file of votes."""

from __future__ import annotations

from pathlib import Path

import click

from toolkit.cli.output import print_json, print_table


@click.command("ratings")
@click.argument("votes", type=click.Path(path_type=Path))
@click.option(
    "--method", type=click.Choice(["bradley-terry", "elo"]), default="bradley-terry", show_default=True
)
@click.option(
    "--interval",
    type=click.Choice(["curvature", "sandwich", "bootstrap"]),
    default="curvature",
    show_default=True,
    help="How Bradley-Terry's 95% intervals are made.",
)
@click.option("--anchor", help="Contestant whose rating is 1000; left out, the mean is.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def command(votes: Path, method: str, interval: str, anchor: str | None, as_json: bool) -> None:
    r"""Rate every contestant in VOTES (.csv, .jsonl, .parquet with model_a, model_b, winner), best first.

    \b
    Example:
      adapter-arena ratings results/demo/votes.jsonl
    """
    from toolkit.ratings import bradley_terry, elo, read_votes

    frame = read_votes(votes)
    if method == "elo":
        ratings = elo(frame).ratings
    else:
        ratings = bradley_terry(frame, interval=interval, anchor=anchor).ratings  # type: ignore[arg-type]
    if as_json:
        print_json({"method": method, "votes": len(frame), "ratings": ratings})
        return
    rows = [
        [
            row.contestant,
            f"{row.rank}",
            f"{row.value:.0f}",
            f"{row.low:.0f}..{row.high:.0f}",
            f"{row.battles}",
        ]
        for row in ratings
    ]
    print_table(["contestant", "rank", "rating", "95% interval", "battles"], rows)
