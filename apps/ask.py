"""Ask page: the voter's own questions to two anonymous contestants, then the same vote.

Both answers are shown together, so that speed reveals no model. A conversation stays on the server until
it is started over: the page can be reloaded at any time.
"""

import time
from collections import OrderedDict
from dataclasses import dataclass, field
from threading import Lock

import streamlit as st

from apps import vote_widgets as widgets
from apps.session import is_admin, live_models, must_sign_in, public_message, service, voter
from toolkit.arena.battles import Reveal
from toolkit.arena.live_models import Job, LiveAnswer
from toolkit.errors import ToolkitError
from toolkit.types import Message

MOST_CONVERSATIONS = 1_000
"""Conversations that are kept in memory; beyond, those that nobody touched for longest are let go."""


@dataclass
class Turn:
    question: str
    answers: tuple[str, str]
    cut: str
    """Sides whose answer ended at the token limit."""


@dataclass
class Chat:
    """One voter's questions and both answers; stays on the server."""

    sides: tuple[str, str]
    pair_probability: float
    seed: int
    turns: list[Turn] = field(default_factory=list)
    pending: str | None = None
    """A question without answers yet."""
    job: Job | None = None
    """What answers it; `None`: it failed, and may be tried again."""
    ballot: str | None = None
    """Id of the stored ballot."""
    reveal: Reveal | None = None
    lock: Lock = field(default_factory=Lock)
    """Held by the script run that stores the answers; concurrent reruns wait."""


@st.cache_resource(show_spinner=False)
def _chats() -> OrderedDict[str, Chat]:
    """Voter id -> conversation."""
    return OrderedDict()


def page() -> None:
    state = st.session_state
    if must_sign_in():
        return
    chat = _chats().get(voter())
    if chat and chat.job and chat.job.done:
        _take_answers(chat)
    if chat:
        widgets.announce_status("Both are thinking." if chat.job else "Both have answered.", chat.reveal)
    st.title(widgets.VERDICT[chat.reveal.cast.outcome] if chat and chat.reveal else "Ask", anchor=False)
    if chat is None or chat.reveal is None:
        prompt = "Ask both something more" if chat else "Your question"
        busy = bool(chat and chat.job)
        st.chat_input(prompt, key="question", max_chars=4000, disabled=busy, on_submit=_submit_question)
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
    for number, turn in enumerate(chat.turns):
        _question(str(number), turn.question, last=not chat.pending and turn is chat.turns[-1])
        widgets.answer_panels(turn.answers, chat.reveal, f"-{number}", turn.cut)
    if chat.pending:
        _question("pending", chat.pending, last=True)
        text = "Thinking..." if chat.job else "*No answer*"
        widgets.answer_panels((text, text), None, "-pending")
        if chat.job:
            _wait(chat.job)


def _question(key: str, question: str, *, last: bool) -> None:
    with st.container(key=f"prompt-now-{key}" if last else f"prompt-{key}"):  # the last one stays in sight
        st.header("You", anchor=False)
        widgets.show_text(question)


@st.fragment(run_every=1.0)
def _wait(job: Job, before: str = "") -> None:
    """Show the elapsed time, updated every second, until all answers have arrived."""
    if job.done:
        st.rerun()
    ahead = 0 if before else live_models().ahead(job)
    place = f", {ahead} {'question' if ahead == 1 else 'questions'} before yours" if ahead else ""
    st.caption(f"{before}{job.seconds:.0f} s{place}")


def _take_answers(chat: Chat) -> None:
    """Store the answers that have come as a ballot, once, whatever reruns there are."""
    with chat.lock:
        if chat.job is None or chat.pending is None:
            return
        job, chat.job = chat.job, None
        found = job.future.result()
        error = next((answer.error for answer in found if answer.error), None)
        if error is not None:
            st.session_state.problem = _problem_text(error)
            return
        cut = "".join(side for side, answer in zip("ab", found, strict=True) if answer.cut)
        turn = Turn(chat.pending, (found[0].text, found[1].text), cut)
        turns = [*chat.turns, turn]
        ballot = None
        try:
            questions = [each.question for each in turns]
            texts = _transcript(turns, 0), _transcript(turns, 1)
            ballot = service().add_live_ballot(
                voter(), chat.sides, questions, texts, cut=cut, pair_probability=chat.pair_probability
            )
        except ToolkitError as problem:
            st.session_state.problem = _problem_text(problem)
        chat.ballot, chat.turns, chat.pending = ballot, turns, None


