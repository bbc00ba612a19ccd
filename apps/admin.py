"""Admin page: open or close the arena, select contestants and pairing, block voters, export votes."""

from __future__ import annotations

import hmac
import json
import os
import time
from functools import partial
from pathlib import Path

import streamlit as st

from apps.session import can_sign_in, is_admin, service, voter_report_rows
from apps.settings import PASSWORD, Settings
from toolkit.arena.markdown import safe_markdown
from toolkit.arena.settings import ArenaSettings
from toolkit.arena.store import Store
from toolkit.arena.vote_io import battle_row
from toolkit.errors import ToolkitError

TRIES = 5
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
    _session(control)
    _contest(control)
    _voters()
    _export()


def _sign_in() -> None:
    """By the identity provider, by the password, or by either, whichever the server was started with."""
    if can_sign_in():
        if st.user.get("is_logged_in"):
            st.write(
                f"You are signed in as {safe_markdown(str(st.user.get('email')))}, no administrator here."
            )
            st.button("Sign out", on_click=st.logout)
        else:
            st.button("Sign in with your account", type="primary", on_click=st.login)
    if os.environ.get(PASSWORD):
        _password_form(os.environ[PASSWORD])


def _password_form(wanted: str) -> None:
    state = st.session_state
    with st.form("sign-in", border=False, width=360):
        password = st.text_input("Password", type="password", autocomplete="current-password")
        if st.form_submit_button("Sign in", type="primary"):
            state.tries = state.get("tries", 0) + 1
            time.sleep(min(state.tries, TRIES))  # guessing takes its time
            if state.tries <= TRIES and hmac.compare_digest(password.encode(), wanted.encode()):
                state.admin = True
                st.rerun()
            st.error("That is not the password.")


def _session(control: ArenaSettings) -> None:
    st.header("Session", anchor=False)
    st.write("The arena is **open**." if control.open else "The arena is **closed**: nobody can vote.")
    label = "Close the arena" if control.open else "Open the arena"
    st.button(label, on_click=_toggle_open, args=(control, label))


def _contest(control: ArenaSettings) -> None:
    st.header("Contest", anchor=False)
    here = Path(Settings.from_environment().run)
    found = [str(path.parent) for path in sorted(here.parent.glob("*/completions")) if path.parent != here]
    with st.form("contest", border=False):
        runs = st.multiselect(
            "Further runs",
            list(dict.fromkeys([*found, *control.runs])),
            default=control.runs,
            format_func=_name,
        )
        contestants = st.multiselect(
            "Contestants",
            service().effective_settings.everyone.contestants,
            default=service().pool.contestants,
        )
        pairing = st.selectbox(
            "Pairing",
            list(PAIRINGS),
            index=list(PAIRINGS).index(control.pairing),
            format_func=lambda key: PAIRINGS[key],
        )
        if st.form_submit_button("Apply"):
            added = set(runs) != set(control.runs)
            chosen = () if added else tuple(contestants)
            update = {"runs": tuple(runs), "contestants": chosen, "pairing": pairing}
            if _apply(control.model_copy(update=update), "contest"):
                st.rerun()
    flagged = len(service().pool.flagged)
    st.caption(
        f"{flagged} answers say who wrote them and are not shown."
        if flagged
        else "No answer says who wrote it."
    )


def _voters() -> None:
    st.header("Voters", anchor=False)
    blocked = service().settings_store.blocked
    for report in voter_report_rows()[:20]:
        name, verdict, action = st.columns([3, 5, 2], vertical_alignment="center")
        name.text(report.voter[:12])
        fit = "too few votes to judge" if report.p_value is None else f"p = {report.p_value:.3f}"
        odd = " · **does not fit**" if report.flagged else ""
        passed = (
            f" · {report.checks - report.failed} of {report.checks} checks passed" if report.checks else ""
        )
        verdict.write(f"{report.votes} votes{passed} · {fit}{odd}")
        off = report.voter in blocked
        action.button(
            f"{'Unblock' if off else 'Block'} {report.voter[:12]}",
            key=f"block-{report.voter}",
            on_click=_block,
            args=(report.voter, not off),
        )
    if not voter_report_rows():
        st.write("Nobody has voted yet.")
    hidden = [voter for voter in blocked if voter not in {report.voter for report in voter_report_rows()}]
    for voter in hidden:
        st.button(f"Unblock {voter[:12]}", key=f"block-{voter}", on_click=_block, args=(voter, False))


def _export() -> None:
    st.header("Export", anchor=False)
    lines = partial(_lines, service().store, service().pool.run)
    st.download_button("Download all votes with their texts", lines, "battles.jsonl", "application/jsonl")


def _lines(store: Store, run: str) -> str:
    """Read the votes on download, not on every rerun of the page."""
    rows = (battle_row(reveal, texts=True) for reveal in store.cast_votes(run))
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _toggle_open(control: ArenaSettings, reason: str) -> None:
    _apply(control.model_copy(update={"open": not control.open}), reason)


def _apply(control: ArenaSettings, reason: str) -> bool:
    """Put the settings in force; shows the error and returns False where they are refused."""
    try:
        service().settings_store.change(control, reason)
    except ToolkitError as error:
        st.error(str(error))
        return False
    return True


def _block(voter: str, blocked: bool) -> None:
    service().settings_store.block(voter, "by an administrator", blocked=blocked)
    voter_report_rows.clear()


def _name(run: str) -> str:
    return Path(run).name
