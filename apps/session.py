"""Shared state of the pages: the arena service (one per process) and the current voter."""

import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import streamlit as st

from apps.settings import ADDRESS_HEADER, ADMINS, PASSWORD, VOTER_COOKIE, Settings
from toolkit.arena.battles import load_battle_pool
from toolkit.arena.live_models import LiveModels
from toolkit.arena.service import ArenaService, NotAllowed, Rules
from toolkit.arena.store import Store
from toolkit.errors import ToolkitError

logger = logging.getLogger(__name__)


@st.cache_resource(show_spinner=False)
def service() -> ArenaService:
    settings = Settings.from_environment()
    pool = load_battle_pool(Path(settings.run), settings.contestants)
    names = ("seed", "grace", "per_minute", "check_every", "reveal")
    rules = Rules(**{name: getattr(settings, name) for name in names})
    arena = ArenaService(pool, Store(settings.database), rules)
    arena.warm_up()
    return arena


@st.cache_resource(show_spinner=False)
def live_models() -> LiveModels:
    """Models that answer on the Ask page."""
    return LiveModels(Path(Settings.from_environment().run))


def voter() -> str:
    """Voter id: a keyed hash, so that the log contains no cookie or name, and nobody can compute one."""
    if "voter" not in st.session_state:
        store = service().store
        token = st.context.cookies.get(VOTER_COOKIE, "") or secrets.token_urlsafe(24)  # cookies refused
        cookie = store.cookie_voter(token)
        if account := _account():
            name = store.keyed_hash("account", *account)
            service().register_voter(name, "signed-in")
            store.join_account(cookie, name)
        elif Settings.from_environment().sign_in:
            raise NotAllowed("sign in to vote")
        else:
            name = cookie
            service().register_voter(name, "cookie", st.context.headers.get(ADDRESS_HEADER))
        st.session_state.voter = name
    return str(st.session_state.voter)


def must_sign_in() -> bool:
    """Whether the visitor has to sign in before voting; draws the button then."""
    if not Settings.from_environment().sign_in or _account():
        return False
    st.title("Sign in to vote", anchor=False)
    st.write("Only people with an account vote here. Your account is stored as a hash, never with your name.")
    st.button("Sign in", type="primary", on_click=st.login)
    return True


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


def _account() -> tuple[str, str] | None:
    """Issuer and subject of the account that is signed in."""
    if not st.user.get("is_logged_in"):
        return None
    return str(st.user.get("iss") or ""), str(st.user.get("sub") or st.user.get("email"))


def admin_name() -> str | None:
    """Who is signed in as an administrator, with the password or by the identity provider, if anybody."""
    if "admin" in st.session_state:
        return str(st.session_state.admin)
    account = _account()
    if account is None:
        return None
    named = {name.strip().casefold() for name in os.environ.get(ADMINS, "").split(",") if name.strip()}
    email = str(st.user.get("email") or "").casefold()
    if st.user.get("email_verified") is True and email in named:
        return email
    subject = "|".join(account)
    return subject if all(account) and subject.casefold() in named else None


def is_admin() -> bool:
    return admin_name() is not None


def can_sign_in() -> bool:
    """Whether an identity provider is configured, as Streamlit wants it, in `secrets.toml`."""
    return "is_logged_in" in st.user


def has_admins() -> bool:
    """Whether an administrator can sign in."""
    return bool(os.environ.get(PASSWORD) or os.environ.get(ADMINS))


def preference(name: str, default: bool = False) -> bool:
    """How the voter wants the pages, as chosen on an earlier visit."""
    if "preferences" not in st.session_state:
        st.session_state.preferences = dict(service().store.voter_preferences(voter()))
    return bool(st.session_state.preferences.get(name, default))


def preference_toggle(label: str, name: str, default: bool = False) -> None:
    """A switch whose position is kept for the voter's next visit, on every page."""

    def keep() -> None:
        preferences = st.session_state.preferences | {name: st.session_state[f"switch-{name}"]}
        st.session_state.preferences = preferences
        service().store.set_voter(voter(), preferences=preferences)

    st.session_state[f"switch-{name}"] = preference(name, default)
    st.toggle(label, key=f"switch-{name}", on_change=keep)
