"""Shared state of the pages: the arena service (one per process) and the current voter."""

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
from toolkit import io
from toolkit.arena.battles import Reveal, load_battle_pool
from toolkit.arena.live_models import LiveModels
from toolkit.arena.moderation import VoterReport, voter_reports
from toolkit.arena.service import ArenaService, NotAllowed, Rules
from toolkit.arena.store import Store
from toolkit.errors import ToolkitError
from toolkit.types import Verdict, Vote

if TYPE_CHECKING:
    from toolkit.ratings import BradleyTerry

logger = logging.getLogger(__name__)


@st.cache_resource(show_spinner=False)
def service() -> ArenaService:
    settings = Settings.from_environment()
    pool = load_battle_pool(Path(settings.run), settings.contestants)
    rules = Rules(
        seed=settings.seed,
        grace=settings.grace,
        per_minute=settings.per_minute,
        check_every=settings.check_every,
    )
    return ArenaService(pool, Store(settings.database), rules)


@st.cache_resource(show_spinner=False)
def live_models() -> LiveModels:
    """Models that answer on the Ask page."""
    return LiveModels(Path(Settings.from_environment().run))


def voter() -> str:
    """Voter id: a hash, so that the log contains no cookie or name."""
    if "voter" not in st.session_state:
        kind, secret = _credential()
        st.session_state.voter = hashlib.sha256(f"{kind}:{secret}".encode()).hexdigest()[:32]
        service().register_voter(st.session_state.voter, kind)
    return str(st.session_state.voter)


def public_message(
    error: ToolkitError, otherwise: str = "the server has a fault just now; try again in a moment"
) -> str:
    """The message of an error that is safe to show to voters.

    Rule violations are shown. Other errors may name contestants, folders or servers and are only logged.
    """
    if isinstance(error, NotAllowed):
        return str(error)
    logger.error("a voter's click had no effect", exc_info=error)
    return otherwise


@contextmanager
def show_errors(what: str) -> Iterator[None]:
    """Run a voter's action; on an error the page shows `what` and the reason."""
    try:
        yield
    except ToolkitError as error:
        st.session_state.problem = f"{what}: {public_message(error)}."


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
    """Whether an administrator can sign in."""
    return bool(os.environ.get(PASSWORD) or os.environ.get(ADMINS))


@st.cache_data(ttl=60, show_spinner=False)
def judge_votes() -> list[Vote]:
    """The judge's votes of the run, if it was judged."""
    file = Path(Settings.from_environment().run) / "votes.jsonl"
    return [vote for vote in io.read(file, Vote) if vote.kind == "judge"] if file.exists() else []


@st.cache_data(ttl=60, show_spinner=False)
def votes_with_texts() -> list[Reveal]:
    """The votes on answers that are not the run's own: live ones, and imported ones."""
    return service().store.cast_votes(service().pool.run, kinds=("live", "imported"))


@st.cache_data(ttl=60, show_spinner=False)
def judge_verdicts() -> list[Verdict]:
    """All judge verdicts of the run."""
    file = Path(Settings.from_environment().run) / "verdicts.jsonl"
    return list(io.read(file, Verdict)) if file.exists() else []


@st.cache_data(ttl=60, show_spinner=False)
def per_example_scores() -> dict[str, dict[str, dict[str, float]]]:
    """Contestant -> metric -> example -> value of the run."""
    from toolkit.metrics import Measurement

    files = sorted((Path(Settings.from_environment().run) / "measurements").glob("*.jsonl"))
    return {
        file.stem: {found.metric: found.per_example() for found in io.read(file, Measurement)}
        for file in files
    }


@st.cache_data(ttl=10, show_spinner=False)
def current_ratings(run: str) -> BradleyTerry | None:
    """The ratings now, a few seconds old at most; `None` before the first vote."""
    from toolkit.ratings import bradley_terry

    votes = service().store.votes(run)
    return bradley_terry(votes).for_open_arena(votes, arena_claims_of_run()) if votes else None


@st.cache_data(show_spinner=False)
def arena_claims_of_run() -> tuple[tuple[str, str], ...] | None:
    """The pairs that the arena's votes decide, by the run's recipe; `None`: all."""
    from toolkit.recipe import arena_claims, load

    file = Path(Settings.from_environment().run) / "recipe.yaml"
    return arena_claims(load(file)) if file.is_file() else None


@st.cache_data(ttl=30, show_spinner=False)
def voter_report_rows() -> list[VoterReport]:
    """How each voter's votes compare with the others'."""
    store, run = service().store, service().pool.run
    return voter_reports(store.votes(run), store.cast_votes(run, kinds=("check",)))


def flagged_voters() -> set[str]:
    """Ids of flagged voters."""
    return {report.voter for report in voter_report_rows() if report.flagged}
