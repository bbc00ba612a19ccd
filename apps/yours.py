"""Your votes: what this voter chose, with the names."""

from __future__ import annotations

import streamlit as st

from apps.session import desk, voter


def page() -> None:
    st.title("Your votes", anchor=False)
    history = desk().store.history(voter())
    if not history:
        st.write("None yet.")
        return
    rows = [
        {
            "prompt": reveal.ballot.messages[-1].content,
            "A": reveal.ballot.contestant_a,
            "B": reveal.ballot.contestant_b,
            "your vote": (reveal.cast.outcome or "").replace("_", " "),
            "why": ", ".join(reveal.cast.tags),
            "comment": reveal.cast.comment,
        }
        for reveal in history
    ]
    st.dataframe(rows, hide_index=True)
