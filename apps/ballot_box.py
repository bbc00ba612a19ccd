"""What Vote and Ask share: two answers side by side, the choice between them, and what may follow it."""

from __future__ import annotations

import html
from collections.abc import Callable

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from apps.session import desk, standing, told, voter
from toolkit.arena.ballot import Reveal
from toolkit.arena.safe_markdown import safe_markdown
from toolkit.errors import ToolkitError
from toolkit.types import Outcome

CHOICES: tuple[tuple[Outcome, str, str], ...] = (
    ("a", "A is better", "A"),
    ("tie", "Tie", "T"),
    ("both_bad", "Both bad", "X"),
    ("b", "B is better", "B"),
)
VERDICT: dict[Outcome | None, str] = {
    "a": "You chose A.",
    "b": "You chose B.",
    "tie": "You called it a tie.",
    "both_bad": "You found both bad.",
}
REASONS = ("correct", "complete", "clear", "short", "friendly", "follows the instructions")


def announce(before_vote: str, reveal: Reveal | None) -> None:
    """Have a screen reader say what the page has come to; to be drawn first, so that it is one element.

    Nothing is seen of it, and the focus stays where it is.
    """
    text = before_vote
    if reveal is not None:
        names = f"Answer A: {reveal.ballot.contestant_a}. Answer B: {reveal.ballot.contestant_b}."
        text = f"{VERDICT[reveal.cast.outcome]} {names}"
    st.markdown(f'<div role="status">{html.escape(text)}</div>', unsafe_allow_html=True)


def panels(answers: tuple[str, str], reveal: Reveal | None, key: str = "") -> list[DeltaGenerator]:
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
    """What is added to a panel's heading after the vote: who wrote it, and a mark on the one chosen."""
    if reveal is None:
        return ""
    name = reveal.ballot.contestant_a if side == "a" else reveal.ballot.contestant_b
    return f" · {safe_markdown(name)}{' :material/check:' if reveal.cast.outcome == side else ''}"


def choices(ballot: str, keep: Callable[[Reveal], None]) -> None:
    """The buttons of a vote on the ballot with this id; what it opens goes to `keep`."""
    with st.container(key="ballot-box"):
        for column, (outcome, label, key) in zip(st.columns(4, gap="small"), CHOICES, strict=True):
            column.button(
                label,
                key=f"{outcome}-{ballot}",
                type="primary" if outcome in ("a", "b") else "secondary",
                width="stretch",
                shortcut=key,
                on_click=_vote,
                args=(ballot, outcome, keep),
            )


def after(reveal: Reveal, label: str, go_on: Callable[[], None], keep: Callable[[Reveal], None]) -> None:
    """What may follow a vote: going on, taking it back, saying why."""
    ballot = reveal.ballot.id
    with st.container(key="ballot-box", horizontal=True):
        st.button(label, key="next", type="primary", shortcut="N", on_click=go_on)
        st.button("Undo", key="undo", shortcut="U", on_click=_undo, args=(ballot, go_on))
    if reveal.ballot.kind != "check":
        st.caption(_outlook(reveal))
    with st.container(key="reasons"):
        st.pills(
            "Why? (optional)",
            REASONS,
            selection_mode="multi",
            key=f"tags-{ballot}",
            on_change=_note,
            args=(ballot, keep),
        )
        st.text_input(
            "Comment (optional)",
            key=f"comment-{ballot}",
            max_chars=1000,
            on_change=_note,
            args=(ballot, keep),
        )


def _outlook(reveal: Reveal) -> str:
    """How far this pair is from being decided."""
    a, b = safe_markdown(reveal.ballot.contestant_a), safe_markdown(reveal.ballot.contestant_b)
    now = standing(reveal.ballot.run)
    if now is None or not {reveal.ballot.contestant_a, reveal.ballot.contestant_b} <= set(now.names):
        return f"These are the first votes on {a} and {b}."
    left = now.votes_needed(reveal.ballot.contestant_a, reveal.ballot.contestant_b)
    if left:
        return f"About {left} more votes on {a} and {b} would decide between them."
    return f"The votes on {a} and {b} have decided between them."


def _vote(ballot: str, outcome: Outcome, keep: Callable[[Reveal], None]) -> None:
    try:
        keep(desk().vote(voter(), ballot, outcome))
    except ToolkitError as error:
        st.session_state.problem = f"Your vote was not taken: {told(error)}."


def _undo(ballot: str, go_on: Callable[[], None]) -> None:
    try:
        desk().undo(voter(), ballot)
    except ToolkitError as error:
        st.session_state.problem = f"Not taken back: {told(error)}."
    else:
        go_on()


def _note(ballot: str, keep: Callable[[Reveal], None]) -> None:
    state = st.session_state
    tags = tuple(state.get(f"tags-{ballot}") or ())
    try:
        keep(desk().annotate(voter(), ballot, tags, state.get(f"comment-{ballot}") or ""))
    except ToolkitError as error:
        state.problem = f"Not noted: {told(error)}."
