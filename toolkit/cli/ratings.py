"""Commands on files of votes: ratings, agreement."""

from __future__ import annotations

import dataclasses
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from toolkit.cli.options import PATH, choice, need, refuse
from toolkit.cli.output import print_json, print_result, print_table, print_text, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from toolkit.ratings import BradleyTerry, Elo, StyleControlled, Table
    from toolkit.ratings.agreement import Agreement, Estimate
    from toolkit.types import Rating

METHODS = {"bradley-terry": "half", "davidson": "davidson", "rao-kupper": "rao-kupper"}
"""Methods that are Bradley-Terry, with their treatment of ties."""

AGREEMENTS = {
    "agreement": "agreement",
    "agreement_without_ties": "without ties",
    "kappa": "Cohen's kappa",
    "alpha": "Krippendorff's alpha",
}


@click.command("ratings")
@click.argument("votes")
@choice("--method", *METHODS, "elo", help="Ties are half wins, or have Davidson's or Rao and Kupper's model.")
@click.option("--prior", type=click.FloatRange(min=0), help="Prior: virtual games against an average one.")
@click.option("--anchor", metavar="NAME", help="Contestant whose rating is the centre; left out: the mean.")
@click.option("--centre", type=float, default=1000.0, help="Rating of the anchor, or the mean of all.")
@click.option("--weight", "weights", multiple=True, metavar="VOTER=W", help="Weight of a voter's votes.")
@click.option("--k", type=float, default=16.0, help="Elo: points a vote can move at most.")
@choice("--order", "average", "file", help="Elo: the mean over random orders of the votes, or the file's.")
@click.option("--by", type=click.Choice(["category", "voter"]), help="Also rate each category or voter.")
@click.option(
    "--control",
    "features",
    multiple=True,
    metavar="FEATURE",
    help="Hold this equal: length, headers, lists, bold, or NAME with columns NAME_a and NAME_b.",
)
@click.option(
    "--pairs", is_flag=True, help="Whether each pair is decided, or how many votes would decide it."
)
@click.option("--chart", type=PATH, metavar="FILE.svg", help="Draw the ratings.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def ratings_command(
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
    method = options["method"]
    if features:
        refuse("--control", "method", "by", "weights", "pairs", "k", "order")
        fit = _style_controlled(votes, features, options)
    else:
        if method == "elo":
            refuse("--method elo", "pairs", "prior", "anchor")
        else:
            need("--method elo", "k", "order")
        fit, parts = _rate_votes(votes, weights, by, options)
    duels = _duels(fit) if options["pairs"] else []
    if chart:
        _draw(chart, fit, method)
    if as_json:
        fields = ("votes", "ratings", "interval", "prior", "note", "k", "coefficients")
        value: dict[str, Any] = {"method": method}
        value |= {key: getattr(fit, key) for key in fields if hasattr(fit, key)}
        if by:
            value[by] = {name: {"votes": part.votes, "ratings": part.ratings} for name, part in parts.items()}
        print_json(value | ({"pairs": duels} if duels else {}))
        return
    _print_ratings(fit.ratings)
    if duels:
        _print_duels(duels, fit)
    for name, part in parts.items():
        print_text(f"\n{name} ({part.votes} votes)")
        _print_ratings(part.ratings)
    print_text(f"\n{fit.settings}")


def _rate_votes(
    source: str, weights: tuple[str, ...], by: str | None, options: dict[str, Any]
) -> tuple[BradleyTerry | Elo, dict[str, BradleyTerry | Elo]]:
    """Ratings from all votes, and from those of each category or voter."""
    from toolkit.cli.votes import load_votes, open_arena_claims
    from toolkit.errors import RatingError
    from toolkit.ratings import BradleyTerry, by_category

    table = load_votes(source)
    if weights:
        table = table.reweighted(_weights(weights))
    fit = _rate(table, options)
    is_open, claims = open_arena_claims(source)
    if is_open and isinstance(fit, BradleyTerry):  # decisions hold however often such votes are looked at
        fit = fit.for_open_arena(table, claims)
    parts = by_category(table, lambda part: _rate(part, options), label=by) if by else {}
    if by and not parts:
        raise RatingError(f"--by {by}: no vote says its {by}")
    return fit, parts


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


def _style_controlled(votes: str, features: tuple[str, ...], options: dict[str, Any]) -> StyleControlled:
    """Ratings at equal style, from a vote file that has the features' columns, or the texts."""
    from toolkit.cli.votes import DATABASES
    from toolkit.errors import DataError
    from toolkit.ratings import RATED, read_votes, style_controlled

    path = Path(votes)
    if "://" in votes or path.is_dir() or path.suffix in DATABASES:
        raise DataError(f"{votes}: --control needs a vote file; `votes export --texts` writes one")
    columns = [f"{name}_{side}" for name in (*features, "conversation") for side in ("a", "b")]
    settings = {name: options[name] for name in ("prior", "anchor", "centre")}
    return style_controlled(read_votes(path, columns=[*RATED, *columns]), features, **settings)


def _duels(fit: BradleyTerry | Elo | StyleControlled) -> list[dict[str, Any]]:
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


def _draw(file: Path, fit: BradleyTerry | Elo | StyleControlled, method: str) -> None:
    from toolkit.io import write_text
    from toolkit.svg import Row, interval_chart

    rows = [Row(row.contestant, row.value, row.low, row.high) for row in fit.ratings]
    write_text(file, interval_chart(rows, f"{method} ratings from {fit.votes} votes"))


def _print_ratings(ratings: Sequence[Rating]) -> None:
    rows = []
    for row in ratings:
        span = "" if row.low is None or row.high is None else f"{row.low:.0f}..{row.high:.0f}"
        rows.append([row.contestant, f"{row.rank}", f"{row.value:.0f}", span, f"{row.battles}"])
    print_table(["contestant", "rank", "rating", "95% interval", "battles"], rows)


def _print_duels(duels: Sequence[dict[str, Any]], fit: Any) -> None:
    rows = []
    for duel in duels:
        better, than = duel["better"], duel["than"]
        figures = [f"{duel['expected']:.0%}", f"{duel['confidence']:.1%}"]
        rows.append([f"{better} over {than}", *figures, fit.votes_needed_text(better, than)])
    click.echo()
    print_table(["pair", "points expected", "sure of the order", "votes still needed (range)"], rows)


@click.command("agreement")
@click.argument("votes")
@click.argument("reference")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def agreement_command(votes: str, reference: str, *, as_json: bool) -> None:
    """Agreement of VOTES (a judge's) with REFERENCE (people's): vote files, arena.db or database URLs.

    Taken over the pairs of answers that both judged, found by `question_id` and the contestants' names.

    \b
    Example:
      adapter-arena agreement results/demo/votes.jsonl results/demo/arena.db
    """
    from toolkit.cli.votes import load_votes
    from toolkit.ratings.agreement import agreement, agreement_sentence

    found = agreement(load_votes(votes), load_votes(reference))
    whole = {"n": found.between.agreement.n, **dataclasses.asdict(found.between)}
    whole |= {"trust": agreement_sentence(found), "within_reference": found.within}
    parts: list[tuple[str, Agreement]] = [("all", found.between), *found.categories.items()]
    if found.within:
        parts.append(("within the reference", found.within))
    rows = []
    for name, part in parts:
        figures = [_estimate(getattr(part, figure)) for figure in AGREEMENTS]
        rows.append([name, str(part.agreement.n), *figures])
    text = f"{table(['', 'pairs', *AGREEMENTS.values()], rows)}\n\n{agreement_sentence(found)}"
    print_result(whole | {"categories": dict(found.categories)}, text, as_json=as_json)


def _estimate(figure: Estimate) -> str:
    if figure.value is None or figure.low is None:
        return "-" if figure.value is None else f"{figure.value:.3f}"
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"
