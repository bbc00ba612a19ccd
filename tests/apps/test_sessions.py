"""Who a session is: accounts, administrators, and guesses of the password, without a browser."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from apps import admin, session
from apps.settings import ADDRESS_HEADER, ADMINS, PASSWORD, VOTER_COOKIE, Settings
from toolkit.arena.service import ArenaService
from toolkit.arena.store import Store

BOSS = {"is_logged_in": True, "iss": "https://id.example", "sub": "17", "email": "Boss@Example.org"}


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'arena.db'}"


@pytest.fixture
def visitor(example_run: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets the settings, and who the next sessions are."""
    for name, value in Settings(run=str(example_run), database=url).as_environment().items():
        monkeypatch.setenv(name, value)
    st.cache_resource.clear()
    st.cache_data.clear()

    def become(user: dict[str, Any] | None = None, cookie: str = "c", address: str = "192.0.2.1") -> None:
        monkeypatch.setattr(st, "user", user or {"is_logged_in": False})
        context = SimpleNamespace(cookies={VOTER_COOKIE: cookie}, headers={ADDRESS_HEADER: address})
        monkeypatch.setattr(st, "context", context)

    become()
    return become


def admin_page() -> AppTest:
    def script() -> None:
        from apps import admin

        admin.page()

    return AppTest.from_function(script, default_timeout=60).run()


def press(page: AppTest, label: str) -> AppTest:
    next(button for button in page.button if button.label == label).click()
    return page.run()


def sign_in(password: str) -> AppTest:
    page = admin_page()
    page.text_input[0].input(password)
    return press(page, "Sign in")


def is_open(page: AppTest) -> bool:
    assert not page.exception
    return any("Close the arena" in button.label for button in page.button)


@pytest.mark.parametrize(
    ("claims", "named", "admitted"),
    [
        ({"email_verified": True}, "boss@example.org", True),
        ({"email_verified": True}, " x@y.z , BOSS@EXAMPLE.ORG", True),
        ({"email_verified": False}, "boss@example.org", False),
        ({"email_verified": "true"}, "boss@example.org", False),
        ({"email_verified": 1}, "boss@example.org", False),
        ({}, "boss@example.org", False),
        ({"email_verified": True, "email": ""}, ",", False),
        ({"email_verified": True, "email": "boss@example.org.evil"}, "boss@example.org", False),
        ({}, "https://id.example|17", True),
        ({"iss": "https://evil.example"}, "https://id.example|17", False),
        ({"sub": ""}, "https://id.example|", False),
        ({"is_logged_in": False, "email_verified": True}, "boss@example.org", False),
    ],
)
def test_admin_opens_for_verified_addresses_and_named_accounts_alone(
    visitor: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    claims: dict[str, Any],
    named: str,
    admitted: bool,
) -> None:
    monkeypatch.setenv(ADMINS, named)
    visitor(BOSS | claims)
    assert session.is_admin() == admitted


def test_the_log_reports_who_did_what(visitor: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ADMINS, "boss@example.org")
    monkeypatch.setenv(PASSWORD, "between us")
    visitor(BOSS | {"email_verified": True})
    assert not is_open(press(admin_page(), "Close the arena"))
    visitor(address="192.0.2.7")
    assert is_open(press(sign_in("between us"), "Open the arena"))
    store: Store = session.service().store
    actors = [(event["subject"].partition(":")[0], event["actor"]) for event in store.event_log()]
    here = f"address {store.keyed_hash('address', '192.0.2.7')[:12]}"
    value = {"open": False, "contestants": ["a", "b"], "closed_at": 0.0, "voters_per_address": 0}
    assert admin._plain(value) == "open: False; contestants: a, b; voters per address: 0"
    assert actors == [("arena", f"password, {here}"), ("signed in", here), ("arena", "boss@example.org")]


@pytest.mark.slow
def test_guesses_of_one_address_share_a_limit_over_all_sessions(
    visitor: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PASSWORD, "between us")
    monkeypatch.setattr(admin.time, "sleep", lambda _: None)

    def guess(password: str, address: str) -> str:
        visitor(address=address)
        page = sign_in(password)
        return page.error[0].value if page.error else "opened"

    assert {guess(f"guess {number}", "192.0.2.1") for number in range(admin.TRIES)} == {
        "That is not the password."
    }
    assert "Too many wrong passwords" in guess("between us", "192.0.2.1"), "the right one too, from there"
    assert guess("between us", "192.0.2.2") == "opened"
    wrong = [event for event in session.service().store.event_log() if event["value"] == "wrong password"]
    assert len(wrong) == 2 * admin.TRIES
    assert all(event["actor"].startswith("address ") for event in wrong)


def test_guesses_that_come_at_once_are_counted_one_by_one(
    visitor: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[str] = []
    session.service()

    def guess(number: int) -> None:
        with admin._ONE_GUESS:
            checked.append(str(admin._check_password(f"guess {number}", "between us")))

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(guess, range(20)))
    assert checked.count("That is not the password.") == admin.TRIES


def test_a_cookies_votes_join_the_account_at_sign_in(visitor: Callable[..., None]) -> None:
    def open_session() -> str:
        def script() -> None:
            import streamlit as st

            from apps.session import voter

            st.text(voter())

        page = AppTest.from_function(script, default_timeout=60).run()
        assert not page.exception
        return str(page.text[0].value)

    service: ArenaService = session.service()
    cookie = open_session()
    vote = service.vote(cookie, service.ballot(cookie).id, "a").ballot
    visitor(BOSS)
    account = open_session()
    assert account != cookie
    assert [reveal.ballot.id for reveal in service.history(account)] == [vote.id]
    assert {row.voter for row in service.store.vote_rows()} == {account}
    visitor()  # signed out again: the cookie is a new voter, not the account
    after = open_session()
    assert after not in (cookie, account)
    assert service.history(after) == []
    visitor({**BOSS, "sub": "18"})
    assert open_session() not in (cookie, account, after)
    assert {row.voter for row in service.store.vote_rows()} == {account}, "another account takes nothing over"
