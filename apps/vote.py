"""Vote: a prompt, two anonymous answers, one click or key; the names come after."""

from __future__ import annotations

import streamlit as st

from apps.session import desk, standing, voter
from toolkit.arena.ballot import BlindBallot, Reveal
from toolkit.arena.safe_markdown import safe_markdown
from toolkit.errors import ToolkitError
from toolkit.types import Message, Outcome

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


def page() -> None:
    state = st.session_state
    if state.get("ballot") is None:
        state.ballot = _draw()
    if state.ballot is None:
        _nothing_left(state.pop("problem", None))
        return
    reveal: Reveal | None = state.get("reveal")
    _head(reveal)
    _prompt(state.ballot.messages)
    _answers(state.ballot, reveal)
    if state.get("problem"):
        st.warning(state.pop("problem"))
    if reveal and reveal.ballot.kind == "check":
        st.info(
            "This one was to see that people read: one answer belongs to another prompt. It does not count."
        )
    if reveal is None:
        _ballot_box(state.ballot)
    else:
        _after(reveal)
        if not state.get("prepared"):
            state.prepared = _draw()  # while the names are being read


def _head(reveal: Reveal | None) -> None:
    done, wanted = desk().progress(desk().tally())
    title, progress = st.columns([3, 1], vertical_alignment="center")
    title.title("Which answer is better?" if reveal is None else VERDICT[reveal.cast.outcome], anchor=False)
    progress.progress(done / wanted, text=f"{done} of {wanted} votes")


def _prompt(messages: tuple[Message, ...]) -> None:
    with st.container(key="prompt"):
        for message in messages:
            st.subheader("Prompt" if len(messages) == 1 else message.role, anchor=False)
            st.markdown(safe_markdown(message.content))


def _answers(ballot: BlindBallot, reveal: Reveal | None) -> None:
    sides = (("a", ballot.answer_a), ("b", ballot.answer_b))
    for column, (side, answer) in zip(st.columns(2, gap="medium"), sides, strict=True):
        with column.container(border=True, height="stretch", key=f"answer-{side}"):
            st.subheader(f"Answer {side.upper()}{name_shown(reveal, side)}", anchor=False)
            st.markdown(safe_markdown(answer))


def name_shown(reveal: Reveal | None, side: str) -> str:
    """What is added to a panel's heading after the vote: who wrote it, and a mark on the one chosen."""
    if reveal is None:
        return ""
    name = reveal.ballot.contestant_a if side == "a" else reveal.ballot.contestant_b
    return f" · {safe_markdown(name)}{' :material/check:' if reveal.cast.outcome == side else ''}"


def _ballot_box(ballot: BlindBallot) -> None:
    with st.container(key="ballot-box"):
        for column, (outcome, label, key) in zip(st.columns(4, gap="small"), CHOICES, strict=True):
            column.button(
                label,
                key=f"{outcome}-{ballot.id}",
                type="primary" if outcome in ("a", "b") else "secondary",
                width="stretch",
                shortcut=key,
                on_click=_vote,
                args=(ballot.id, outcome),
            )
    st.button(
        "Skip", key=f"skip-{ballot.id}", type="tertiary", shortcut="S", on_click=_skip, args=(ballot.id,)
    )


def _after(reveal: Reveal) -> None:
    with st.container(key="ballot-box", horizontal=True):
        st.button("Next battle", key="next", type="primary", shortcut="N", on_click=_next)
        st.button("Undo", key="undo", shortcut="U", on_click=_undo, args=(reveal.ballot.id,))
    if reveal.ballot.kind == "battle":
        st.caption(_outlook(reveal))
    with st.container(key="reasons"):
        st.pills(
            "Why? (optional)",
            REASONS,
            selection_mode="multi",
            key=f"tags-{reveal.ballot.id}",
            on_change=_note,
            args=(reveal.ballot.id,),
        )
        st.text_input(
            "Comment (optional)",
            key=f"comment-{reveal.ballot.id}",
            max_chars=1000,
            on_change=_note,
            args=(reveal.ballot.id,),
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


def _nothing_left(problem: str | None) -> None:
    st.title("Nothing to vote on", anchor=False)
    st.write(problem or "You have seen every battle there is. Thank you.")


def _draw() -> BlindBallot | None:
    """The next ballot, or none and why."""
    try:
        return desk().ballot(voter())
    except ToolkitError as error:
        st.session_state.problem = f"{str(error).capitalize()}."
        return None


def _vote(ballot_id: str, outcome: Outcome) -> None:
    try:
        st.session_state.reveal = desk().vote(voter(), ballot_id, outcome)
    except ToolkitError as error:
        st.session_state.problem = f"Your vote was not taken: {error}."


def _skip(ballot_id: str) -> None:
    try:
        desk().skip(voter(), ballot_id)
    except ToolkitError as error:
        st.session_state.problem = f"Not skipped: {error}."
    else:
        _next()


def _next() -> None:
    st.session_state.reveal = None
    st.session_state.ballot = st.session_state.pop("prepared", None) or _draw()


def _undo(ballot_id: str) -> None:
    try:
        desk().undo(voter(), ballot_id)
    except ToolkitError as error:
        st.session_state.problem = f"Not taken back: {error}."
    else:
        _next()


def _note(ballot_id: str) -> None:
    state = st.session_state
    tags = tuple(state.get(f"tags-{ballot_id}") or ())
    try:
        state.reveal = desk().annotate(voter(), ballot_id, tags, state.get(f"comment-{ballot_id}") or "")
    except ToolkitError as error:
        state.problem = f"Not noted: {error}."
