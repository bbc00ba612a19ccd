"""Leaderboard page: ratings with intervals, win rates, Elo over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import streamlit as st

from apps import charts
from apps.session import arena_claims_of_run, flagged_voters, judge_votes, service, votes_with_texts
from toolkit.arena.markdown import safe_markdown
from toolkit.arena.tally import add_lengths, win_rates
from toolkit.errors import RatingError
from toolkit.types import Rating, Vote

if TYPE_CHECKING:
    import altair as alt

    from toolkit.ratings import Elo

SOURCES = ("People", "Judge", "Both")


def page() -> None:
    from toolkit.ratings import bradley_terry, elo

    st.title("Leaderboard", anchor=False)
    votes, people, judge = _chosen_votes()
    try:
        fit = bradley_terry(votes)
        if people and votes != judge:
            fit = fit.for_open_arena(votes, arena_claims_of_run())
        online = elo(votes)
    except RatingError:
        st.write("No votes yet. The first ones will show here.")
        return
    st.write(_sentence(fit.ratings, len(votes), len({vote.voter for vote in votes})))
    _chart(charts.intervals(fit.ratings), key="intervals")
    spread = {row.contestant: row for row in online.ratings}
    even = _at_equal_length(votes)
    rows = [_row(rating, spread[rating.contestant], even) for rating in fit.ratings]
    st.container(key="ratings").table(rows, hide_index=True, border="horizontal")
    st.caption(
        f"Bradley-Terry ratings. {fit.settings} Rank is 1 + the number of contestants decided to be better. "
        "Elo is the mean over random orders of the votes."
        + (" At equal length: what the ratings would be if all answers were equally long." if even else "")
    )
    if people and judge:
        _beside(people, judge)
    _details(votes, [rating.contestant for rating in fit.ratings], online)


def _chart(chart: alt.LayerChart | alt.FacetChart, key: str) -> None:
    st.altair_chart(charts.with_theme_ink(chart, dark=st.context.theme.type == "dark"), key=key)


def _chosen_votes() -> tuple[list[Vote], list[Vote], list[Vote]]:
    """Draw the filters; returns the votes to rate, people's votes and the judge's."""
    people, judge = service().store.votes(service().pool.run), judge_votes()
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        source = (
            st.segmented_control("Votes of", SOURCES, default="People", required=True) if judge else "People"
        )
        categories = sorted({vote.category for vote in people + judge if vote.category})
        if categories:
            category = st.selectbox("Category", ["all", *categories], width=220)
            people, judge = (
                [vote for vote in votes if category in ("all", vote.category)] for votes in (people, judge)
            )
        odd = flagged_voters()
        label = (
            "Without one voter who does not fit"
            if len(odd) == 1
            else f"Without {len(odd)} voters who do not fit"
        )
        if odd and st.toggle(label, help="Their votes are unlike everyone else's."):
            people = [vote for vote in people if vote.voter not in odd]
    chosen = {"People": people, "Judge": judge, "Both": people + judge}
    return chosen[source or "People"], people, judge


def _sentence(ratings: Sequence[Rating], votes: int, voters: int) -> str:
    """The answer first."""
    leaders = [safe_markdown(rating.contestant) for rating in ratings if rating.rank == 1]
    by = f"{votes} votes by {voters} {'voter' if voters == 1 else 'voters'}."
    if len(leaders) == 1:
        return f"**{leaders[0]}** is decided to be the best of {len(ratings)}. {by}"
    return (
        f"{', '.join(f'**{name}**' for name in leaders)} lead; these votes cannot tell them apart yet. {by}"
    )


def _at_equal_length(votes: Sequence[Vote]) -> dict[str, Rating]:
    """Contestant -> length-controlled rating; empty where it is not identifiable."""
    import pandas as pd

    from toolkit.ratings import style_controlled

    rows = add_lengths(votes, service().pool, votes_with_texts())
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


def _beside(people: Sequence[Vote], judge: Sequence[Vote]) -> None:
    """People's ratings and the judge's, and how far the two agree."""
    from toolkit.ratings import bradley_terry, tabulate
    from toolkit.ratings.agreement import agreement, agreement_sentence

    st.header("People and judge", anchor=False)
    sides = {"People": bradley_terry(people).ratings, "Judge": bradley_terry(judge).ratings}
    _chart(charts.beside(sides), key="beside")
    try:
        found = agreement(tabulate(judge), tabulate(people))
    except RatingError:
        st.write("The judge and the people have no pair of answers in common.")
    else:
        st.write(f"The judge's votes against the people's. {agreement_sentence(found)}")


def _span(rating: Rating) -> str:
    return "" if rating.low is None or rating.high is None else f"{rating.low:.0f} to {rating.high:.0f}"


def _details(votes: list[Vote], order: list[str], online: Elo) -> None:
    from toolkit.ratings import elo_history

    rates = win_rates(votes)
    left, right = st.columns(2, gap="large")
    with left:
        st.header("Who beats whom", anchor=False)
        _chart(charts.win_rates(rates, order), key="rates")
        st.caption("Share of battles that the row won against the column; a tie is half a win.")
    with right:
        st.header("Elo over time", anchor=False)
        _chart(charts.over_time(elo_history(votes), online.ratings), key="history")
        st.caption("The bars at the end are 95% intervals of the mean over random orders of the votes.")
    st.header("Votes of each pair", anchor=False)
    pairs = [
        {
            "Pair": safe_markdown(f"{row['contestant']} against {row['against']}"),
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
