"""Every page, wide and narrow, light and dark: readable, usable without a mouse, and nothing cut off.

Screenshots go to the folder in ADAPTER_ARENA_SCREENSHOTS, where that is set, to be looked at.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.apps.chat import chat, write_live_run
from tests.arena.example_run import judge_run, write_run
from toolkit.arena.battles import load_battle_pool
from toolkit.arena.service import ArenaService, Rules
from toolkit.arena.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("pages")]

CONTRAST = Path(__file__).with_name("contrast.js").read_text()
NAMELESS = Path(__file__).with_name("nameless.js").read_text()


@pytest.fixture(scope="module")
def address(serve: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """An arena on a judged run, with some votes in it and an administrator."""
    run = judge_run(write_run(tmp_path_factory.mktemp("results") / "household"))
    database = f"sqlite:///{run / 'arena.db'}"
    service = ArenaService(load_battle_pool(run), Store(database), Rules(per_minute=1000))
    for voter in ("ann", "bob", "cy"):
        service.register_voter(voter)
        for number in range(20):
            service.vote(voter, service.ballot(voter).id, "abab"[number % 4] if number % 5 else "tie")
    os.environ["ADAPTER_ARENA_ADMIN_PASSWORD"] = "between us"
    try:
        return serve(run, "--votes-per-minute", "1000")
    finally:
        del os.environ["ADAPTER_ARENA_ADMIN_PASSWORD"]


@pytest.fixture(params=[1280, 390])
def screen(request: pytest.FixtureRequest, browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": request.param, "height": 900})
    context.set_default_timeout(120_000)
    yield context.new_page()
    context.close()


def examine(page: Page, name: str) -> None:
    """The page as it stands now, in both colour schemes."""
    grounds = set()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_timeout(700)
        grounds.add(page.evaluate("getComputedStyle(document.querySelector('.stApp')).backgroundColor"))
        folder = os.environ.get("ADAPTER_ARENA_SCREENSHOTS")
        if folder:
            page.screenshot(path=Path(folder) / f"{name}-{page.viewport_size['width']}-{scheme}.png")
        assert page.evaluate(CONTRAST) == [], f"AA asks for 4.5:1; {scheme}"
    assert len(grounds) == 2, "the page follows the scheme"
    assert page.evaluate(NAMELESS) == [], "a screen reader has no name for these"
    levels = page.evaluate(
        "[...document.querySelectorAll('#stMain :is(h1, h2, h3, h4)')].map(h => +h.tagName[1])"
    )
    assert (levels[0], levels.count(1)) == (1, 1), "one title, and first"
    assert all(after <= before + 1 for before, after in pairwise(levels)), "no level of headings is skipped"
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "wider than the screen"


def test_every_page_is_readable(screen: Page, address: str) -> None:
    screen.goto(address)
    screen.get_by_role("button", name="A is better").wait_for()
    examine(screen, "vote")
    size = screen.viewport_size
    screen.set_viewport_size({"width": size["width"], "height": 320})
    expect(screen.get_by_role("button", name="A is better")).to_be_in_viewport()  # however long the answers
    screen.set_viewport_size(size)
    screen.keyboard.press("a")
    screen.get_by_role("button", name="Next battle").wait_for()
    examine(screen, "reveal")
    for name, heading in (
        ("leaderboard", "Votes of each pair"),
        ("yours", "Your votes"),
        ("compare", "Compare"),
    ):
        screen.goto(f"{address}/{name}")
        screen.get_by_role("heading", name=heading).wait_for()
        if name == "leaderboard":
            screen.get_by_role("heading", name="People and judge").wait_for()
            expect(
                screen.get_by_text("The judge's votes against the people's. They say the same")
            ).to_be_visible()
            expect(screen.get_by_role("columnheader", name="At equal length")).to_be_attached()
        examine(screen, name)
    screen.goto(f"{address}/admin")
    screen.get_by_label("Password", exact=True).fill("wrong")
    screen.keyboard.press("Enter")
    screen.get_by_text("That is not the password").wait_for()
    screen.get_by_label("Password", exact=True).fill("between us")
    screen.keyboard.press("Enter")
    screen.get_by_role("heading", name="Voters").wait_for()
    examine(screen, "admin")
    screen.get_by_role("link", name="Compare").click()
    for heading in ("Scores on this example", "Judgments", "Votes"):
        screen.get_by_role("heading", name=heading).wait_for()
    examine(screen, "compare-open")


@pytest.fixture(scope="module")
def requesting(serve: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An arena with an Ask page, whose contestants answer at once."""
    with chat() as server:
        yield serve(write_live_run(tmp_path_factory.mktemp("results") / "household", server.url), "--ask")


