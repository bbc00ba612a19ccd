"""Leaderboard: who is better, and how sure the votes are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import streamlit as st

from apps import charts
from apps.session import desk, judge_votes, suspects
from toolkit.arena.overview import win_rates
from toolkit.errors import RatingError
from toolkit.types import Rating, Vote

if TYPE_CHECKING:
    from toolkit.ratings import History

SOURCES = ("People", "Judge", "Both")


def page() -> None:
    from toolkit.ratings import bradley_terry, elo, elo_history

    st.title("Leaderboard", anchor=False)
    votes = _chosen_votes()
    try:
        fit = bradley_terry(votes)
        online = elo(votes)
    except RatingError:
        st.write("No votes yet. The first ones will show here.")
        return
    st.write(_sentence(fit.ratings, len(votes), len({vote.voter for vote in votes})))
    st.altair_chart(charts.intervals(fit.ratings), key="intervals")
    spread = {row.contestant: row for row in online.ratings}
    rows = [_row(rating, spread[rating.contestant]) for rating in fit.ratings]
    st.container(key="ratings").table(rows, hide_index=True, border="horizontal")
    st.caption(
        "Bradley-Terry ratings with 95% intervals. Rank is 1 + the number of contestants that are surely "
        "better. Elo's span is that of 95% of random orders of the same votes."
    )
    _details(votes, [rating.contestant for rating in fit.ratings], elo_history(votes))


def _chosen_votes() -> list[Vote]:
    """The filters, and the votes they leave."""
    people = desk().store.votes(desk().contest.run)
    judged = judge_votes()
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        source = (
            st.segmented_control("Votes of", SOURCES, default="People", required=True) if judged else "People"
        )
        votes = {"People": people, "Judge": judged, "Both": people + judged}[source or "People"]
        categories = sorted({vote.category for vote in votes if vote.category})
        if categories:
            category = st.selectbox("Category", ["all", *categories])
            votes = [vote for vote in votes if category in ("all", vote.category)]
        odd = suspects()
        label = (
            "Without one voter who does not fit"
            if len(odd) == 1
            else f"Without {len(odd)} voters who do not fit"
        )
        if odd and st.toggle(label, help="Their votes are unlike everyone else's."):
            votes = [vote for vote in votes if vote.voter not in odd]
    return votes


def _sentence(ratings: Sequence[Rating], votes: int, voters: int) -> str:
    """The answer first."""
    leaders = [rating.contestant for rating in ratings if rating.rank == 1]
    by = f"{votes} votes by {voters} {'voter' if voters == 1 else 'voters'}."
    if len(leaders) == 1:
        return f"**{leaders[0]}** is the best of {len(ratings)}, as far as these votes can tell. {by}"
    return (
        f"{', '.join(f'**{name}**' for name in leaders)} lead; these votes cannot tell them apart yet. {by}"
    )


def _row(rating: Rating, online: Rating) -> dict[str, str]:
    return {
        "Rank": str(rating.rank),
        "Contestant": rating.contestant,
        "Rating": f"{rating.value:.0f}",
        "95% interval": _span(rating),
        "Elo": f"{online.value:.0f} ({_span(online)})",
        "Battles": str(rating.battles),
    }


def _span(rating: Rating) -> str:
    return "" if rating.low is None or rating.high is None else f"{rating.low:.0f} to {rating.high:.0f}"


def _details(votes: list[Vote], order: list[str], history: History) -> None:
    rates = win_rates(votes)
    left, right = st.columns(2, gap="large")
    with left:
        st.subheader("Who beats whom", anchor=False)
        st.altair_chart(charts.win_rates(rates, order), key="rates")
        st.caption("Share of battles that the row won against the column; a tie is half a win.")
    with right:
        st.subheader("Elo over time", anchor=False)
        st.altair_chart(charts.over_time(history), key="history")
    st.subheader("Votes of each pair", anchor=False)
    pairs = [
        {
            "Pair": f"{row['contestant']} against {row['against']}",
            "Votes": str(row["votes"]),
            "Won": f"{row['rate']:.0%}",
        }
        for row in rates
        if row["contestant"] < row["against"]
    ]
    st.table(pairs, hide_index=True, border="horizontal")
    lines = "".join(vote.model_dump_json() + "\n" for vote in votes)
    st.download_button(
        "Download these votes", lines, "votes.jsonl", "application/jsonl", icon=":material/download:"
    )
