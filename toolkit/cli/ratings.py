"""`adapter-arena ratings`: who is better, from votes."""

from __future__ import annotations

from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from toolkit.cli.option_checks import need, refuse
from toolkit.cli.output import print_json, print_table, print_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from toolkit.ratings import BradleyTerry, Elo, StyleControlled, Table
    from toolkit.types import Rating

METHODS = {"bradley-terry": "half", "davidson": "davidson", "rao-kupper": "rao-kupper"}
"""Methods that are Bradley-Terry, with their treatment of ties."""


@click.command("ratings")
@click.argument("votes")
@click.option(
    "--method",
    type=click.Choice([*METHODS, "elo"]),
    default="bradley-terry",
    show_default=True,
    help="Ties are half wins, or have Davidson's or Rao and Kupper's model.",
)
@click.option("--prior", type=click.FloatRange(min=0), help="Imagined games of each against an average one.")
@click.option("--anchor", metavar="NAME", help="Contestant whose rating is the centre; left out: the mean.")
@click.option("--centre", type=float, default=1000.0, show_default=True, help="That rating.")
@click.option("--weight", "weights", multiple=True, metavar="VOTER=W", help="Let a voter's votes count W.")
@click.option("--k", type=float, default=16.0, show_default=True, help="Elo: points a vote can move at most.")
@click.option(
    "--order",
    type=click.Choice(["average", "file"]),
    default="average",
    show_default=True,
    help="Elo: the mean over random orders of the votes, or the order of the file.",
)
@click.option(
    "--by", type=click.Choice(["category", "voter"]), help="Rate the votes of each on their own too."
)
@click.option(
    "--control",
    "features",
    multiple=True,
    metavar="FEATURE",
    help="Hold this equal: length, headers, lists, bold, or NAME with columns NAME_a and NAME_b.",
)
@click.option(
    "--pairs",
    is_flag=True,
    help="Say of every pair whether it is decided, and how many votes would decide it.",
)
@click.option("--chart", type=click.Path(path_type=Path), metavar="FILE.svg", help="Draw the ratings.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def command(
    votes: str,
    weights: tuple[str, ...],
    features: tuple[str, ...],
    by: str | None,
    chart: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Rate every contestant in VOTES, best first.

    Ranks and pairs follow one rule, right for all pairs together; of an open arena's votes also however
    often they are looked at.

    VOTES is a .csv, .jsonl, .json or .parquet file with the columns model_a, model_b, winner, a run folder,
    or a vote store (arena.db, or a database URL).

    \b
    Examples:
      adapter-arena ratings results/demo
      adapter-arena ratings votes.csv --method davidson --by category
      adapter-arena ratings votes.parquet --anchor base --chart ratings.svg
    """
    fit: BradleyTerry | Elo | StyleControlled
    parts: dict[str, BradleyTerry | Elo] = {}
    _refuse_what_would_change_nothing(features, options)
    if features:
        fit = _style_controlled(votes, features, options)
    else:
        table = _load(votes, weights)
        fit = _for_arena(votes, table, _rate(table, options))
        parts = _parts(table, by, options)
    duels = _duels(fit) if options["pairs"] else []
    if chart:
        _draw(chart, fit, options["method"])
    if as_json:
        print_json(_machine(fit, parts, by, options["method"]) | ({"pairs": duels} if duels else {}))
        return
    _show(fit.ratings)
    _show_duels(duels, fit)
    for name, part in parts.items():
        print_text(f"\n{name} ({part.votes} votes)")
        _show(part.ratings)
    print_text(f"\n{fit.settings}")


def _rate(table: Table, options: dict[str, Any]) -> BradleyTerry | Elo:
    from toolkit.ratings import bradley_terry, elo

    if options["method"] == "elo":
        return elo(table, k=options["k"], initial=options["centre"], order=options["order"])
    return bradley_terry(
        table,
        ties=METHODS[options["method"]],  # type: ignore[arg-type] # the choices of --method
        prior=options["prior"],
        anchor=options["anchor"],
        centre=options["centre"],
    )


def _for_arena(source: str, table: Table, fit: BradleyTerry | Elo) -> BradleyTerry | Elo:
    """Decisions of an open arena's votes hold however often they are looked at."""
    from toolkit.cli.vote_sources import open_arena_claims
    from toolkit.ratings import BradleyTerry

    is_open, claims = open_arena_claims(source)
    return fit.for_open_arena(table, claims) if is_open and isinstance(fit, BradleyTerry) else fit


def _duels(fit: BradleyTerry | Elo | StyleControlled) -> list[dict[str, Any]]:
    """Every pair, the better one first."""
    from toolkit.ratings import BradleyTerry

    assert isinstance(fit, BradleyTerry)  # --pairs of others is refused
    order = [row.contestant for row in fit.ratings]
    return [
        {
            "better": one,
            "than": other,
            "expected": fit.probability(one, other),
            "confidence": fit.confidence(one, other),
            "votes_needed": fit.votes_needed(one, other),
        }
        for one, other in combinations(order, 2)
    ]


def _load(votes: str, weights: tuple[str, ...]) -> Table:
    from toolkit.cli.vote_sources import load_votes

    table = load_votes(votes)
    return table.reweighted(_weights(weights)) if weights else table


def _parts(table: Table, by: str | None, options: dict[str, Any]) -> dict[str, BradleyTerry | Elo]:
    from toolkit.errors import RatingError
    from toolkit.ratings import by_category

    if by is None:
        return {}
    parts = by_category(table, lambda part: _rate(part, options), label=by)
    if not parts:
        raise RatingError(f"--by {by}: no vote says its {by}")
    return parts


def _style_controlled(votes: str, features: tuple[str, ...], options: dict[str, Any]) -> StyleControlled:
    from toolkit.cli.vote_sources import load_texts
    from toolkit.ratings import style_controlled

    settings = {name: options[name] for name in ("prior", "anchor", "centre")}
    return style_controlled(load_texts(votes, features), features, **settings)


def _refuse_what_would_change_nothing(features: Sequence[str], options: dict[str, Any]) -> None:
    if features:
        refuse("--control", "method", "by", "weights", "pairs", "k", "order")
    elif options["method"] == "elo":
        refuse("--method elo", "pairs", "prior", "anchor")
    else:
        need("--method elo", "k", "order")


def _weights(pairs: Sequence[str]) -> dict[str, float]:
    """`("gpt-4=0.5",)` -> `{"gpt-4": 0.5}`."""
    weights = {}
    for text in pairs:
        voter, _, number = text.rpartition("=")
        try:
            weights[voter] = float(number)
        except ValueError:
            voter = ""
        if not voter:
            raise click.BadParameter(f"{text}: write it as VOTER=NUMBER", param_hint="--weight")
    return weights


def _machine(
    fit: BradleyTerry | Elo | StyleControlled,
    parts: dict[str, BradleyTerry | Elo],
    by: str | None,
    method: str,
) -> dict[str, Any]:
    value: dict[str, Any] = {"method": method, "votes": fit.votes, "ratings": fit.ratings}
    value |= {key: getattr(fit, key) for key in ("interval", "prior", "note", "k") if hasattr(fit, key)}
    if hasattr(fit, "coefficients"):
        value["coefficients"] = [asdict(part) for part in fit.coefficients]
    if by:
        value[by] = {name: {"votes": part.votes, "ratings": part.ratings} for name, part in parts.items()}
    return value


def _draw(file: Path, fit: BradleyTerry | Elo | StyleControlled, method: str) -> None:
    from toolkit.io import write_text
    from toolkit.svg import Row, interval_chart

    rows = [Row(row.contestant, row.value, row.low, row.high) for row in fit.ratings]
    write_text(file, interval_chart(rows, f"{method} ratings from {fit.votes} votes"))


def _show(ratings: Sequence[Rating]) -> None:
    rows = [
        [row.contestant, f"{row.rank}", f"{row.value:.0f}", _span(row), f"{row.battles}"] for row in ratings
    ]
    print_table(["contestant", "rank", "rating", "95% interval", "battles"], rows)


def _show_duels(duels: Sequence[dict[str, Any]], fit: BradleyTerry | Elo | StyleControlled) -> None:
    from toolkit.ratings import BradleyTerry

    if not duels or not isinstance(fit, BradleyTerry):
        return
    rows = [
        [
            f"{duel['better']} over {duel['than']}",
            f"{duel['expected']:.0%}",
            f"{duel['confidence']:.1%}",
            fit.votes_needed_text(duel["better"], duel["than"]),
        ]
        for duel in duels
    ]
    click.echo()
    print_table(["pair", "points expected", "sure of the order", "votes still needed (range)"], rows)


def _span(row: Rating) -> str:
    return "" if row.low is None or row.high is None else f"{row.low:.0f}..{row.high:.0f}"
