"""`adapter-arena agreement`: how far two sets of votes agree."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from toolkit.cli.output import print_json, print_table, print_text

if TYPE_CHECKING:
    from toolkit.ratings.agreement import Agreement, Estimate

NAMES = {
    "agreement": "agreement",
    "agreement_without_ties": "without ties",
    "kappa": "Cohen's kappa",
    "alpha": "Krippendorff's alpha",
}


@click.command("agreement")
@click.argument("votes")
@click.argument("reference")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(votes: str, reference: str, *, as_json: bool) -> None:
    """Set VOTES, a judge's say, against REFERENCE, people's say: vote files, arena.db or database URLs.

    Taken over the pairs of answers that both judged, found by `question_id` and the contestants' names.

    \b
    Example:
      adapter-arena agreement results/demo/votes.jsonl results/demo/arena.db
    """
    from toolkit.cli.vote_sources import load_votes
    from toolkit.ratings.agreement import agreement, agreement_sentence

    found = agreement(load_votes(votes), load_votes(reference))
    if as_json:
        plain = dataclasses.asdict(found.between)
        whole = {"n": found.between.agreement.n, **plain, "trust": agreement_sentence(found)}
        whole["within_reference"] = dataclasses.asdict(found.within) if found.within else None
        whole["categories"] = {name: dataclasses.asdict(part) for name, part in found.categories.items()}
        print_json(whole)
        return
    rows = [_row("all", found.between)]
    rows += [_row(name, part) for name, part in found.categories.items()]
    if found.within:
        rows.append(_row("within the reference", found.within))
    print_table(["", "pairs", *NAMES.values()], rows)
    print_text(f"\n{agreement_sentence(found)}")


def _row(name: str, part: Agreement) -> list[str]:
    figures: list[Estimate] = [getattr(part, figure) for figure in NAMES]
    return [name, str(part.agreement.n), *(_text(figure) for figure in figures)]


def _text(figure: Estimate) -> str:
    if figure.value is None or figure.low is None:
        return "-" if figure.value is None else f"{figure.value:.3f}"
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"
