"""Ask: the voter's own questions to two anonymous contestants, live, then the same vote.

Both answers are waited for and then written out side by side at one pace, so that speed gives nobody away.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from apps.ballot_box import VERDICT, after, announce, choices, panels, switch_of_keys
from apps.session import desk, respondents, told, voter
from toolkit.arena.ballot import Reveal
from toolkit.arena.safe_markdown import safe_markdown
from toolkit.errors import ToolkitError
from toolkit.types import Message

Turn = tuple[str, tuple[str, str]]
"""A question, and what both sides answered."""

STEPS, PACE = 40, 0.04
"""Answers are written out in so many steps, with so many seconds between them."""


@dataclass
class Talk:
    """One voter's questions and both sides' answers; kept on the server, where the names are."""

    sides: tuple[str, str]
    seed: int
    turns: list[Turn] = field(default_factory=list)
    asked: str | None = None
    """A question that waits for its answers."""
    again: bool = False
    """Whether it was answered before, and the voter wants other answers."""
    ballot: str | None = None
    """Of the talk as it stands, once it was stored."""
    reveal: Reveal | None = None
    keeping: Lock = field(default_factory=Lock)
    """Held by the drawing that keeps its answers; another one waits, and finds them kept."""


def page() -> None:
    state = st.session_state
    talk: Talk | None = state.get("talk")
    if talk:
        announce("Both are thinking." if talk.asked else "Both have answered.", talk.reveal)
    st.title(VERDICT[talk.reveal.cast.outcome] if talk and talk.reveal else "Ask", anchor=False)
    if talk is None or talk.reveal is None:
        prompt = "Ask both something more" if talk else "Your question"
        st.chat_input(prompt, key="question", max_chars=4000, on_submit=_ask)
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
    if talk:
        _below(talk)


def _show(talk: Talk) -> None:
    for number, (question, (a, b)) in enumerate(talk.turns):
        _question(number, question)
        panels((safe_markdown(a), safe_markdown(b)), talk.reveal, f"-{number}")
    if talk.asked:
        _question(len(talk.turns), talk.asked)
        _answer(talk, panels(("*Thinking...*",) * 2, None, f"-{len(talk.turns)}"))


def _question(number: int, question: str) -> None:
    with st.container(key=f"prompt-{number}"):
        st.header("You", anchor=False)
        st.markdown(safe_markdown(question))


def _answer(talk: Talk, places: list[DeltaGenerator]) -> None:
    """Have both answer the question that waits, keep what they said, then write it out.

    A click while both think has the page drawn anew beside this drawing, and ends this one with what it draws
    next. So the answers are kept before anything is drawn, and only where nobody was quicker. Without answers
    the question goes on waiting: it is asked again with the next drawing.
    """
    for _ in range(3):  # over the buttons of the answers before, which could be pressed until these are there
        st.markdown("")
    who, question, before = voter(), str(talk.asked), list(talk.turns)
    try:
        desk().may_ask(who)
        answers = _answers(talk, before, question)
    except ToolkitError as error:
        st.session_state.problem = _told(error)
        for place in places:
            place.markdown("*No answer*")
        return
    with talk.keeping:
        first = (talk.asked, talk.turns) == (question, before)
        problem = _keep_answers(talk, who, question, answers) if first else None
    if first:
        if problem:
            st.session_state.problem = problem
        for step in range(1, STEPS):
            for place, answer in zip(places, answers, strict=True):
                place.markdown(safe_markdown(answer[: len(answer) * step // STEPS] or "..."))
            time.sleep(PACE)
    st.rerun()


def _answers(talk: Talk, before: list[Turn], question: str) -> tuple[str, str]:
    """Both sides' answers to the question, each in its own conversation."""
    both = respondents()

    def said(side: int) -> str:
        conversation = []
        for asked, answers in before:
            conversation += [
                Message(role="user", content=asked),
                Message(role="assistant", content=answers[side]),
            ]
        conversation.append(Message(role="user", content=question))
        return both.answer(talk.sides[side], conversation, seed=talk.seed, sampled=talk.again)

    with ThreadPoolExecutor(2) as pool:
        a, b = pool.map(said, (0, 1))
    return a, b


def _keep_answers(talk: Talk, who: str, question: str, answers: tuple[str, str]) -> str | None:
    """Make the talk with this turn a ballot; returns why it cannot be one. Touches nothing of the page.

    The talk changes last, so that no drawing meets answers that cannot be voted on yet.
    """
    turns = [*talk.turns, (question, answers)]
    ballot, problem = None, None
    try:
        transcripts = _transcript(turns, 0), _transcript(turns, 1)
        ballot = desk().live(who, talk.sides, [asked for asked, _ in turns], transcripts)
    except ToolkitError as error:
        problem = _told(error)
    talk.ballot, talk.turns, talk.asked, talk.again = ballot, turns, None, False
    return problem


def _transcript(turns: list[Turn], side: int) -> str:
    if len(turns) == 1:
        return turns[0][1][side]
    return "\n\n".join(f"> {question}\n\n{answers[side]}" for question, answers in turns)


def _told(error: ToolkitError) -> str:
    return f"{told(error, 'no answer just now; ask again in a moment').capitalize()}."


def _below(talk: Talk) -> None:
    """What the voter can do now."""
    if talk.reveal:
        after(talk.reveal, "Ask something else", _start_over, _keep)
        switch_of_keys()
        return
    if talk.ballot and not talk.asked:
        choices(talk.ballot, _keep)
    with st.container(horizontal=True, gap="medium"):
        if talk.asked:
            st.button("Ask again", key="ask-again", type="primary")  # drawing the page asks it
        else:
            st.button("Answer again", key="answer-again", type="tertiary", on_click=_again)
        st.button("Start over", key="start-over", type="tertiary", on_click=_start_over)
    switch_of_keys()


def _ask() -> None:
    state = st.session_state
    try:
        state.talk = state.get("talk") or _meet()
    except ToolkitError as error:
        state.problem = _told(error)
    else:
        state.talk.asked, state.talk.again = state.question, False


def _meet() -> Talk:
    seed = time.time_ns() % 2**32
    return Talk(desk().meet(respondents().names, seed), seed)


def _again() -> None:
    """Put the last question to both once more."""
    talk: Talk = st.session_state.talk
    talk.asked, talk.again = talk.turns.pop()[0], True
    talk.seed += 1


def _keep(reveal: Reveal) -> None:
    st.session_state.talk.reveal = reveal


def _start_over() -> None:
    st.session_state.talk = None
