"""Leaderboard page: ratings with intervals, win rates, Elo over time."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import streamlit as st

from apps import charts
from apps.session import arena_claims_of_run, flagged_voters, judge_votes, service, votes_frame
from toolkit.arena.markdown import safe_markdown
from toolkit.arena.store import VoteRow
from toolkit.arena.tally import add_lengths, win_rates
from toolkit.errors import RatingError
from toolkit.types import WINNERS, Rating, Vote, sorted_pair

if TYPE_CHECKING:
    import altair as alt

    from toolkit.ratings import BradleyTerry, Elo, History

SOURCES = ("People", "Judge", "Both")

LARGE, KEEP_SECONDS = 5_000, 30
"""Above so many votes the figures on the page are up to so many seconds old."""


@dataclass(frozen=True)
class Selection:
    """What is rated; equal selections have equal figures."""

    run: str
    version: int
    """Of the votes; of many, the time in steps of `KEEP_SECONDS`."""
    source: str
    category: str
    apart: tuple[str, ...]
    """Kinds of votes that are kept apart by default and are to count here."""
    without: frozenset[str]
    """Voters left out."""


@dataclass(frozen=True)
class Standings:
    """All figures of the page."""

    fit: BradleyTerry
    online: Elo
    history: History
    even: dict[str, Rating]
    rates: list[dict[str, Any]]
    votes: int
    voters: int


def page() -> None:
    st.title("Leaderboard", anchor=False)
    chosen = _choose()
    found = _standings(chosen)
    if found is None:
        st.write("No votes yet. The first ones will show here.")
        return
    st.write(_sentence(found.fit.ratings, found.votes, found.voters))
    _chart(charts.intervals(found.fit.ratings), key="intervals")
    spread = {row.contestant: row for row in found.online.ratings}
    rows = [_row(rating, spread[rating.contestant], found.even) for rating in found.fit.ratings]
    st.container(key="ratings").table(rows, hide_index=True, border="horizontal")
    st.caption(
        f"Bradley-Terry ratings. {found.fit.settings} Rank is 1 + the number of contestants decided to be "
        "better. Elo is the mean over random orders of the votes."
        + (
            " At equal length: what the ratings would be if all answers were equally long."
            if found.even
            else ""
        )
    )
    if judge_votes():
        _beside(chosen)
    _details(found, chosen)


def _chart(chart: alt.LayerChart | alt.FacetChart, key: str) -> None:
    st.altair_chart(charts.with_theme_ink(chart, dark=st.context.theme.type == "dark"), key=key)


def _choose() -> Selection:
    """Draw the filters."""
    votes, source, category, apart = service().votes(), "People", "all", []
    categories = sorted({row.category for row in votes.rows if row.category})
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        if judge_votes():
            source = str(st.segmented_control("Votes of", SOURCES, default="People", required=True))
        if categories:
            category = st.selectbox("Category", ["all", *categories], width=220)
        odd = flagged_voters()
        label = f"Without {len(odd)} conspicuous {'voter' if len(odd) == 1 else 'voters'}"
        without = bool(odd) and st.toggle(label, help="Admin shows the evidence for each.")
        for kind, count, what in (
            ("repeats", len(votes.repeats), "votes on answers seen before"),
            ("crowded", len(votes.crowded), "votes of many voters at one address"),
        ):
            if count and st.toggle(f"With {count} {what}", key=f"with-{kind}"):
                apart.append(kind)
    many = len(votes.rows) > LARGE
    version = int(time.time() // KEEP_SECONDS) if many else votes.version
    left_out = frozenset(odd if without else ())
    return Selection(service().pool.run, version, source, category, tuple(apart), left_out)


def _votes_of(chosen: Selection) -> tuple[list[VoteRow], list[Vote]]:
    """People's votes and the judge's."""
    votes = service().votes()
    people = votes.rows + [row for kind in chosen.apart for row in getattr(votes, kind)]
    categories = (chosen.category,) if chosen.category != "all" else None
    people = [
        row
        for row in people
        if row.voter not in chosen.without and (categories is None or row.category in categories)
    ]
    return people, [v for v in judge_votes() if categories is None or v.category in categories]


@st.cache_data(show_spinner=False, max_entries=20)
def _standings(chosen: Selection) -> Standings | None:
    """The figures of a selection; `None` without votes."""
    from toolkit.ratings import bradley_terry, elo, elo_history, tabulate

    people, judge = _votes_of(chosen)
    votes: Sequence[Vote | VoteRow] = people if chosen.source == "People" else judge
    if chosen.source == "Both":
        votes = [*people, *judge]
    if not votes:
        return None
    table = tabulate(votes_frame(votes))
    fit = bradley_terry(table)
    if people and chosen.source != "Judge":
        fit = fit.for_open_arena(table, arena_claims_of_run())
    return Standings(
        fit=fit,
        online=elo(table),
        history=elo_history(table),
        even=_at_equal_length(votes),
        rates=win_rates(votes),
        votes=len(votes),
        voters=len({vote.voter for vote in votes}),
    )


def _sentence(ratings: Sequence[Rating], votes: int, voters: int) -> str:
    """The answer first."""
    leaders = [safe_markdown(rating.contestant) for rating in ratings if rating.rank == 1]
    by = f"{votes} votes by {voters} {'voter' if voters == 1 else 'voters'}."
    if len(leaders) == 1:
        return f"**{leaders[0]}** is decided to be the best of {len(ratings)}. {by}"
    return (
        f"{', '.join(f'**{name}**' for name in leaders)} lead; these votes cannot tell them apart yet. {by}"
    )


def _at_equal_length(votes: Sequence[Vote | VoteRow]) -> dict[str, Rating]:
    """Contestant -> length-controlled rating; empty where it is not identifiable."""
    import pandas as pd

    from toolkit.ratings import style_controlled

    rows = add_lengths(votes, service().pool, service().store.answer_texts(service().pool.run))
    try:
        return {row.contestant: row for row in style_controlled(pd.DataFrame(rows)).ratings} if rows else {}
    except RatingError:
        return {}


def _row(rating: Rating, online: Rating, even: dict[str, Rating]) -> dict[str, str]:
    row = {
        "Rank": str(rating.rank),
        "Contestant": safe_markdown(rating.contestant),
        "Rating": f"{rating.value:.0f}",
        "95% interval": _span(rating),
        "Elo": f"{online.value:.0f} ({_span(online)})",
        "Battles": str(rating.battles),
    }
    if even:
        row["At equal length"] = _figure(even.get(rating.contestant))
    return row


def _figure(rating: Rating | None) -> str:
    return "" if rating is None else f"{rating.value:.0f} ({_span(rating)})"


def _beside(chosen: Selection) -> None:
    """People's ratings and the judge's, and how far the two agree."""
    from toolkit.ratings import bradley_terry, tabulate
    from toolkit.ratings.agreement import agreement, agreement_sentence

    votes = _votes_of(chosen)
    if not all(votes):
        return
    st.header("People and judge", anchor=False)
    people, judge = (tabulate(votes_frame(own)) for own in votes)
    sides = {"People": bradley_terry(people).ratings, "Judge": bradley_terry(judge).ratings}
    _chart(charts.beside(sides), key="beside")
    try:
        found = agreement(judge, people)
    except RatingError:
        st.write("The judge and the people have no pair of answers in common.")
    else:
        st.write(f"The judge's votes against the people's. {agreement_sentence(found)}")


def _span(rating: Rating) -> str:
    return "" if rating.low is None or rating.high is None else f"{rating.low:.0f} to {rating.high:.0f}"


def _details(found: Standings, chosen: Selection) -> None:
    order = [rating.contestant for rating in found.fit.ratings]
    left, right = st.columns(2, gap="large")
    with left:
        st.header("Who beats whom", anchor=False)
        _chart(charts.win_rates(found.rates, order), key="rates")
        st.caption("Share of battles that the row won against the column; a tie is half a win.")
    with right:
        st.header("Elo over time", anchor=False)
        _chart(charts.over_time(found.history, found.online.ratings), key="history")
        st.caption("As the votes came; of many contestants the leaders are in colour.")
    st.header("Votes of each pair", anchor=False)
    pairs = [
        {
            "Pair": safe_markdown(f"{row['contestant']} against {row['against']}"),
            "Votes": str(row["votes"]),
            "Won": f"{row['rate']:.0%}",
        }
        for row in found.rates
        if row["contestant"] < row["against"]
    ]
    st.table(pairs, hide_index=True, border="horizontal")
    st.download_button(
        "Download these votes",
        lambda: public_votes(_votes_of(chosen)[0]),
        "votes.jsonl",
        "application/jsonl",
        icon=":material/download:",
    )
    st.caption("Pair, outcome and category of people's votes, in no order.")


def public_votes(rows: Sequence[VoteRow]) -> str:
    """Votes as JSONL with nothing that helps to work out a voter, a side or the next battle."""
    lines = []
    for row in rows:
        one, other = sorted_pair(row.model_a, row.model_b)
        swapped = {"a": "model_b", "b": "model_a"}.get(row.outcome) if one != row.model_a else None
        fields = {"model_a": one, "model_b": other, "winner": swapped or WINNERS[row.outcome]}
        lines.append(json.dumps({**fields, "category": row.category}, ensure_ascii=False) + "\n")
    random.SystemRandom().shuffle(lines)
    return "".join(lines)
