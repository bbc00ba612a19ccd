"""A voter's own questions without a browser: waiting, reloading, limits, cut answers; and the page Try."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import streamlit as st
import yaml
from streamlit.testing.v1 import AppTest

from apps import cached_statistics, session
from apps.settings import PASSWORD, VOTER_COOKIE, Settings
from tests.apps.chat import Chat, chat, write_live_run
from toolkit.arena import accepted_votes
from toolkit.arena.live_models import LiveModels
from toolkit.errors import DataError, StoreError
from toolkit.models.rate_limit import Retry
from toolkit.types import Message

COOKIE = "one browser"


def ask_page() -> None:
    from apps import ask

    ask.page()


def try_page() -> None:
    from apps import ask

    ask.try_page()


@pytest.fixture
def answering() -> Iterator[Chat]:
    with chat() as server:
        yield server


@pytest.fixture
def visit(tmp_path: Path, answering: Chat, monkeypatch: pytest.MonkeyPatch) -> Callable[..., AppTest]:
    """Opens a page in a new session of the same browser, as a reload does."""
    run = write_live_run(tmp_path / "household", answering.url)
    url = f"sqlite:///{tmp_path / 'arena.db'}"
    for name, value in Settings(run=str(run), database=url, ask=True).as_environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(PASSWORD, "between us")
    context = type(
        "Context", (), {"cookies": {VOTER_COOKIE: COOKIE}, "headers": {}, "theme": st.context.theme}
    )
    monkeypatch.setattr(st, "context", context)
    monkeypatch.setattr(st, "user", {"is_logged_in": False})
    st.cache_resource.clear()

    def opened(page: Callable[[], None] = ask_page, **state: object) -> AppTest:
        test = AppTest.from_function(page, default_timeout=60)
        for name, value in state.items():
            test.session_state[name] = value
        return test.run()

    return opened


def texts(page: AppTest) -> str:
    assert not page.exception, page.exception
    shown = "\n".join(str(each.value) for each in [*page.markdown, *page.caption, *page.warning])
    return shown.replace("\\", "")


def labels(page: AppTest) -> list[str]:
    return [button.label for button in page.button]


def settled(page: AppTest, expected: str) -> AppTest:
    """The page once it shows what is wanted."""
    for _ in range(2000):
        if expected in texts(page):
            return page
        time.sleep(0.05)
        page.run()
    raise AssertionError(f"{expected!r} did not come: {texts(page)}")


def test_a_question_survives_a_reload_and_its_vote_stays_apart(
    visit: Callable[..., AppTest], answering: Chat
) -> None:
    answering.free.clear()
    page = visit()
    page.chat_input[0].set_value("What is a bowl?").run()
    assert texts(page).count("Thinking...") == 2
    assert "is better" not in str(labels(page))
    reloaded = visit()
    assert "What is a bowl?" in texts(reloaded)
    assert re.search(r"\b\d s\b", texts(reloaded)), "how long it takes"
    assert reloaded.chat_input[0].disabled
    answering.free.set()
    settled(reloaded, "Briefly")
    assert len(answering.temperatures) == 2, "asked once, whatever was reloaded"
    next(button for button in reloaded.button if button.label == "A is better").click().run()
    assert not any(name in texts(page) for name in ("heron", "otter")), "blind"
    votes = session.service().votes()
    assert (len(votes.own_questions), len(votes.rows), sum(votes.tally.votes.values())) == (1, 0, 0)
    assert cached_statistics.standings(cached_statistics.Selection()) is None
    assert cached_statistics.standings(cached_statistics.Selection(category="own questions")).votes == 1
    assert accepted_votes(str(session.service().store._database.shown_url)) == []


def test_answers_cut_at_the_limit_are_marked(visit: Callable[..., AppTest], answering: Chat) -> None:
    answering.cut = True
    page = visit()
    page.chat_input[0].set_value("At length, please?").run()
    settled(page, "Briefly")
    assert texts(page).count("This answer was cut at the token limit.") == 1
    (ballot,) = (
        session.service().store._database._engine.connect().exec_driver_sql("SELECT cut FROM arena_ballots")
    )
    assert ballot.cut in ("a", "b")


def test_every_request_counts_against_the_limit_though_it_fails(
    visit: Callable[..., AppTest], answering: Chat
) -> None:
    page = visit()
    page.chat_input[0].set_value("What is a bowl?").run()
    settled(page, "Briefly")
    for _ in range(9):
        next(button for button in page.button if button.label == "Answer again").click().run()
        settled(page, "Briefly")
    before = len(answering.temperatures)
    next(button for button in page.button if button.label == "Answer again").click().run()
    assert "More than 10 questions in a minute" in texts(page)
    assert len(answering.temperatures) == before
    page = visit()
    assert "Ask again" in labels(page), "the question is kept, to be asked a minute later"


def test_a_server_that_is_down_is_reported_without_naming_it(
    visit: Callable[..., AppTest], answering: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("toolkit.models.rate_limit.Retry", lambda **_: Retry(attempts=1, patience=1))
    answering.down = True
    page = visit()
    page.chat_input[0].set_value("Anyone?").run()
    settled(page, "No answer just now")
    assert not any(word in texts(page) for word in ("heron", "otter", "127.0.0.1"))
    assert "Anyone?" in texts(page)


def test_questions_stand_in_a_queue(visit: Callable[..., AppTest], answering: Chat) -> None:
    visit()
    models: LiveModels = session.live_models()
    answering.free.clear()
    conversation = [Message(role="user", content="?")]
    jobs = [models.submit(("heron-a1", "otter-b2"), [conversation, conversation], seed=0) for _ in range(3)]
    assert [models.ahead(job) for job in jobs] == [0, 1, 2]
    answering.free.set()
    assert all(job.future.result(timeout=60)[0].text for job in jobs)
    assert models.ahead(jobs[2]) == 0


def test_missing_weights_are_reported_at_the_start(tmp_path: Path, answering: Chat) -> None:
    run = write_live_run(tmp_path / "household", answering.url)
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    recipe["contestants"] |= {"tuned": {"model": "./gone"}}
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert LiveModels(run).names == ("heron-a1", "otter-b2")
    assert LiveModels(run).missing == {"tuned": "./gone: no such model"}
    del recipe["contestants"]["heron-a1"]
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    with pytest.raises(DataError, match="needs two contestants that can answer"):
        LiveModels(run)


def test_administrators_try_a_prompt_on_all_contestants_by_name(visit: Callable[..., AppTest]) -> None:
    page = visit(try_page)
    assert "For administrators" in texts(page)
    assert len(page.chat_input) == 0
    page = visit(try_page, admin="password")
    page.chat_input[0].set_value("What is a bowl?").run()
    settled(page, "Briefly: answer number 1.")
    assert "At length and then some" in texts(page)
    assert {"heron-a1", "otter-b2"} <= {header.value for header in page.header}
    assert session.service().store.vote_rows() == []


def test_a_database_that_is_down_gives_our_words(
    visit: Callable[..., AppTest], monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: object) -> None:
        raise StoreError("postgresql://db.example/heron: the vote store failed: no route to host")

    visit()
    monkeypatch.setattr(session.service().store._database._engine, "connect", down)
    page = AppTest.from_file(str(Path(session.__file__).with_name("main.py")), default_timeout=60).run()
    assert not page.exception
    assert [error.value for error in page.error] == [
        "The arena cannot reach its votes just now. Nothing is lost: try again in a moment."
    ]
