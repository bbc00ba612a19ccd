"""What every page needs: the desk, opened once a process, and who is looking."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from apps.settings import ADMINS, PASSWORD, VOTER_COOKIE, Settings
from toolkit import records
from toolkit.arena.ballot import Reveal
from toolkit.arena.contest import read_contest
from toolkit.arena.desk import Desk, NotAllowed, Rules
from toolkit.arena.respondents import Respondents
from toolkit.arena.store import Store
from toolkit.arena.voters import VoterReport, voter_reports
from toolkit.errors import ToolkitError
from toolkit.types import Verdict, Vote

if TYPE_CHECKING:
    from toolkit.ratings import BradleyTerry

logger = logging.getLogger(__name__)


@st.cache_resource(show_spinner=False)
def desk() -> Desk:
    settings = Settings.from_environment()
    contest = read_contest(Path(settings.run), settings.contestants)
    rules = Rules(
        seed=settings.seed,
        grace=settings.grace,
        per_minute=settings.per_minute,
        check_every=settings.check_every,
    )
    return Desk(contest, Store(settings.database), rules)


@st.cache_resource(show_spinner=False)
def respondents() -> Respondents:
    """Who answers on the Ask page."""
    return Respondents(Path(Settings.from_environment().run))


def voter() -> str:
    """This person's id in the vote log: a hash, so that the log gives nobody's cookie or name away."""
    if "voter" not in st.session_state:
        kind, secret = _credential()
        st.session_state.voter = hashlib.sha256(f"{kind}:{secret}".encode()).hexdigest()[:32]
        desk().welcome(st.session_state.voter, kind)
    return str(st.session_state.voter)


def told(
    error: ToolkitError, otherwise: str = "the server has a fault just now; try again in a moment"
) -> str:
    """What a voter is told of an error.

    The arena's own rules are told. Other errors may name contestants, folders or servers: the log has them.
    """
    if isinstance(error, NotAllowed):
        return str(error)
    logger.error("a voter's click had no effect", exc_info=error)
    return otherwise


@contextmanager
def saying(what: str) -> Iterator[None]:
    """Carry out what a voter asked for; an error ends the block, and the page says `what` and why."""
    try:
        yield
    except ToolkitError as error:
        st.session_state.problem = f"{what}: {told(error)}."


def _credential() -> tuple[str, str]:
    """Signed in, or known by a cookie, or (with cookies refused) new with every visit."""
    if st.user.get("is_logged_in"):
        return "signed-in", str(st.user.get("sub") or st.user.get("email"))
    cookie = st.context.cookies.get(VOTER_COOKIE, "")
    return ("cookie", cookie) if re.fullmatch(r"[\w-]{32}", cookie) else ("visit", secrets.token_urlsafe(24))


def is_admin() -> bool:
    """Signed in with the administrator's password, or by the identity provider as one of them."""
    if st.session_state.get("admin"):
        return True
    named = {name.strip() for name in os.environ.get(ADMINS, "").split(",") if name.strip()}
    known = bool(st.user.get("is_logged_in")) and st.user.get("email_verified") is not False
    return known and str(st.user.get("email")) in named


def can_sign_in() -> bool:
    """Whether an identity provider is configured, as Streamlit wants it, in `secrets.toml`."""
    return "is_logged_in" in st.user


def has_admins() -> bool:
    """Whether anybody can be an administrator here."""
    return bool(os.environ.get(PASSWORD) or os.environ.get(ADMINS))


@st.cache_data(ttl=60, show_spinner=False)
def judge_votes() -> list[Vote]:
    """The judge's votes of the run, if it was judged."""
    file = Path(Settings.from_environment().run) / "votes.jsonl"
    return [vote for vote in records.read(file, Vote) if vote.kind == "judge"] if file.exists() else []


@st.cache_data(ttl=60, show_spinner=False)
def votes_with_texts() -> list[Reveal]:
    """The votes on answers that are not the run's own: live ones, and imported ones."""
    return desk().store.voted(desk().contest.run, kinds=("live", "imported"))


@st.cache_data(ttl=60, show_spinner=False)
def judgments() -> list[Verdict]:
    """What the run's judge said, verdict by verdict."""
    file = Path(Settings.from_environment().run) / "verdicts.jsonl"
    return list(records.read(file, Verdict)) if file.exists() else []


@st.cache_data(ttl=60, show_spinner=False)
def measured() -> dict[str, dict[str, dict[str, float]]]:
    """Contestant -> metric -> example -> value, of the run the arena was opened on."""
    from toolkit.metrics import Measurement

    files = sorted((Path(Settings.from_environment().run) / "measurements").glob("*.jsonl"))
    return {
        file.stem: {found.metric: found.per_example() for found in records.read(file, Measurement)}
        for file in files
    }


@st.cache_data(ttl=10, show_spinner=False)
def standing(run: str) -> BradleyTerry | None:
    """The ratings now, a few seconds old at most; `None` before the first vote."""
    from toolkit.ratings import bradley_terry

    votes = desk().store.votes(run)
    return bradley_terry(votes) if votes else None


@st.cache_data(ttl=30, show_spinner=False)
def report_on_voters() -> list[VoterReport]:
    """How each voter's votes compare with the others'."""
    store, run = desk().store, desk().contest.run
    return voter_reports(store.votes(run), store.voted(run, kinds=("check",)))


def suspects() -> set[str]:
    """Voters who do not fit."""
    return {report.voter for report in report_on_voters() if report.flagged}
