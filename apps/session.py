"""What every page needs: the desk, opened once a process, and who is looking."""

from __future__ import annotations

import hashlib
import re
import secrets
from pathlib import Path

import streamlit as st

from apps.settings import VOTER_COOKIE, Settings
from toolkit.arena.contest import read_contest
from toolkit.arena.desk import Desk, Rules
from toolkit.arena.store import Store


@st.cache_resource(show_spinner=False)
def desk() -> Desk:
    settings = Settings.from_environment()
    contest = read_contest(Path(settings.run), settings.contestants)
    rules = Rules(seed=settings.seed, grace=settings.grace, per_minute=settings.per_minute)
    return Desk(contest, Store(settings.database), rules)


def voter() -> str:
    """This person's id in the vote log: a hash, so that the log gives nobody's cookie or name away."""
    if "voter" not in st.session_state:
        kind, secret = _credential()
        st.session_state.voter = hashlib.sha256(f"{kind}:{secret}".encode()).hexdigest()[:32]
        desk().welcome(st.session_state.voter, kind)
    return str(st.session_state.voter)


def _credential() -> tuple[str, str]:
    """Signed in, or known by a cookie, or (with cookies refused) new with every visit."""
    if st.user.get("is_logged_in"):
        return "signed-in", str(st.user.get("sub") or st.user.get("email"))
    cookie = st.context.cookies.get(VOTER_COOKIE, "")
    return ("cookie", cookie) if re.fullmatch(r"[\w-]{32}", cookie) else ("visit", secrets.token_urlsafe(24))
