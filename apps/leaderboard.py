"""Leaderboard page: ratings with intervals, win rates, Elo over time."""

import json
import random
from collections.abc import Sequence
from typing import Literal

import streamlit as st

from apps import charts
from apps.cached_statistics import (
    Selection,
    Standings,
    flagged_voters,
    judge_votes,
    simulated_votes,
    standings,
    votes_of,
)
from apps.session import service
from apps.vote_widgets import show_table
from toolkit.arena.markdown import safe_markdown
from toolkit.arena.store import OWN_QUESTIONS, VoteRow
from toolkit.types import WINNERS, Rating, sorted_pair


def page() -> None:
    st.title("Leaderboard", anchor=False)
    chosen = _choose()
    found = standings(chosen)
    if found is None:
        st.write("No votes yet. The first ones will show here.")
        return
    if chosen.source == "Simulated":
        st.caption("Simulated voters are no people; their votes count nowhere else.")
    st.write(_sentence(found.fit.ratings, found.votes, found.voters))
    if found.firm:
        st.caption(safe_markdown(found.firm))
    _chart(charts.intervals(found.fit.ratings), key="intervals")
    rows = [_row(rating, found) for rating in found.fit.ratings]
    with st.container(key="ratings"):
        show_table(rows)
    order = "the mean over random orders of the votes" if found.online else "of the votes as they came"
    even = " At equal length: what the ratings would be if all answers were equally long."
    st.caption(
        f"Bradley-Terry ratings. {found.fit.settings} Rank is 1 + the number of contestants decided to be "
        f"better. Elo is {order}.{even if found.even else ''}"
    )
    if found.sides:
        st.header("People and judge", anchor=False)
        _chart(charts.beside(found.sides), key="beside")
        st.write(found.agreement)
    _details(found, chosen)


def _chart(chart: charts.Chart, key: str, width: Literal["stretch", "content"] = "stretch") -> None:
    st.altair_chart(charts.with_page_ink(chart), key=key, width=width)


def _choose() -> Selection:
    votes, source, category, apart = service().votes(), "People", "all", []
    categories = sorted(votes.categories) + [OWN_QUESTIONS] * bool(votes.own_questions)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        sources = ["People", *(["Judge", "Both"] if judge_votes() else [])]
        sources += ["Simulated"] if simulated_votes() else []
        if len(sources) > 1:
            source = str(st.segmented_control("Votes of", sources, default="People", required=True))
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
    return Selection(source, category, tuple(apart), odd if without else frozenset())


def _sentence(ratings: Sequence[Rating], votes: int, voters: int) -> str:
    """The answer first."""
    leaders = [safe_markdown(rating.contestant) for rating in ratings if rating.rank == 1]
    by = f"{votes} votes by {voters} {'voter' if voters == 1 else 'voters'}."
    if len(leaders) == 1:
        return f"**{leaders[0]}** is decided to be the best of {len(ratings)}. {by}"
    return (
        f"{', '.join(f'**{name}**' for name in leaders)} lead; these votes cannot tell them apart yet. {by}"
    )


def _row(rating: Rating, found: Standings) -> dict[str, str]:
    name = rating.contestant
    if found.online:
        elo = _figure(next(row for row in found.online.ratings if row.contestant == name))
    else:
        elo = f"{found.history.values[-1][found.history.names.index(name)]:.0f}"
    row = {
        "Rank": str(rating.rank),
        "Contestant": name,
        "Rating": f"{rating.value:.0f}",
        "95% interval": _span(rating),
        "Elo": elo,
        "Battles": str(rating.battles),
    }
    if found.even:
        row["At equal length"] = _figure(found.even[name]) if name in found.even else ""
    return row


def _figure(rating: Rating) -> str:
    return f"{rating.value:.0f} ({_span(rating)})"


def _span(rating: Rating) -> str:
    return "" if rating.low is None or rating.high is None else f"{rating.low:.0f} to {rating.high:.0f}"


def _details(found: Standings, chosen: Selection) -> None:
    order = [rating.contestant for rating in found.fit.ratings]
    many = len(order) > charts.FEW
    left, right = (st.container(), st.container()) if many else st.columns(2, gap="large")
    with left:
        st.header("Who beats whom", anchor=False)
        with st.container(key="matrix"):
            _chart(charts.win_rates(found.rates, order), key="rates", width="content" if many else "stretch")
        st.caption("Percent of battles that the row won against the column; a tie is half a win.")
    with right:
        st.header("Elo over time", anchor=False)
        _chart(charts.over_time(found.history, order), key="history")
        st.caption("As the votes came; of many contestants the leaders are in colour.")
    st.header("Votes of each pair", anchor=False)
    pairs = [
        {
            "Pair": f"{row['contestant']} against {row['against']}",
            "Votes": str(row["votes"]),
            "Won": f"{row['rate']:.0%}",
        }
        for row in found.rates
        if row["contestant"] < row["against"]
    ]
    with st.expander(f"{len(pairs)} pairs") if many else st.container():
        show_table(pairs)
    st.download_button(
        "Download these votes",
        lambda: public_votes(votes_of(chosen)[0]),
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
