"""Compare: one example, everybody's answer, and what people and judges said. It names the contestants."""

from __future__ import annotations

import streamlit as st

from apps.session import desk, is_admin, judge_votes
from toolkit.arena.safe_markdown import safe_markdown
from toolkit.types import Completion


def page() -> None:
    st.title("Compare", anchor=False)
    if desk().office.control.open and not is_admin():
        st.write("This page says who wrote what, so it stays shut while people vote.")
        return
    answers = desk().contest.answers
    example = st.selectbox("Example", list(answers), format_func=lambda key: _label(key, answers[key]))
    by_name = answers[example]
    first = next(iter(by_name.values()))
    with st.container(key="prompt"):
        for message in first.messages:
            st.subheader(message.role, anchor=False)
            st.markdown(safe_markdown(message.content))
    chosen = st.pills("Contestants", list(by_name), selection_mode="multi", default=list(by_name)[:2])
    if first.reference and st.toggle("Show the reference"):
        with st.container(border=True, key="answer-reference"):
            st.subheader("Reference", anchor=False)
            st.markdown(safe_markdown(first.reference))
    if chosen:
        _side_by_side([by_name[name] for name in chosen])
    _said(example)


def _side_by_side(completions: list[Completion]) -> None:
    for number, (column, completion) in enumerate(
        zip(st.columns(len(completions)), completions, strict=True)
    ):
        with column.container(border=True, height="stretch", key=f"answer-{number}"):
            st.subheader(safe_markdown(completion.contestant), anchor=False)
            cut = ", cut at the limit" if completion.finish == "length" else ""
            flag = ", says who wrote it" if completion.id in desk().contest.flagged else ""
            st.caption(f"{completion.tokens} tokens{cut}{flag}")
            st.markdown(safe_markdown(completion.completion))


def _said(example: str) -> None:
    """Votes on this example."""
    votes = [*desk().store.votes(desk().contest.run), *judge_votes()]
    rows = [
        {"A": vote.model_a, "B": vote.model_b, "Outcome": vote.outcome.replace("_", " "), "By": vote.kind}
        for vote in votes
        if vote.example_id == example
    ]
    st.subheader("Votes", anchor=False)
    if rows:
        st.table(rows, hide_index=True, border="horizontal")
    else:
        st.write("None on this example yet.")


def _label(example: str, answers: dict[str, Completion]) -> str:
    prompt = " ".join(next(iter(answers.values())).messages[-1].content.split())
    return f"{example}: {prompt[:80]}"
