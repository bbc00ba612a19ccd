"""A voter's own questions, answered live by two endpoints of this test, blind until the vote."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.apps.chat import Chat, chat, write_live_run
from tests.apps.test_blind import Wire
from toolkit.arena.battles import Reveal
from toolkit.arena.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ask")]


@pytest.fixture(scope="module")
def answering() -> Iterator[Chat]:
    with chat() as server:
        yield server


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, answering: Chat) -> Path:
    return write_live_run(tmp_path_factory.mktemp("results") / "household", answering.url)


@pytest.fixture(scope="module")
def arena(serve: Callable[..., str], run: Path) -> str:
    """The address of its Ask page; every test is a voter of its own, with a question of its own."""
    return f"{serve(run, '--ask')}/ask"


@pytest.fixture(autouse=True)
def quick(answering: Chat) -> None:
    """Both are there, and think no longer than a test wants."""
    answering.down = False
    answering.free.set()
    answering.temperatures.clear()


def ask(page: Page, question: str) -> None:
    page.get_by_test_id("stChatInputTextArea").fill(question)
    page.keyboard.press("Enter")


def voted(run: Path, question: str) -> list[Reveal]:
    """The votes on talks that begin with a question."""
    cast = Store(f"sqlite:///{run / 'arena.db'}").cast_votes()
    return [reveal for reveal in cast if reveal.ballot.messages[0].content == question]


def test_two_contestants_answer_live_and_stay_anonymous(page: Page, arena: str, run: Path) -> None:
    wire = Wire(page)
    page.goto(arena)
    ask(page, "What is a bowl?")
    expect(page.get_by_text("Briefly: answer number 1.")).to_be_visible()
    expect(page.get_by_text("At length and then some: answer number 1.")).to_be_visible()
    ask(page, "And a pot?")
    expect(page.get_by_text("Briefly: answer number 2.")).to_be_visible()
    page.get_by_role("button", name="B is better").wait_for()
    assert wire.leaks() == []
    page.get_by_role("button", name="B is better").click()
    expect(page.get_by_role("heading", name="You chose B.")).to_be_visible()
    expect(page.get_by_text("otter-b2").first).to_be_visible()
    page.get_by_role("button", name="clear").click()
    for _ in range(600):
        (reveal,) = voted(run, "What is a bowl?")
        if reveal.cast.tags:
            break
        page.wait_for_timeout(100)
    assert [message.content for message in reveal.ballot.messages] == ["What is a bowl?", "And a pot?"]
    assert (reveal.ballot.kind, reveal.cast.outcome, reveal.cast.tags) == ("live", "b", ("clear",))
    page.keyboard.press("u")
    expect(page.get_by_role("heading", name="Ask")).to_be_visible()
    assert voted(run, "What is a bowl?") == []


def test_a_phone_has_no_menu_to_close_and_no_key_hints_and_the_question_stays_in_sight(
    browser: Browser, arena: str
) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 700}, has_touch=True, is_mobile=True)
    context.set_default_timeout(120_000)
    page = context.new_page()
    page.goto(arena)
    ask(page, "What is a kettle? Tell me at long length.")
    page.get_by_role("button", name="A is better").wait_for()
    expect(page.locator("button kbd").first).to_be_hidden()
    page.locator(".st-key-text-toggles").last.scroll_into_view_if_needed()
    expect(page.get_by_text("What is a kettle?")).to_be_in_viewport()
    panels = page.locator("[class*=st-key-answer-]")
    height = max(panels.nth(side).bounding_box()["height"] for side in (0, 1))
    assert height <= 0.62 * 700 + 2, "a long answer scrolls in its panel"
    page.get_by_text("Show all of long answers").tap()
    expect(page.locator(".st-key-show-all input")).to_be_checked()
    page.wait_for_timeout(500)
    assert max(panels.nth(side).bounding_box()["height"] for side in (0, 1)) > 2 * height
    page.get_by_role("link", name="Your votes").tap()
    page.get_by_role("heading", name="Your votes").wait_for()
    page.wait_for_timeout(300)
    middle = page.evaluate("document.elementFromPoint(195, 400).closest('[data-testid=stMain]') !== null")
    assert middle, "nothing lies over the page after a tap on the menu"
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    context.close()


def test_after_a_comment_the_keys_are_shortcuts_again(page: Page, arena: str) -> None:
    page.goto(arena.removesuffix("/ask"))
    page.get_by_role("button", name="A is better").wait_for()
    page.keyboard.press("x")
    comment = page.get_by_label("Comment (optional)")
    comment.fill("nab: but no next battle")
    comment.press("Enter")
    page.locator("[data-test-script-state=notRunning]").wait_for()
    page.wait_for_timeout(500)
    expect(comment).to_have_value("nab: but no next battle")
    page.keyboard.press("n")
    expect(page.get_by_role("heading", name="Which answer is better?")).to_be_visible()
