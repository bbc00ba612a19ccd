"""Compare page: all answers to one example with scores, votes and judge verdicts."""

from collections.abc import Mapping, Sequence

import streamlit as st

from apps.cached_statistics import judge_verdicts, per_example_scores
from apps.session import is_admin, service, voter
from apps.vote_widgets import reasons_text, show_table, show_text, text_toggles
from toolkit.arena.markdown import safe_markdown
from toolkit.arena.tally import verdicts_on
from toolkit.types import Completion

MOST_ROWS = 20
"""Votes that are shown without a tap."""
OUTCOMES = {"tie": "tie", "both_bad": "both bad", None: "unreadable"}


def page() -> None:
    st.title("Compare", anchor=False)
    if service().settings_store.control.open and not is_admin():
        st.write("This page says who wrote what, so it stays shut while people vote.")
        return
    answers = service().pool.answers
    voting_on = service().open_example(voter())
    first_shown = next((n for n, key in enumerate(answers) if key != voting_on), 0)
    example = st.selectbox(
        "Example", list(answers), index=first_shown, format_func=lambda key: _label(key, answers[key])
    )
    if example == voting_on:
        st.write("You have an open battle on this example: vote on it or skip it first.")
        return
    service().store.add_view(voter(), example)  # no more battles with answers whose author the voter knows
    by_name = answers[example]
    first = next(iter(by_name.values()))
    with st.container(key="prompt"):
        for message in first.messages:
            st.header(message.role, anchor=False)
            show_text(message.content)
    chosen = st.pills("Contestants", list(by_name), selection_mode="multi", default=list(by_name)[:2])
    if first.reference and st.toggle("Show the reference"):
        with st.container(border=True, key="answer-reference"):
            st.header("Reference", anchor=False)
            show_text(first.reference)
    text_toggles(*(answer.completion for answer in by_name.values()))
    if chosen:
        _side_by_side([by_name[name] for name in chosen])
    _scores(example, [name for name in by_name if not chosen or name in chosen])
    _judgments(by_name)
    _votes(example)


def _side_by_side(completions: list[Completion]) -> None:
    columns = st.columns(len(completions))
    for number, (column, completion) in enumerate(zip(columns, completions, strict=True)):
        with column.container(border=True, height="stretch", key=f"answer-{number}"):
            st.header(safe_markdown(completion.contestant), anchor=False)
            cut = {"length": ", cut at the limit", "refused": ", refused by the server"}
            flag = ", says who wrote it" if completion.id in service().pool.flagged else ""
            st.caption(f"{completion.tokens} tokens{cut.get(completion.finish, '')}{flag}")
            show_text(completion.error or completion.completion)


def _scores(example: str, names: Sequence[str]) -> None:
    from toolkit.metric_info import metric_info  # a subpackage that voting does not need

    values = {name: per_example_scores().get(name, {}) for name in names}
    metrics = dict.fromkeys(metric for own in values.values() for metric in own if example in own[metric])
    if not metrics:
        return
    st.header("Scores on this example", anchor=False)
    rows = []
    for metric in metrics:
        info = metric_info(metric)
        found = {name: own.get(metric, {}).get(example) for name, own in values.items()}
        cells = {name: "" if v is None else f"{v:.{info.digits}f}" for name, v in found.items()}
        rows.append({"Metric": info.title, **cells})
    show_table(rows)


def _judgments(answers: Mapping[str, Completion]) -> None:
    found = verdicts_on(answers, judge_verdicts())
    if not found:
        return
    st.header("Judgments", anchor=False)
    several, rows = len({verdict.judge for *_, verdict in found}) > 1, []
    for a, b, verdict in found:
        first, second = (a, b) if verdict.order == "ab" else (b, a)
        p = verdict.probability_a
        cells = {
            "Read first": first,
            "Read second": second,
            "Preferred": {"a": a, "b": b}.get(str(verdict.outcome)) or OUTCOMES[verdict.outcome],
            "Sure": "" if p is None else f"{max(p, 1 - p):.0%}",
            "Reason": verdict.reason or "",
        }
        rows.append(({"Judge": verdict.judge} if several else {}) | cells)
    show_table(rows)
    st.caption("Two orders that agree make a vote of a judge; two that do not make a tie.")


def _votes(example: str) -> None:
    """People's votes on this example, oldest first."""
    st.header("Votes", anchor=False)
    rows = [
        {
            "A": reveal.ballot.contestant_a,
            "B": reveal.ballot.contestant_b,
            "Outcome": OUTCOMES.get(reveal.cast.outcome) or f"{str(reveal.cast.outcome).upper()} is better",
            "Why": reasons_text(reveal.cast),
        }
        for reveal in service().store.cast_votes(service().pool.run, example=example)
    ]
    with st.expander(f"{len(rows)} votes", expanded=len(rows) <= MOST_ROWS) if rows else st.container():
        show_table(rows, "No person has voted on this example yet.")


def _label(example: str, answers: dict[str, Completion]) -> str:
    prompt = " ".join(next(iter(answers.values())).messages[-1].content.split())
    return f"{example}: {prompt[:80]}"
