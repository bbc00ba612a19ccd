"""What a model wrote, as pages show it: laid out or plain, whole or in a panel, marked where it was cut."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from apps import session
from apps import vote_widgets as widgets
from apps.settings import VOTER_COOKIE, Settings
from tests.arena.example_run import CONTESTANTS, write_run
from toolkit import io
from toolkit.arena.battles import Cast
from toolkit.types import Completion

LONG = "4*4 is **16**.\n\n" * 200


def vote_page() -> None:
    from apps import vote

    vote.page()


def compare_page() -> None:
    from apps import compare

    compare.page()


@pytest.fixture
def visit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., AppTest]:
    """A run whose answers are long and were cut; each visit is a new session of one browser."""
    run = write_run(tmp_path / "household")
    for name in CONTESTANTS:
        file = run / "completions" / f"{name}.jsonl"
        cut = [
            row.model_copy(update={"completion": f"{number} by {name[0]}: {LONG}", "finish": "length"})
            for number, row in enumerate(io.read(file, Completion))
        ]
        io.write(file, cut)
    url = f"sqlite:///{tmp_path / 'arena.db'}"
    for name, value in Settings(run=str(run), database=url).as_environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(st, "context", SimpleNamespace(cookies={VOTER_COOKIE: "c"}, headers={}))
    monkeypatch.setattr(st, "user", {"is_logged_in": False})
    st.cache_resource.clear()

    def opened(page: Callable[[], None] = vote_page) -> AppTest:
        found = AppTest.from_function(page, default_timeout=60).run()
        assert not found.exception
        return found

    return opened


def test_only_an_answer_that_is_empty_is_called_so(monkeypatch: pytest.MonkeyPatch) -> None:
    cast = Cast(ballot="b", revision=0, action="vote", outcome="a", cast_at=0)
    assert widgets.reasons_text(cast) == ""
    shown: list[str] = []
    monkeypatch.setattr(st, "markdown", shown.append)
    st.session_state.preferences = {}
    widgets.show_text(" \n")
    assert shown == ["*(an empty answer)*"]


def toggle(page: AppTest, label: str) -> None:
    next(each for each in page.toggle if each.label == label).set_value(True).run()


def plain(page: AppTest) -> list[str]:
    return [each.value for each in page.text if LONG.strip() in each.value]


def test_the_plain_text_switch_shows_what_was_written_and_is_remembered_on_every_page(
    visit: Callable[..., AppTest],
) -> None:
    page = visit()
    assert plain(page) == []
    assert "4\\*4 is **16**\\." in "".join(each.value for each in page.markdown), "layout, and no lost sign"
    toggle(page, "Plain text")
    assert len(plain(page)) == 2
    assert len(plain(visit())) == 2, "on the next visit too"
    service = session.service()
    service.settings_store.change(service.settings_store.control.model_copy(update={"open": False}), "over")
    assert len(plain(visit(compare_page))) == 2


def test_long_and_cut_answers_say_so_on_vote_and_compare(visit: Callable[..., AppTest]) -> None:
    page = visit()
    assert "Show all of long answers" in [each.label for each in page.toggle]
    captions = [each.value for each in page.caption]
    assert captions.count("This answer was cut at the token limit.") == 2
    service = session.service()
    service.settings_store.change(service.settings_store.control.model_copy(update={"open": False}), "over")
    page = visit(compare_page)
    assert sum("cut at the limit" in each.value for each in page.caption) == 2
    assert "Show all of long answers" in [each.label for each in page.toggle]
