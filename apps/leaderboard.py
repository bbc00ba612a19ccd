"""Leaderboard: who is better, and how sure the votes are."""

from __future__ import annotations

import streamlit as st

from apps.session import desk
from toolkit.errors import RatingError
from toolkit.ratings import bradley_terry


def page() -> None:
    st.title("Leaderboard", anchor=False)
    votes = desk().store.votes(desk().contest.run)
    st.caption(f"{len(votes)} votes. Bradley-Terry ratings with 95% intervals.")
    try:
        ratings = bradley_terry(votes).ratings
    except RatingError as error:
        st.write(f"No ratings yet: {error}")
        return
    rows = [
        {
            "rank": rating.rank,
            "contestant": rating.contestant,
            "rating": round(rating.value),
            "low": None if rating.low is None else round(rating.low),
            "high": None if rating.high is None else round(rating.high),
            "battles": rating.battles,
        }
        for rating in ratings
    ]
    st.dataframe(rows, hide_index=True)
