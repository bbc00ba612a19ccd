"""Ask page: the voter's own questions to two anonymous contestants, then the same vote.

Both answers are awaited, then revealed at the same pace, so that speed identifies nobody.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from apps.session import live_models, must_sign_in, public_message, service, voter
from apps.vote_widgets import (
    VERDICT,
    after_vote,
    announce_status,
    answer_panels,
    show_text,
    single_key_toggle,
    start_clock,
    text_toggles,
    vote_buttons,
)
from toolkit.arena.battles import Reveal
from toolkit.errors import ToolkitError
from toolkit.types import Message

Turn = tuple[str, tuple[str, str]]
"""A question and both answers."""

STEPS, PACE = 40, 0.04
"""Answers are written out in so many steps, with so many seconds between them."""


@dataclass
class Chat:
    """One voter's questions and both answers; stays on the server."""

    sides: tuple[str, str]
    pair_probability: float
    seed: int
    turns: list[Turn] = field(default_factory=list)
    pending: str | None = None
    """A question without answers yet."""
    again: bool = False
    """Whether the voter requested other answers to the last question."""
    ballot: str | None = None
    """Id of the stored ballot."""
    reveal: Reveal | None = None
    store_lock: Lock = field(default_factory=Lock)
    """Held by the script run that stores the answers; concurrent reruns wait."""


def page() -> None:
    state = st.session_state
    if must_sign_in():
        return
    chat: Chat | None = state.get("chat")
    if chat:
        announce_status("Both are thinking." if chat.pending else "Both have answered.", chat.reveal)
    st.title(VERDICT[chat.reveal.cast.outcome] if chat and chat.reveal else "Ask", anchor=False)
    if chat is None or chat.reveal is None:
        prompt = "Ask both something more" if chat else "Your question"
        st.chat_input(prompt, key="question", max_chars=4000, on_submit=_submit_question)
    if chat is None:
        st.write(
            "Any question you ask is sent to both of two contestants, who answer without their names. Then "
            "say which answer is better."
        )
        st.caption("What you ask and what they answer is kept, and may be used to improve them.")
    else:
        _show(chat)
    if state.get("problem"):
        st.warning(state.pop("problem"))
    if chat:
        _below(chat)


def _show(chat: Chat) -> None:
    for number, (question, (a, b)) in enumerate(chat.turns):
        _question(number, question)
        answer_panels((a, b), chat.reveal, f"-{number}")
    if chat.pending:
        _question(len(chat.turns), chat.pending)
        _answer(chat, answer_panels(("Thinking...",) * 2, None, f"-{len(chat.turns)}"))


def _question(number: int, question: str) -> None:
    with st.container(key=f"prompt-{number}"):
        st.header("You", anchor=False)
        show_text(question)


def _answer(chat: Chat, places: list[DeltaGenerator]) -> None:
    """Generate both answers to the pending question, store them, then stream them to the page.

    A click during generation starts a concurrent rerun and stops this one at its next element. Therefore the
    answers are stored before anything is drawn, and only if no other rerun stored them first. A question
    without answers stays pending and is sent again on the next rerun.
    """
    for _ in range(3):  # over the buttons of the answers before, which could be pressed until these are there
        st.markdown("")
    who, question, before = voter(), str(chat.pending), list(chat.turns)
    try:
        service().check_question_limit(who)
        answers = _answers(chat, before, question)
    except ToolkitError as error:
        st.session_state.problem = _problem_text(error)
        for place in places:
            place.markdown("*No answer*")
        return
    with chat.store_lock:
        first = (chat.pending, chat.turns) == (question, before)
        problem = _store_answers(chat, who, question, answers) if first else None
    if first:
        if problem:
            st.session_state.problem = problem
        for step in range(1, STEPS):
            for place, answer in zip(places, answers, strict=True):
                show_text(answer[: len(answer) * step // STEPS] or "...", place)
            time.sleep(PACE)
    st.rerun()


def _answers(chat: Chat, before: list[Turn], question: str) -> tuple[str, str]:
    """Both sides' answers to the question, each in its own conversation."""
    models = live_models()

    def generate(side: int) -> str:
        messages = []
        for question_text, answers in before:
            messages += [
                Message(role="user", content=question_text),
                Message(role="assistant", content=answers[side]),
            ]
        messages.append(Message(role="user", content=question))
        return models.answer(chat.sides[side], messages, seed=chat.seed, sampled=chat.again)

    with ThreadPoolExecutor(2) as pool:
        a, b = pool.map(generate, (0, 1))
    return a, b


def _store_answers(chat: Chat, who: str, question: str, answers: tuple[str, str]) -> str | None:
    """Store the chat with this turn as a ballot; returns the problem, if any. Draws nothing.

    The chat is updated last, so that no rerun shows answers that cannot be voted on yet.
    """
    turns = [*chat.turns, (question, answers)]
    ballot, problem = None, None
    try:
        transcripts = _transcript(turns, 0), _transcript(turns, 1)
        questions = [question for question, _ in turns]
        ballot = service().add_live_ballot(who, chat.sides, questions, transcripts, chat.pair_probability)
    except ToolkitError as error:
        problem = _problem_text(error)
    chat.ballot, chat.turns, chat.pending, chat.again = ballot, turns, None, False
    return problem


def _transcript(turns: list[Turn], side: int) -> str:
    if len(turns) == 1:
        return turns[0][1][side]
    return "\n\n".join(f"> {question}\n\n{answers[side]}" for question, answers in turns)


def _problem_text(error: ToolkitError) -> str:
    return f"{public_message(error, 'no answer just now; ask again in a moment').capitalize()}."


def _below(chat: Chat) -> None:
    """Draw the available actions."""
    if chat.reveal:
        after_vote(chat.reveal, "Ask something else", _start_over, _store_reveal)
        _toggles(chat)
        return
    if chat.ballot and not chat.pending:
        start_clock(chat.ballot)
        vote_buttons(chat.ballot, _store_reveal)
    with st.container(horizontal=True, gap="medium"):
        if chat.pending:
            st.button("Ask again", key="ask-again", type="primary")  # drawing the page asks it
        else:
            st.button("Answer again", key="answer-again", type="tertiary", on_click=_again)
        st.button("Start over", key="start-over", type="tertiary", on_click=_start_over)
    _toggles(chat)


def _toggles(chat: Chat) -> None:
    text_toggles(*(answer for _, answers in chat.turns for answer in answers))
    single_key_toggle()


def _submit_question() -> None:
    state = st.session_state
    try:
        state.chat = state.get("chat") or _start_chat()
    except ToolkitError as error:
        state.problem = _problem_text(error)
    else:
        state.chat.pending, state.chat.again = state.question, False


def _start_chat() -> Chat:
    a, b, pair_probability = service().draw_pair(live_models().names)
    return Chat((a, b), pair_probability, seed=time.time_ns() % 2**32)


def _again() -> None:
    """Resend the last question."""
    chat: Chat = st.session_state.chat
    chat.pending, chat.again = chat.turns.pop()[0], True
    chat.seed += 1


def _store_reveal(reveal: Reveal) -> None:
    st.session_state.chat.reveal = reveal


def _start_over() -> None:
    st.session_state.chat = None
