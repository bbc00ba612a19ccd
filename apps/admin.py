"""Admin page: open or close the arena, select contestants and pairing, block voters, export votes."""

import hmac
import json
import logging
import os
import time
from pathlib import Path
from threading import Lock

import streamlit as st

from apps.cached_statistics import Selection, ratings, reports
from apps.session import admin_name, can_sign_in, is_admin, service
from apps.settings import ADDRESS_HEADER, PASSWORD, Settings
from apps.vote_widgets import show_table
from toolkit.arena.markdown import safe_markdown
from toolkit.arena.moderation import VoterReport
from toolkit.arena.self_revealing import identity_match
from toolkit.arena.settings import ArenaSettings
from toolkit.arena.vote_io import battle_row
from toolkit.errors import ToolkitError

logger = logging.getLogger(__name__)

TRIES, ALL_TRIES, TRIES_SECONDS = 5, 50, 900
"""Wrong passwords of one address, and of all, in so many seconds, after which nobody can try."""

_ONE_GUESS = Lock()
"""Guesses of all sessions come one after the other: sent at once, they would all pass the count."""

PAGE, LISTED = 20, 100
"""Voters on a page, and rows of a list."""

PAIRINGS = {
    None: "as the recipe says",
    "active": "active: doubtful pairs first",
    "uniform": "uniform: every pair alike",
}


def page() -> None:
    st.title("Admin", anchor=False)
    if not is_admin():
        _sign_in()
        return
    control = service().settings_store.control
    for problem in service().effective_settings.problems:
        st.warning(safe_markdown(problem))
    st.header("Session", anchor=False)
    st.write("The arena is **open**." if control.open else "The arena is **closed**: nobody can vote.")
    label = f"{'Close' if control.open else 'Open'} the arena"
    st.button(label, on_click=_toggle_open, args=(control, label))
    _contest(control)
    _struck_answers()
    _voters()
    _events()
    st.header("Export", anchor=False)
    store, run = service().store, service().pool.run

    def lines() -> str:  # read on download, not on every rerun of the page
        rows = (battle_row(reveal, texts=True) for reveal in store.cast_votes(run))
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)

    st.download_button("Download all votes with their texts", lines, "battles.jsonl", "application/jsonl")


def _sign_in() -> None:
    """By the identity provider, by the password, or by either, whichever the server was started with."""
    if can_sign_in() and st.user.get("is_logged_in"):
        email = safe_markdown(str(st.user.get("email")))
        st.write(f"You are signed in as {email}, no administrator here.")
        st.button("Sign out", on_click=st.logout)
    elif can_sign_in():
        st.button("Sign in with your account", type="primary", on_click=st.login)
    if not os.environ.get(PASSWORD):
        return
    with st.form("sign-in", border=False, width=360):
        password = st.text_input("Password", type="password", autocomplete="current-password")
        if st.form_submit_button("Sign in", type="primary"):
            with _ONE_GUESS:
                problem = _check_password(password, os.environ[PASSWORD])
            if problem is None:
                st.rerun()
            time.sleep(1)
            st.error(problem)


def _check_password(password: str, expected: str) -> str | None:
    """Open the session to whoever has the password, else return the problem.

    After some wrong ones of an address, or many of all, nobody can try for a while.
    """
    store = service().store
    address = store.keyed_hash("address", str(st.context.headers.get(ADDRESS_HEADER)))
    actor, now = f"address {address[:12]}", time.time()
    subjects = {f"password:{address}": TRIES, "password": ALL_TRIES}
    if any(store.count_events(subject, now - TRIES_SECONDS) >= most for subject, most in subjects.items()):
        return f"Too many wrong passwords; try again in {TRIES_SECONDS // 60} minutes."
    if hmac.compare_digest(password.encode(), expected.encode()):
        st.session_state.admin = f"password, {actor}"
        store.record_event("signed in", "password", "", now, actor)
        return None
    for subject in subjects:
        store.record_event(subject, "wrong password", "", now, actor)
    logger.warning("a wrong administrator password from %s", actor)
    return "That is not the password."


def _contest(control: ArenaSettings) -> None:
    st.header("Contest", anchor=False)
    here = Path(Settings.from_environment().run)
    found = [str(path.parent) for path in sorted(here.parent.glob("*/completions")) if path.parent != here]
    with st.form("contest", border=False):
        shown = list(dict.fromkeys([*found, *control.runs]))
        runs = st.multiselect("Further runs", shown, control.runs, format_func=lambda run: Path(run).name)
        everyone = service().effective_settings.everyone.contestants
        contestants = st.multiselect("Contestants", everyone, default=service().pool.contestants)
        names = list(PAIRINGS)
        index = names.index(control.pairing)
        pairing = st.selectbox("Pairing", names, index=index, format_func=lambda key: PAIRINGS[key])
        repeats = st.toggle("Let voters go on after the last unseen answer", value=control.repeats)
        label = "Voters without an account who count, of one network address (0: all)"
        limit = st.number_input(label, 0, 10_000, control.voters_per_address)
        if st.form_submit_button("Apply"):
            added = set(runs) != set(control.runs)
            chosen = () if added else tuple(contestants)
            limits = {"repeats": repeats, "voters_per_address": limit}
            update = {"runs": tuple(runs), "contestants": chosen, "pairing": pairing, **limits}
            if _apply(control.model_copy(update=update), "contest"):
                st.rerun()