def test_the_ask_page_is_readable(screen: Page, requesting: str) -> None:
    screen.goto(f"{requesting}/ask")
    for turn, question in enumerate(("What is a kettle?", "And a pot? Say it at long length."), start=1):
        line = screen.get_by_test_id("stChatInputTextArea")
        line.wait_for()
        examine(screen, f"ask-{turn}")
        line.fill(question)
        line.press("Enter")
        screen.get_by_text(f"Briefly: answer number {turn}.").wait_for()
        screen.get_by_role("button", name="A is better").wait_for()
    examine(screen, "ask-3")
    screen.get_by_text("What is a kettle?").scroll_into_view_if_needed()
    expect(screen.get_by_role("button", name="A is better")).to_be_in_viewport()  # however long the answers
    screen.get_by_role("button", name="A is better").click()
    screen.get_by_role("button", name="Ask something else").wait_for()
    examine(screen, "ask-reveal")


def test_what_is_written_from_the_right_stands_on_the_right(page: Page, requesting: str) -> None:
    page.goto(f"{requesting}/ask")
    page.get_by_test_id("stChatInputTextArea").fill("\u05de\u05d4 \u05e9\u05dc\u05d5\u05de\u05da?")
    page.keyboard.press("Enter")
    text = page.locator("[class*=st-key-prompt-now] p")
    text.wait_for()
    room = text.evaluate(
        "p => { const r = document.createRange(); r.selectNodeContents(p);"
        " return p.getBoundingClientRect().right - r.getBoundingClientRect().right; }"
    )
    assert room < 2, "pixels between the text and the right side"


def test_the_arena_can_be_used_without_a_mouse(page: Page, address: str) -> None:
    page.goto(address)
    page.get_by_role("button", name="A is better").wait_for()
    reached = []
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.innerText.split('\\n')[0]"))
        if reached[-1] == "Tie":
            break
    assert "Tie" in reached
    outline = page.evaluate("(s => s.outlineStyle + s.boxShadow)(getComputedStyle(document.activeElement))")
    assert outline != "nonenone", "the focus can be seen"
    status = page.get_by_role("status")
    expect(status).to_have_text("Battle 1 of this visit: which answer is better?")
    region = status.element_handle()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="You called it a tie.")).to_be_visible()
    expect(status).to_have_text(re.compile(r"^You called it a tie\. Answer A: \S+-..\. Answer B: \S+-..\.$"))
    ready = page.locator("[data-test-script-state=notRunning]")  # a key that comes before is lost
    ready.wait_for()
    page.keyboard.press("u")
    expect(page.get_by_role("heading", name="Which answer is better?")).to_be_visible()
    ready.wait_for()
    page.keyboard.press("s")
    expect(status).to_have_text("Battle 3 of this visit: which answer is better?")
    assert region.evaluate("e => e.isConnected"), "what is announced is the change of a region that was there"
    ready.wait_for()
    page.keyboard.press("b")
    expect(page.get_by_role("heading", name="You chose B.")).to_be_visible()


@pytest.mark.parametrize("width", [1280, 390])
def test_choices_are_reached_in_the_order_in_which_they_are_seen(
    page: Page, address: str, width: int
) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(address)
    page.get_by_role("button", name="A is better").focus()
    reached = []
    for _ in range(4):
        reached.append(page.evaluate("document.activeElement.innerText.split('\\n')[0]"))
        page.keyboard.press("Tab")
    assert reached == ["A is better", "B is better", "Tie", "Both bad"]
    seen = page.evaluate(
        "[...document.querySelectorAll('.st-key-ballot-box button')].map(b => b.getBoundingClientRect())"
    )
    assert [(box["y"], box["x"]) for box in seen] == sorted((box["y"], box["x"]) for box in seen), "as read"
    for side, box in zip("ab", seen, strict=False):
        if width > 640:
            panel = page.locator(f".st-key-answer-{side}").bounding_box()
            assert abs(box["x"] - panel["x"]) < 2, "under the answer that it is about"


def test_single_keys_can_be_turned_off_for_the_visit(page: Page, address: str) -> None:
    page.goto(address)
    page.get_by_role("button", name="A is better").wait_for()
    page.get_by_text("Vote by single keys").click()
    expect(page.locator("button kbd")).to_have_count(0)
    page.get_by_role("heading", name="Which answer is better?").click()  # away from the switch
    page.keyboard.press("a")
    page.wait_for_timeout(1000)
    expect(page.get_by_role("heading", name="Which answer is better?")).to_be_visible()
    page.get_by_role("link", name="Your votes").click()
    page.get_by_role("heading", name="Your votes").wait_for()
    page.get_by_role("link", name="Vote", exact=True).click()
    page.get_by_role("button", name="A is better").click()
    page.get_by_role("button", name="Next battle").wait_for()
    page.keyboard.press("n")
    page.wait_for_timeout(1000)
    expect(page.get_by_role("heading", name="You chose A.")).to_be_visible()
    page.get_by_text("Vote by single keys").click()
    expect(page.locator("button kbd")).to_have_count(2)
    page.get_by_role("heading", name="You chose A.").click()
    page.keyboard.press("n")
    expect(page.get_by_role("heading", name="Which answer is better?")).to_be_visible()
