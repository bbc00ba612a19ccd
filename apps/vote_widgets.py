"""Widgets shared by the pages that show answers: texts, panels, vote buttons, undo, reasons."""

import html
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import streamlit as st

from apps.cached_statistics import ratings
from apps.session import preference, preference_toggle, service, show_errors, voter
from toolkit.arena.battles import Cast, Reveal
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
LONG_TEXT = 2000
"""Characters from which an answer may be higher than a panel."""

REASONS = ("correct", "complete", "clear", "short", "friendly", "follows the instructions")


def announce_status(before_vote: str, reveal: Reveal | None) -> None:
    """Announce the page state to screen readers; drawn first so that it stays one element.

    Invisible; the focus does not move.
    """
    text = before_vote
    if reveal is not None:
        names = f" Answer A: {reveal.ballot.contestant_a}. Answer B: {reveal.ballot.contestant_b}."
        text = f"{VERDICT[reveal.cast.outcome]}{names if reveal.ballot.contestant_a else ''}"
    st.markdown(f'<div role="status">{html.escape(text)}</div>', unsafe_allow_html=True)


def show_text(text: str) -> None:
    """Draw what a model or a person wrote: laid out, or as plain text where the voter prefers that."""
    if preference("plain_text") and text.strip():
        st.text(text)
    else:
        st.markdown(safe_markdown(text) or "*(an empty answer)*")


def show_table(rows: Sequence[Mapping[str, str]], otherwise: str = "") -> None:
    """Draw rows of cells, all of them untrusted text; a sentence where there are none."""
    if rows:
        cells = [{safe_markdown(name): safe_markdown(cell) for name, cell in row.items()} for row in rows]
        st.table(cells, hide_index=True, border="horizontal")
    elif otherwise:
        st.write(otherwise)


def reasons_text(cast: Cast) -> str:
    """Why a voter voted so, as a cell."""
    return "; ".join(filter(None, (", ".join(cast.tags), cast.comment)))


def text_toggles(*texts: str) -> None:
    """Switches for how texts are shown; one for their whole height where they are long."""
    with st.container(horizontal=True, gap="medium", key="text-toggles"):
        preference_toggle("Plain text", "plain_text")
        if any(len(text) > LONG_TEXT or text.count("\n") > LONG_TEXT / 60 for text in texts):
            st.toggle("Show all of long answers", key="show-all")


def answer_panels(answers: tuple[str, str], reveal: Reveal | None, key: str = "", cut: str = "") -> None:
    """Draw both answers in panels of one height, with names once a vote has revealed them.

    `key` sets these panels apart from others on the page; `cut` are sides that ended at the token limit.
    """
    for column, side, answer in zip(st.columns(2, gap="medium"), "ab", answers, strict=True):
        with column.container(border=True, height="stretch", key=f"answer-{side}{key}"):
            st.header(f"Answer {side.upper()}{_name(reveal, side)}", anchor=False)
            show_text(answer)
            if side in cut:
                st.caption("This answer was cut at the token limit.")


def _name(reveal: Reveal | None, side: str) -> str:
    """Suffix of a panel heading after the vote: the contestant, and a mark on the chosen answer."""
    if reveal is None:
        return ""
    name = reveal.ballot.contestant_a if side == "a" else reveal.ballot.contestant_b
    shown = f" · {safe_markdown(name)}" if name else ""
    return f"{shown}{' :material/check:' if reveal.cast.outcome == side else ''}"


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
    if not reveal.ballot.contestant_a:
        st.caption("Who wrote them is shown when you finish, on the page Your votes.")
    elif reveal.ballot.kind != "check":
        st.caption(_votes_needed_text(reveal))
    with st.container(key="reasons"):
        note: dict[str, Any] = {"on_change": _note, "args": (reveal, on_reveal)}
        st.pills("Why? (optional)", REASONS, selection_mode="multi", key=f"tags-{ballot}", **note)
        st.text_input(
            "Comment (optional)",
            key=f"comment-{ballot}-{reveal.cast.revision}",  # once stored, keys are shortcuts again
            value=reveal.cast.comment,
            max_chars=MAX_COMMENT_CHARS,
            **note,
        )


def shortcut(key: str) -> str | None:
    """The shortcut of a button, or `None` where single-key shortcuts are off."""
    return key if preference("single_keys", default=True) else None


def single_key_toggle() -> None:
    """Toggle for single-key shortcuts, which speech input can trigger by accident."""
    preference_toggle("Vote by single keys", "single_keys", default=True)


def _votes_needed_text(reveal: Reveal) -> str:
    pair, now = (reveal.ballot.contestant_a, reveal.ballot.contestant_b), ratings()
    a, b = map(safe_markdown, pair)
    if now is None or not set(pair) <= set(now.names):
        return f"These are the first votes on {a} and {b}."
    needed = now.votes_needed_text(*pair)
    return {
        "no claim": f"Votes on {a} and {b} count in the ratings; this arena decides other pairs.",
        "decided": f"The votes on {a} and {b} have decided between them.",
        "unknown": f"{a} and {b} are too close so far to say how many votes would decide between them.",
    }.get(needed, f"About {needed} more votes on {a} and {b} would decide between them.")


def _vote(ballot: str, outcome: Outcome, on_reveal: Callable[[Reveal], None]) -> None:
    shown = st.session_state.get("shown", {}).get(ballot)
    seconds = None if shown is None else time.time() - shown
    with show_errors("Your vote was not taken"):
        on_reveal(service().vote(voter(), ballot, outcome, seconds))


def start_clock(ballot: str) -> None:
    """Remember when a ballot was first displayed in this visit."""
    st.session_state.setdefault("shown", {}).setdefault(ballot, time.time())


def _undo(ballot: str, go_on: Callable[[], None]) -> None:
    with show_errors("Not taken back"):
        service().undo(voter(), ballot)
        go_on()


def _note(reveal: Reveal, on_reveal: Callable[[Reveal], None]) -> None:
    state, ballot = st.session_state, reveal.ballot.id
    tags = tuple(state.get(f"tags-{ballot}") or ())
    comment = state.get(f"comment-{ballot}-{reveal.cast.revision}") or ""
    with show_errors("Not noted"):
        on_reveal(service().annotate(voter(), ballot, tags, comment))
