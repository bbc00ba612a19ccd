"""What an administrator does reaches voters at once; voters cannot do it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.apps.provider import Provider, provider
from tests.arena.example_run import write_run
from toolkit.arena.settings import ArenaSettings, SettingsStore
from toolkit.arena.store import Store

PASSWORD = "between us"

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("admin")]


@pytest.fixture
def address(
    serve: Callable[..., str], example_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    monkeypatch.setenv("ADAPTER_ARENA_ADMIN_PASSWORD", PASSWORD)
    return serve(example_run, "--db", f"sqlite:///{tmp_path / 'arena.db'}")


def test_names_and_answers_stay_apart_until_the_arena_is_closed_which_stops_votes(
    page: Page, browser: Browser, address: str
) -> None:
    page.goto(f"{address}/compare")
    expect(page.get_by_text("it stays shut while people vote")).to_be_visible()
    voting = browser.new_context()
    voter = voting.new_page()
    voter.goto(address)
    voter.get_by_role("button", name="A is better").wait_for()
    page.goto(f"{address}/admin")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Close the arena").click()
    expect(page.get_by_text("closed", exact=True)).to_be_visible()
    page.set_viewport_size({"width": 390, "height": 800})
    log = page.get_by_role("listitem").filter(has_text="open: False")
    expect(log).to_contain_text("(Close the arena)")
    box = log.bounding_box()
    assert box is not None
    assert box["x"] + box["width"] <= 390, "nothing of the log is cut off on a phone"
    page.wait_for_timeout(2500)
    voter.keyboard.press("a")
    expect(voter.get_by_text("Your vote was not taken: the arena is closed.")).to_be_visible()
    voter.reload()
    expect(voter.get_by_text("The arena is closed.")).to_be_visible()
    voting.close()
    page.goto(f"{address}/compare")
    expect(page.get_by_role("heading", name="badger-c3")).to_be_visible()


def test_a_further_run_that_is_gone_is_reported_to_the_administrator_and_voting_goes_on(
    page: Page, serve: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADAPTER_ARENA_ADMIN_PASSWORD", PASSWORD)
    run = write_run(tmp_path / "results" / "household")
    store, gone = Store(f"sqlite:///{run / 'arena.db'}"), tmp_path / "results" / "last-week"
    SettingsStore(store, "household", time.time).change(
        ArenaSettings(runs=(str(gone),)), "compare with last week"
    )
    address = serve(run)
    page.goto(address)
    page.get_by_role("button", name="A is better").click()
    page.get_by_role("button", name="Next battle").wait_for()
    page.goto(f"{address}/leaderboard")
    page.get_by_role("heading", name="Votes of each pair").wait_for()
    assert page.get_by_text("last-week").count() == 0, "that is the administrator's matter"
    page.goto(f"{address}/admin")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_text("A further run takes no part.")).to_contain_text("last-week")
    page.get_by_role("button", name="Apply").wait_for()
    with page.expect_download() as downloaded:
        page.get_by_role("button", name="Download all votes").click()
    assert len(Path(downloaded.value.path()).read_text().splitlines()) == 1


def test_without_a_password_there_is_no_admin_page(
    page: Page, serve: Callable[..., str], example_run: Path, tmp_path: Path
) -> None:
    page.goto(serve(example_run, "--db", f"sqlite:///{tmp_path / 'arena.db'}"))
    page.get_by_role("button", name="A is better").wait_for()
    expect(page.get_by_role("link", name="Leaderboard")).to_be_visible()
    assert page.get_by_role("link", name="Admin").count() == 0


@pytest.fixture(scope="module")
def provided() -> Iterator[Provider]:
    with provider() as who:
        yield who


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('votes') / 'arena.db'}"


@pytest.fixture(scope="module")
def address_signing_in(
    serve: Callable[..., str],
    example_run: Path,
    database: str,
    provided: Provider,
    tmp_path_factory: pytest.TempPathFactory,
) -> str:
    """An arena that signs in by the provider and knows `boss@example.org` as administrator."""
    secrets = tmp_path_factory.mktemp("secrets") / "secrets.toml"
    secrets.write_text(provided.secrets())
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ADAPTER_ARENA_SECRETS", str(secrets))
        environment.setenv("ADAPTER_ARENA_ADMINS", "boss@example.org, deputy@example.org")
        return serve(example_run, "--db", database)


def test_administrators_sign_in_with_their_account(
    page: Page, address_signing_in: str, provided: Provider
) -> None:
    provided.person = {"sub": "17", "email": "boss@example.org", "email_verified": True}
    address = address_signing_in
    page.goto(f"{address}/admin")
    assert page.get_by_label("Password", exact=True).count() == 0, "none was set"
    page.get_by_role("button", name="Sign in with your account").click()
    page.get_by_role("button", name="A is better").wait_for()
    page.goto(f"{address}/admin")
    expect(page.get_by_role("button", name="Close the arena")).to_be_visible()


def test_a_signed_in_voter_is_the_same_in_every_browser(
    page: Page, browser: Browser, address_signing_in: str, database: str, provided: Provider
) -> None:
    provided.person = {"sub": "18", "email": "ann@example.org"}
    address = address_signing_in
    elsewhere = browser.new_context()
    for each in (page, elsewhere.new_page()):
        each.goto(f"{address}/yours")
        each.get_by_role("button", name="Sign in").click()
        each.get_by_role("button", name="A is better").click()
        each.get_by_role("button", name="Next battle").wait_for()
    page.goto(f"{address}/yours")
    expect(page.get_by_text("The last 2, newest first.")).to_be_visible()
    assert len({vote.voter for vote in Store(database).vote_rows(repeats=False)}) == 1
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("button", name="A is better").wait_for()
    page.goto(f"{address}/yours")
    expect(page.get_by_text("None yet.")).to_be_visible()
    elsewhere.close()
