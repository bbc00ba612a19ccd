"""Your votes page: this voter's history with names."""

from __future__ import annotations

import streamlit as st

from apps.session import can_sign_in, service, show_errors, voter
from apps.vote_widgets import reasons_text, show_table
from toolkit.arena.battles import Reveal
from toolkit.arena.markdown import safe_markdown

SHOWN = 90
"""Characters of a prompt."""


def page() -> None:
    st.title("Your votes", anchor=False)
    history = service().history(voter())
    if any(not reveal.ballot.contestant_a for reveal in history):
        st.write("Names are shown when you finish; answers whose author you know are not put to you again.")
        st.button("Finish and show the names", type="primary", on_click=_finish)
    if history:
        st.caption(f"The last {len(history)}, newest first." if len(history) > 1 else "One so far.")
    show_table([_row(reveal) for reveal in history], "None yet.")
    if can_sign_in() and st.user.get("is_logged_in"):
        st.caption(f"Signed in as {safe_markdown(str(st.user.get('email') or st.user.get('name')))}.")
        st.button("Sign out", type="tertiary", on_click=st.logout)
    elif can_sign_in():
        st.caption("Your votes are kept by a cookie of this browser. Signed in, they are yours everywhere.")
        st.button("Sign in", on_click=st.login)
    st.caption(f"You are known here as {voter()}: ask the administrator by this name to delete your data.")


def _finish() -> None:
    with show_errors("Not finished"):
        service().finish(voter())
        st.session_state.pop("prepared", None)


def _row(reveal: Reveal) -> dict[str, str]:
    ballot, outcome = reveal.ballot, str(reveal.cast.outcome)
    prompt = " ".join(ballot.messages[-1].content.split())
    a, b, both = ballot.contestant_a, ballot.contestant_b, f"{ballot.contestant_a}, {ballot.contestant_b}"
    if not a:
        a, b, both = "answer A", "answer B", ""
    verdict = {"tie": "tie", "both_bad": "both bad"}.get(outcome)
    return {
        "Your vote": verdict or safe_markdown(a if outcome == "a" else b),
        "Against": safe_markdown({"a": b, "b": a}.get(outcome, both)),
        "Prompt": safe_markdown(prompt if len(prompt) <= SHOWN else prompt[:SHOWN] + "..."),
        "Why": reasons_text(reveal.cast) if reveal.cast.tags or reveal.cast.comment else "",
    }
