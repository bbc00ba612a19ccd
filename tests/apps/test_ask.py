"""A voter's own questions, answered live by two endpoints of this test, blind until the vote."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests.apps.chat import Chat, chat, write_live_run
from tests.apps.test_blind import Wire
from toolkit.arena import Store
from toolkit.arena.battles import Reveal

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


def test_a_question_is_shown_while_it_is_answered_and_no_vote_is_asked_for(
    page: Page, arena: str, answering: Chat
) -> None:
    page.goto(arena)
    for turn, question in enumerate(("What is a kettle?", "And a pot?"), start=1):
        answering.free.clear()
        ask(page, question)
        expect(page.get_by_text("Thinking...")).to_have_count(2)
        expect(page.get_by_text("What is a kettle?")).to_be_visible()
        expect(page.get_by_text(question)).to_be_visible()
        expect(page.get_by_role("button", name="is better")).to_have_count(0)
        answering.free.set()
        expect(page.get_by_text(f"Briefly: answer number {turn}.")).to_be_visible()
        expect(page.get_by_role("button", name="is better")).to_have_count(2)


def test_a_look_at_another_page_meanwhile_doubles_nothing(page: Page, arena: str, answering: Chat) -> None:
    page.goto(arena)
    answering.free.clear()
    ask(page, "What is a kettle?")
    expect(page.get_by_text("Thinking...")).to_have_count(2)
    page.get_by_role("link", name="Your votes").click()
    expect(page.get_by_text("None yet.")).to_be_visible()
    page.get_by_role("link", name="Ask").click()
    expect(page.get_by_text("Thinking...")).to_have_count(2)
    answering.free.set()
    expect(page.get_by_role("button", name="is better")).to_have_count(2)
    expect(page.get_by_text("What is a kettle?")).to_have_count(1)
    expect(page.get_by_text("Briefly: answer number 1.")).to_have_count(1)
    page.get_by_role("button", name="Tie").click()
    expect(page.get_by_role("heading", name="You called it a tie.")).to_be_visible()


def test_another_answer_is_sampled_and_takes_the_place_of_the_first(
    page: Page, arena: str, run: Path, answering: Chat
) -> None:
    page.goto(arena)
    ask(page, "What is a tray?")
    page.get_by_role("button", name="Answer again").wait_for()
    assert answering.temperatures == [0, 0], "the recipe is greedy"
    answering.free.clear()
    page.get_by_role("button", name="Answer again").click()
    expect(page.get_by_text("Thinking...")).to_have_count(2)
    expect(page.get_by_role("button", name="is better")).to_have_count(0)
    answering.free.set()
    expect(page.get_by_role("button", name="is better")).to_have_count(2)
    assert answering.temperatures[2:] == [0.7, 0.7]
    page.get_by_role("button", name="Tie").click()
    page.get_by_role("button", name="Ask something else").wait_for()
    (reveal,) = voted(run, "What is a tray?")
    assert len(reveal.ballot.messages) == 1
    page.get_by_role("button", name="Ask something else").click()
    expect(page.get_by_placeholder("Your question")).to_be_visible()


def test_an_endpoint_that_is_down_is_said_and_the_question_can_be_asked_again(
    page: Page, arena: str, answering: Chat
) -> None:
    answering.down = True
    page.goto(arena)
    ask(page, "Anyone?")
    expect(page.get_by_text("No answer just now")).to_be_visible(timeout=120_000)
    assert not any(word in page.content() for word in ("heron", "otter", urlsplit(answering.url).netloc))
    expect(page.get_by_text("Anyone?")).to_be_visible()
    page.get_by_role("button", name="Ask again").click()
    expect(page.get_by_text("Thinking...")).to_have_count(2)