def _transcript(turns: list[Turn], side: int) -> str:
    if len(turns) == 1:
        return turns[0].answers[side]
    return "\n\n".join(f"> {turn.question}\n\n{turn.answers[side]}" for turn in turns)


def _problem_text(error: ToolkitError) -> str:
    return f"{public_message(error, 'no answer just now; ask again in a moment').capitalize()}."


def _below(chat: Chat) -> None:
    if chat.reveal:
        widgets.after_vote(chat.reveal, "Ask something else", _start_over, _store_reveal)
    else:
        if chat.ballot and not chat.pending:
            widgets.start_clock(chat.ballot)
            widgets.vote_buttons(chat.ballot, _store_reveal)
        with st.container(horizontal=True, gap="medium"):
            if chat.pending and not chat.job:
                st.button("Ask again", key="ask-again", type="primary", on_click=_ask, args=(chat, False))
            elif not chat.pending:
                st.button("Answer again", key="answer-again", type="tertiary", on_click=_again)
            st.button("Start over", key="start-over", type="tertiary", on_click=_start_over)
    widgets.text_toggles(*(answer for turn in chat.turns for answer in turn.answers))
    widgets.single_key_toggle()


def _submit_question() -> None:
    chats = _chats()
    try:
        if voter() not in chats:
            a, b, pair_probability = service().draw_pair(live_models().names)
            chats[voter()] = Chat((a, b), pair_probability, seed=time.time_ns() % 2**32)
        chat = chats[voter()]
    except ToolkitError as error:
        st.session_state.problem = _problem_text(error)
        return
    while len(chats) > MOST_CONVERSATIONS:
        chats.popitem(last=False)
    if chat.job is None:
        chat.pending = st.session_state.question
        _ask(chat, sampled=False)


def _ask(chat: Chat, sampled: bool) -> None:
    """Put the pending question to both sides, each in its own conversation."""
    conversations: list[list[Message]] = [[], []]
    for side, messages in enumerate(conversations):
        for turn in chat.turns:
            messages.append(Message(role="user", content=turn.question))
            messages.append(Message(role="assistant", content=turn.answers[side]))
        messages.append(Message(role="user", content=str(chat.pending)))
    try:
        service().count_question(voter())
        chat.job = live_models().submit(chat.sides, conversations, seed=chat.seed, sampled=sampled)
    except ToolkitError as error:
        st.session_state.problem = _problem_text(error)


def _again() -> None:
    chat = _chats()[voter()]
    if chat.job is None and chat.turns:
        chat.pending = chat.turns.pop().question
        chat.seed += 1
        _ask(chat, sampled=True)


def _store_reveal(reveal: Reveal) -> None:
    _chats()[voter()].reveal = reveal


def _start_over() -> None:
    _chats().pop(voter(), None)


def try_page() -> None:
    """Try page: one prompt to all contestants side by side, with names; for administrators."""
    st.title("Try", anchor=False)
    if not is_admin():
        st.write("For administrators: sign in on the page Admin first.")
        return
    st.chat_input("A prompt for all contestants", key="trial-prompt", max_chars=8000, on_submit=_start_trial)
    for name in live_models().missing:
        st.caption(f"{name} cannot answer: its weights are missing.")
    if "trial" not in st.session_state:
        st.write("One prompt, and what every contestant answers. Nothing is stored or counted.")
        return
    prompt, job = st.session_state.trial
    _question("trial", prompt, last=True)
    if not job.done:
        _wait(job, f"{len(job.names)} contestants are answering: ")
        return
    answers: tuple[LiveAnswer, ...] = job.future.result()
    for start in range(0, len(answers), 2):
        for column, place in zip(st.columns(2, gap="medium"), range(start, len(answers)), strict=False):
            answer = answers[place]
            with column.container(border=True, height="stretch", key=f"answer-trial-{place}"):
                st.header(job.names[place], anchor=False)
                if answer.error:
                    st.warning(str(answer.error))
                else:
                    widgets.show_text(answer.text)
                if answer.cut:
                    st.caption("This answer was cut at the token limit.")
    widgets.text_toggles(*(answer.text for answer in answers))


def _start_trial() -> None:
    prompt, names = st.session_state["trial-prompt"], live_models().names
    conversations = [[Message(role="user", content=prompt)]] * len(names)
    st.session_state.trial = prompt, live_models().submit(names, conversations, seed=time.time_ns() % 2**32)
