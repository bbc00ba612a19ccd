"""Ask: the voter's own questions to two anonymous contestants, live, then the same vote.

Both answers are waited for and then written out side by side at one pace, so that speed gives nobody away.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import streamlit as st

from apps.session import desk, respondents, voter
from apps.vote import CHOICES, VERDICT, name_shown
from toolkit.arena.ballot import Reveal
from toolkit.arena.safe_markdown import safe_markdown
from toolkit.errors import ToolkitError
from toolkit.types import Message, Outcome

logger = logging.getLogger(__name__)

STEPS, PACE = 40, 0.04
"""Answers are written out in so many steps, with so many seconds between them."""


@dataclass
class Talk:
    """One voter's questions and both sides' answers; kept on the server, where the names are."""

    sides: tuple[str, str]
    seed: int
    turns: list[tuple[str, tuple[str, str]]] = field(default_factory=list)
    ballot: str | None = None
    """Of the talk as it stands, once it was stored."""
    written: bool = True
    """Whether the last answers have been written out."""
    reveal: Reveal | None = None


def page() -> None:
    state = st.session_state
    st.title(
        "Ask" if not state.get("talk") or not state.talk.reveal else VERDICT[state.talk.reveal.cast.outcome],
        anchor=False,
    )
    talk: Talk | None = state.get("talk")
    if talk is None:
        st.write(
            "Any question you ask is sent to both of two contestants, who answer without their names. Then "
            "say which answer is better."
        )
        st.caption("What you ask and what they answer is kept, and may be used to improve them.")
    else:
        _show(talk)
    if state.get("problem"):
        st.warning(state.pop("problem"))
    if talk is None or talk.reveal is None:
        question = st.chat_input(
            "Your question" if talk is None else "Ask both something more", max_chars=4000
        )
        if question:
            _ask(talk, question)
            st.rerun()


def _show(talk: Talk) -> None:
    for number, (question, answers) in enumerate(talk.turns):
        last = number == len(talk.turns) - 1
        with st.container(key=f"prompt-{number}"):
            st.subheader("You", anchor=False)
            st.markdown(safe_markdown(question))
        places = []
        for column, side in zip(st.columns(2, gap="medium"), "ab", strict=True):
            with column.container(border=True, height="stretch", key=f"answer-{side}-{number}"):
                st.subheader(f"Answer {side.upper()}{name_shown(talk.reveal, side)}", anchor=False)
                places.append(st.empty())
        if last and not talk.written:
            _write(places, answers)
            talk.written = True
        for place, answer in zip(places, answers, strict=True):
            place.markdown(safe_markdown(answer))
    _ballot_box(talk)


def _write(places: Sequence[st.delta_generator.DeltaGenerator], answers: tuple[str, str]) -> None:
    for step in range(1, STEPS):
        for place, answer in zip(places, answers, strict=True):
            place.markdown(safe_markdown(answer[: len(answer) * step // STEPS] or "..."))
        time.sleep(PACE)


def _ballot_box(talk: Talk) -> None:
    if talk.reveal is not None:
        st.button("Ask something else", key="again", type="primary", shortcut="N", on_click=_again)
        return
    with st.container(key="ballot-box"):
        for column, (outcome, label, key) in zip(st.columns(4, gap="small"), CHOICES, strict=True):
            column.button(
                label,
                key=f"live-{outcome}-{talk.ballot}",
                type="primary" if outcome in ("a", "b") else "secondary",
                width="stretch",
                shortcut=key,
                disabled=talk.ballot is None,
                on_click=_vote,
                args=(outcome,),
            )
    st.button("Answer again", key=f"regenerate-{talk.seed}", type="tertiary", on_click=_regenerate)


def _ask(talk: Talk | None, question: str) -> None:
    """Have both answer, and store what they said; without an answer the talk stays as it was."""
    state = st.session_state
    try:
        if talk is None:
            seed = time.time_ns() % 2**32
            talk = Talk(desk().meet(respondents().names, seed), seed)
        talk.turns.append((question, _answers(talk, question)))
    except ToolkitError:
        logger.exception("no answer to a voter's question")  # not shown: it may name a contestant
        state.problem = "No answer just now. Ask again in a moment."
        return
    state.talk = talk
    _store(talk)


def _answers(talk: Talk, question: str) -> tuple[str, str]:
    """Both sides' answers to a question, each in its own conversation."""

    def said(side: int) -> str:
        conversation = []
        for asked, answers in talk.turns:
            conversation += [
                Message(role="user", content=asked),
                Message(role="assistant", content=answers[side]),
            ]
        conversation.append(Message(role="user", content=question))
        return respondents().answer(talk.sides[side], conversation, seed=talk.seed)

    with ThreadPoolExecutor(2) as both, st.spinner("Both are thinking"):
        a, b = both.map(said, (0, 1))
    return a, b


def _store(talk: Talk) -> None:
    """Make the talk as it stands a ballot, or say why it cannot be one."""
    talk.written, talk.ballot = False, None
    transcripts = [_transcript(talk, side) for side in (0, 1)]
    questions = [question for question, _ in talk.turns]
    try:
        talk.ballot = desk().live(voter(), talk.sides, questions, (transcripts[0], transcripts[1]))
    except ToolkitError as error:
        st.session_state.problem = f"{str(error).capitalize()}."


def _transcript(talk: Talk, side: int) -> str:
    if len(talk.turns) == 1:
        return talk.turns[0][1][side]
    return "\n\n".join(f"> {question}\n\n{answers[side]}" for question, answers in talk.turns)


def _vote(outcome: Outcome) -> None:
    talk: Talk = st.session_state.talk
    try:
        talk.reveal = desk().vote(voter(), str(talk.ballot), outcome)
    except ToolkitError as error:
        st.session_state.problem = f"Your vote was not taken: {error}."


def _regenerate() -> None:
    talk: Talk = st.session_state.talk
    last = talk.turns.pop()
    turns, talk.seed = len(talk.turns), talk.seed + 1
    _ask(talk, last[0])
    if len(talk.turns) == turns:
        talk.turns.append(last)


def _again() -> None:
    st.session_state.talk = None
