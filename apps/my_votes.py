"""Your votes page: this voter's history with names."""

from __future__ import annotations

import streamlit as st

from apps.session import can_sign_in, service, show_errors, voter
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
        st.table([_row(reveal) for reveal in history], hide_index=True, border="horizontal")
    else:
        st.write("None yet.")
    if can_sign_in():
        _account()
    st.caption(f"You are known here as {voter()}: ask the administrator by this name to delete your data.")


def _finish() -> None:
    with show_errors("Not finished"):
        service().finish(voter())
        st.session_state.pop("prepared", None)


def _account() -> None:
    """Where voters may sign in, their votes are theirs on every device; without, in this browser."""
    if st.user.get("is_logged_in"):
        st.caption(f"Signed in as {safe_markdown(str(st.user.get('email') or st.user.get('name')))}.")
        st.button("Sign out", type="tertiary", on_click=st.logout)
    else:
        st.caption("Your votes are kept by a cookie of this browser. Signed in, they are yours everywhere.")
        st.button("Sign in", on_click=st.login)


def _row(reveal: Reveal) -> dict[str, str]:
    ballot, cast = reveal.ballot, reveal.cast
    prompt = " ".join(ballot.messages[-1].content.split())
    chosen = {"a": ballot.contestant_a, "b": ballot.contestant_b}
    lost = {"a": ballot.contestant_b, "b": ballot.contestant_a}
    both = f"{ballot.contestant_a}, {ballot.contestant_b}"
    verdict = {"tie": "tie", "both_bad": "both bad"}
    if not ballot.contestant_a:
        chosen, lost, both = {"a": "answer A", "b": "answer B"}, {"a": "answer B", "b": "answer A"}, ""
    return {
        "Your vote": verdict.get(str(cast.outcome)) or safe_markdown(chosen[str(cast.outcome)]),
        "Against": safe_markdown(lost.get(str(cast.outcome), both)),
        "Prompt": safe_markdown(prompt if len(prompt) <= SHOWN else prompt[:SHOWN] + "..."),
        "Why": safe_markdown("; ".join(part for part in (", ".join(cast.tags), cast.comment) if part))
        if cast.tags or cast.comment
        else "",
    }
