"""Vote page: a prompt, two anonymous answers, one click or key; names are revealed after the vote."""

import streamlit as st

from apps import vote_widgets as widgets
from apps.session import can_sign_in, must_sign_in, public_message, service, show_errors, voter
from toolkit.arena.battles import BlindBallot, Reveal
from toolkit.arena.markdown import safe_markdown
from toolkit.arena.service import NotAllowed


def page() -> None:
    state = st.session_state
    if must_sign_in():
        return
    if state.get("ballot") is None:
        state.ballot = _draw()
    if state.ballot is None:
        problem = state.pop("problem", None)
        widgets.announce_status("Nothing to vote on.", None)
        st.title("Nothing to vote on" if problem else "Done", anchor=False)
        st.write(problem or "No answers are left whose authors you do not know. Thank you for your votes.")
        return
    ballot: BlindBallot = state.ballot
    reveal: Reveal | None = state.get("reveal")
    widgets.announce_status(
        f"Battle {state.get('battles', 1)} of this visit: which answer is better?", reveal
    )
    _head(reveal)
    with st.container(key="prompt"):
        for message in ballot.messages:
            st.header("Prompt" if len(ballot.messages) == 1 else message.role, anchor=False)
            widgets.show_text(message.content)
    widgets.answer_panels((ballot.answer_a, ballot.answer_b), reveal, cut=ballot.cut)
    if state.get("problem"):
        st.warning(state.pop("problem"))
    if reveal and reveal.ballot.kind == "check":
        st.info(
            "This one was to see that people read: one answer belongs to another prompt. It does not count."
        )
    if reveal is None:
        widgets.start_clock(ballot.id)
        widgets.vote_buttons(ballot.id, _store_reveal)
        key, skip = f"skip-{ballot.id}", widgets.shortcut("S")
        st.button("Skip", key=key, type="tertiary", shortcut=skip, on_click=_skip, args=(ballot.id,))
    else:
        widgets.after_vote(reveal, "Next battle", _next, _store_reveal)
        if not state.get("prepared"):
            state.prepared = _draw()  # while the names are being read
    widgets.text_toggles(ballot.answer_a, ballot.answer_b)
    widgets.single_key_toggle()


def _head(reveal: Reveal | None) -> None:
    done, goal = service().progress(service().tally())
    title, progress = st.columns([3, 1], vertical_alignment="center")
    title.title(
        "Which answer is better?" if reveal is None else widgets.VERDICT[reveal.cast.outcome], anchor=False
    )
    if goal:
        progress.progress(done / goal, text=f"{done} of {goal} votes")


def _draw() -> BlindBallot | None:
    try:
        return service().ballot(voter())
    except NotAllowed as error:
        st.session_state.problem = f"{public_message(error).capitalize()}."
        return None


def _store_reveal(reveal: Reveal) -> None:
    st.session_state.reveal = reveal


def _skip(ballot_id: str) -> None:
    with show_errors("Not skipped"):
        service().skip(voter(), ballot_id)
        _next()


def _next() -> None:
    st.session_state.reveal = None
    st.session_state.battles = st.session_state.get("battles", 1) + 1
    st.session_state.ballot = st.session_state.pop("prepared", None) or _draw()


SHOWN = 90
"""Characters of a prompt in a table."""


def history_page() -> None:
    """Your votes page: this voter's history with names."""
    st.title("Your votes", anchor=False)
    history = service().history(voter())
    if any(not reveal.ballot.contestant_a for reveal in history):
        st.write("Names are shown when you finish; answers whose author you know are not put to you again.")
        st.button("Finish and show the names", type="primary", on_click=_finish)
    if history:
        st.caption(f"The last {len(history)}, newest first." if len(history) > 1 else "One so far.")
    widgets.show_table([_row(reveal) for reveal in history], "None yet.")
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
        "Your vote": verdict or (a if outcome == "a" else b),
        "Against": {"a": b, "b": a}.get(outcome, both),
        "Prompt": prompt if len(prompt) <= SHOWN else prompt[:SHOWN] + "...",
        "Why": widgets.reasons_text(reveal.cast),
    }