def _struck_answers() -> None:
    """The answers that are not shown since they name their author."""
    pool = service().pool
    struck = [
        {
            "Contestant": answer.contestant,
            "Example": example,
            "Answer": identity_match(answer.completion, pool.contestants) or "",
        }
        for example, answers in pool.answers.items()
        for answer in answers.values()
        if answer.id in pool.flagged
    ]
    if not struck:
        st.caption("No answer says who wrote it.")
        return
    with st.expander(f"{len(struck)} answers say who wrote them and are not shown"):
        show_table(struck[:LISTED])


def _voters() -> None:
    st.header("Voters", anchor=False)
    every = reports()
    if not every:
        st.write("Nobody has voted yet.")
        return
    blocked = service().settings_store.blocked
    searched = st.text_input("Search voters", placeholder="First letters of an id").strip()
    _ratings_without(frozenset(report.voter for report in every if report.flagged))
    found = [report for report in every if report.voter.startswith(searched)]
    page = st.pagination(-(-len(found) // PAGE)) if len(found) > PAGE else 1
    for report in found[(page - 1) * PAGE : page * PAGE]:
        off = report.voter in blocked
        state = " · **blocked**" if off else " · **conspicuous**" if report.flagged else ""
        count = f"{report.votes} {'vote' if report.votes == 1 else 'votes'}"
        with st.expander(f"{report.voter[:12]} · {count}{state}"):
            _voter(report, off)
    for name in blocked - {report.voter for report in every}:
        st.button(f"Unblock {name[:12]}", key=f"block-{name}", on_click=_block, args=(name, False))


def _voter(report: VoterReport, off: bool) -> None:
    lines = [f"- {each.kind}: {each.detail} (p = {each.p_value:.2g})" for each in report.evidence]
    if report.checks:
        lines.append(f"- {report.checks - report.failed} of {report.checks} attention checks passed")
    if report.seconds is not None:
        lines.append(f"- {report.seconds:.1f} s from display to vote (median)")
    st.markdown("\n".join(lines) or "Nothing is conspicuous.")
    st.text_input("Reason", key=f"reason-{report.voter}", value="; ".join(e.kind for e in report.evidence))
    label = f"{'Unblock' if off else 'Block'} {report.voter[:12]}"
    st.button(label, key=f"block-{report.voter}", on_click=_block, args=(report.voter, not off))
    if st.toggle("Show the votes", key=f"votes-{report.voter}"):
        rows = [
            {
                "Example": reveal.ballot.example_id,
                "A": reveal.ballot.contestant_a,
                "B": reveal.ballot.contestant_b,
                "Outcome": str(reveal.cast.outcome),
                "Seconds": "" if reveal.cast.seconds is None else f"{reveal.cast.seconds:.1f}",
                "Comment": reveal.cast.comment,
            }
            for reveal in service().store.history(report.voter, LISTED)
        ]
        show_table(rows)


def _ratings_without(flagged: frozenset[str]) -> None:
    every, rest = ratings(), ratings(Selection(without=flagged)) if flagged else None
    if every is None or rest is None:
        return
    without = {row.contestant: f"{row.value:.0f} (rank {row.rank})" for row in rest.ratings}
    rows = [
        {
            "Contestant": row.contestant,
            "Rating": f"{row.value:.0f} (rank {row.rank})",
            "Without them": without.get(row.contestant, ""),
        }
        for row in every.ratings
    ]
    st.caption(f"Ratings with and without {len(flagged)} conspicuous voters")
    show_table(rows)


def _events() -> None:
    st.header("What was done", anchor=False)
    lines = []
    for event in service().store.event_log():
        when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(event["at"]))
        what = f"{event['subject'][:40]}: {_plain(event['value'])}"[:200]
        who, what, reason = (
            safe_markdown(" ".join(text.split()))
            for text in (event["actor"] or "not recorded", what, event["reason"])
        )
        lines.append(f"- **{when}**, {who}  \n  {what}{reason and f' ({reason})'}")
    with st.container(key="log"):
        st.markdown("\n".join(lines) or "Nothing yet.")


def _plain(value: object) -> str:
    """Settings in words, without those that are not set; other values as they are."""
    if not isinstance(value, dict):
        return str(value)
    made = {name: each for name, each in value.items() if each or isinstance(each, int)}
    lists = {name: ", ".join(each) if isinstance(each, list) else each for name, each in made.items()}
    return "; ".join(f"{name.replace('_', ' ')}: {each}" for name, each in lists.items())


def _toggle_open(control: ArenaSettings, reason: str) -> None:
    _apply(control.model_copy(update={"open": not control.open}), reason)


def _apply(control: ArenaSettings, reason: str) -> bool:
    """Put the settings in force; shows the error and returns False where they are refused."""
    try:
        service().settings_store.change(control, reason, admin_name() or "")
    except ToolkitError as error:
        st.error(str(error))
        return False
    return True


def _block(voter: str, blocked: bool) -> None:
    reason = st.session_state.get(f"reason-{voter}") or "by an administrator"
    service().settings_store.block(voter, reason, admin_name() or "", blocked=blocked)
