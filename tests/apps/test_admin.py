"""What an administrator does reaches voters at once; voters cannot do it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

PASSWORD = "between us"

pytestmark = pytest.mark.slow


@pytest.fixture
def address(
    serve: Callable[..., str], household: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    monkeypatch.setenv("ADAPTER_ARENA_ADMIN_PASSWORD", PASSWORD)
    return serve(household, "--db", f"sqlite:///{tmp_path / 'arena.db'}")


def test_closing_the_arena_stops_votes(page: Page, browser: Browser, address: str) -> None:
    voting = browser.new_context()
    voter = voting.new_page()
    voter.goto(address)
    voter.get_by_role("button", name="A is better").wait_for()
    page.goto(f"{address}/admin")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Close the arena").click()
    expect(page.get_by_text("closed")).to_be_visible()
    page.wait_for_timeout(2500)
    voter.keyboard.press("a")
    expect(voter.get_by_text("Your vote was not taken: the arena is closed.")).to_be_visible()
    voter.reload()
    expect(voter.get_by_text("The arena is closed.")).to_be_visible()
    voting.close()


def test_names_and_answers_stay_apart_while_people_vote(page: Page, address: str) -> None:
    page.goto(f"{address}/compare")
    expect(page.get_by_text("it stays shut while people vote")).to_be_visible()


def test_without_a_password_there_is_no_admin_page(
    page: Page, serve: Callable[..., str], household: Path, tmp_path: Path
) -> None:
    page.goto(serve(household, "--db", f"sqlite:///{tmp_path / 'arena.db'}"))
    page.get_by_role("button", name="A is better").wait_for()
    expect(page.get_by_role("link", name="Leaderboard")).to_be_visible()
    assert page.get_by_role("link", name="Admin").count() == 0
