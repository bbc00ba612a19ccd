"""Widgets shared by Vote and Ask: answer panels, vote buttons, undo, reasons."""

from __future__ import annotations

import html
from collections.abc import Callable

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from apps.session import current_ratings, service, show_errors, voter
from toolkit.arena.battles import Reveal
from toolkit.arena.markdown import safe_markdown
from toolkit.arena.service import MAX_COMMENT_CHARS
from toolkit.types import Outcome

CHOICES: tuple[tuple[Outcome, str, str], ...] = (
    ("a", "A is better", "A"),
    ("b", "B is better", "B"),
    ("tie", "Tie", "T"),
    ("both_bad", "Both bad", "X"),
)
"""Outcome, label and key, in the order in which they are seen and reached."""

VERDICT: dict[Outcome | None, str] = {
    "a": "You chose A.",
    "b": "You chose B.",
    "tie": "You called it a tie.",
    "both_bad": "You found both bad.",
}
REASONS = ("correct", "complete", "clear", "short", "friendly", "follows the instructions")


def announce_status(before_vote: str, reveal: Reveal | None) -> None:
    """Announce the page state to screen readers; drawn first so that it stays one element.

    Invisible; the focus does not move.
    """
    text = before_vote
    if reveal is not None:
        names = f"Answer A: {reveal.ballot.contestant_a}. Answer B: {reveal.ballot.contestant_b}."
        text = f"{VERDICT[reveal.cast.outcome]} {names}"
    st.markdown(f'<div role="status">{html.escape(text)}</div>', unsafe_allow_html=True)


def answer_panels(answers: tuple[str, str], reveal: Reveal | None, key: str = "") -> list[DeltaGenerator]:
    """Draw both answers, of which the page has made Markdown, in panels of one height.

    Args:
        answers: safe Markdown.
        reveal: what the vote opened; the panels then have names.
        key: sets these panels apart from others on the page.

    Returns:
        Where the two texts stand, to be written over.
    """
    places = []
    for column, side, answer in zip(st.columns(2, gap="medium"), "ab", answers, strict=True):
        with column.container(border=True, height="stretch", key=f"answer-{side}{key}"):
            st.header(f"Answer {side.upper()}{_name(reveal, side)}", anchor=False)
            places.append(st.markdown(answer))
    return places


def _name(reveal: Reveal | None, side: str) -> str:
    """Suffix of a panel heading after the vote: the contestant, and a mark on the chosen answer."""
    if reveal is None:
        return ""
    name = reveal.ballot.contestant_a if side == "a" else reveal.ballot.contestant_b
    return f" · {safe_markdown(name)}{' :material/check:' if reveal.cast.outcome == side else ''}"


def vote_buttons(ballot: str, on_reveal: Callable[[Reveal], None]) -> None:
    """Draw the vote buttons of a ballot; the reveal is passed to `on_reveal`."""
    with st.container(key="ballot-box", gap="xsmall"):
        places = [*st.columns(2, gap="medium"), *st.columns(2, gap="medium")]  # each under its answer
        for column, (outcome, label, key) in zip(places, CHOICES, strict=True):
            column.button(
                label,
                key=f"{outcome}-{ballot}",
                type="primary" if outcome in ("a", "b") else "secondary",
                width="stretch",
                shortcut=shortcut(key),
                on_click=_vote,
                args=(ballot, outcome, on_reveal),
            )


def after_vote(
    reveal: Reveal, label: str, go_on: Callable[[], None], on_reveal: Callable[[Reveal], None]
) -> None:
    """Draw the actions after a vote: next, undo, reasons."""
    ballot = reveal.ballot.id
    with st.container(key="ballot-box", horizontal=True):
        st.button(label, key="next", type="primary", shortcut=shortcut("N"), on_click=go_on)
        st.button("Undo", key="undo", shortcut=shortcut("U"), on_click=_undo, args=(ballot, go_on))
    if reveal.ballot.kind != "check":
        st.caption(_votes_needed_text(reveal))
    with st.container(key="reasons"):
        st.pills(
            "Why? (optional)",
            REASONS,
            selection_mode="multi",
            key=f"tags-{ballot}",
            on_change=_note,
            args=(ballot, on_reveal),
        )
        st.text_input(
            "Comment (optional)",
            key=f"comment-{ballot}",
            max_chars=MAX_COMMENT_CHARS,
            on_change=_note,
            args=(ballot, on_reveal),
        )


def shortcut(key: str) -> str | None:
    """The shortcut of a button, or `None` where single-key shortcuts are off."""
    return key if st.session_state.get("single_keys", True) else None


def single_key_toggle() -> None:
    """Toggle for single-key shortcuts, which speech input can trigger by accident.

    The choice is kept for the session on every page, longer than a widget's state.
    """
    state = st.session_state
    state.setdefault("switch", state.get("single_keys", True))
    st.toggle("Vote by single keys", key="switch", on_change=_store_single_keys)


def _store_single_keys() -> None:
    st.session_state.single_keys = st.session_state.switch


def _votes_needed_text(reveal: Reveal) -> str:
    """About how many more votes would decide between the two."""
    a, b = safe_markdown(reveal.ballot.contestant_a), safe_markdown(reveal.ballot.contestant_b)
    now = current_ratings(reveal.ballot.run)
    if now is None or not {reveal.ballot.contestant_a, reveal.ballot.contestant_b} <= set(now.names):
        return f"These are the first votes on {a} and {b}."
    pair = reveal.ballot.contestant_a, reveal.ballot.contestant_b
    if not now.decisions.is_tested(*pair):
        return f"Votes on {a} and {b} count in the ratings; this arena decides other pairs."
    left, once = now.votes_needed(*pair), now.votes_needed_range(*pair, peeking=False)[0]
    if left:
        return (
            f"About {left} more votes on {a} and {b} would decide between them "
            f"({once} if they were counted once, at the end)."
        )
    return f"The votes on {a} and {b} have decided between them."


def _vote(ballot: str, outcome: Outcome, on_reveal: Callable[[Reveal], None]) -> None:
    with show_errors("Your vote was not taken"):
        on_reveal(service().vote(voter(), ballot, outcome))


def _undo(ballot: str, go_on: Callable[[], None]) -> None:
    with show_errors("Not taken back"):
        service().undo(voter(), ballot)
        go_on()


def _note(ballot: str, on_reveal: Callable[[Reveal], None]) -> None:
    state = st.session_state
    tags = tuple(state.get(f"tags-{ballot}") or ())
    with show_errors("Not noted"):
        on_reveal(service().annotate(voter(), ballot, tags, state.get(f"comment-{ballot}") or ""))
