"""No page computes anew what has not changed; of many votes nobody waits for what has."""

from __future__ import annotations

import gc
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from apps import cached_statistics, server, session
from apps.settings import VOTER_COOKIE, Settings
from tests.arena.example_run import judge_run, write_run
from toolkit import ratings
from toolkit.arena.service import ArenaService
from toolkit.arena.vote_io import battle_row, import_votes, parse_votes


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ArenaService:
    """The service of a judged run with thirty votes."""
    run = judge_run(write_run(tmp_path / "household"))
    url = f"sqlite:///{tmp_path / 'arena.db'}"
    for name, value in Settings(run=str(run), database=url).as_environment().items():
        monkeypatch.setenv(name, value)
    context = SimpleNamespace(
        cookies={VOTER_COOKIE: "c"}, headers={}, theme=SimpleNamespace(type="light"), timezone="UTC"
    )
    monkeypatch.setattr(st, "context", context)
    monkeypatch.setattr(st, "user", {"is_logged_in": False})
    st.cache_resource.clear()
    service = session.service()
    for voter in ("ann", "bob", "cy"):
        service.register_voter(voter)
        for number in range(10):
            service.vote(voter, service.ballot(voter).id, "ab"[number % 2])
    return service


def leaderboard() -> AppTest:
    def script() -> None:
        from apps import leaderboard

        leaderboard.page()

    page = AppTest.from_function(script, default_timeout=60).run()
    assert not page.exception, page.exception
    return page


@pytest.mark.slow
def test_the_leaderboard_is_computed_once_for_all_visits_until_a_vote_is_cast(
    service: ArenaService, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[object] = []
    fit = ratings.bradley_terry
    monkeypatch.setattr(ratings, "bradley_terry", lambda votes: fitted.append(votes) or fit(votes))
    assert "30 votes by 3 voters" in leaderboard().markdown[0].value
    before = len(fitted)
    assert before == 3, "the ratings; people's and the judge's side by side"
    for _ in range(3):
        leaderboard()
    assert len(fitted) == before
    service.vote("ann", service.ballot("ann").id, "a")
    assert "31 votes by 3 voters" in leaderboard().markdown[0].value
    assert len(fitted) == 2 * before


def test_the_server_answers_once_the_figures_of_the_leaderboard_are_made(
    service: ArenaService, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[object] = []
    compute = cached_statistics._caches()[1]._compute
    monkeypatch.setattr(
        cached_statistics._caches()[1], "_compute", lambda key: made.append(key) or compute(key)
    )
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "")
    monkeypatch.setattr(gc, "freeze", list)
    monkeypatch.setattr(sys, "setswitchinterval", lambda _: None)
    monkeypatch.setattr(server.streamlit, "App", lambda *_, **__: SimpleNamespace(run=lambda config: None))
    then: list[int] = []
    server.serve(Settings.from_environment(), server.Address(), lambda: then.append(len(made)))
    assert then == [1]
    leaderboard()
    assert len(made) == 1, "the first visitor waits for nothing"


@pytest.mark.slow
def test_first_place_is_shown_with_what_it_hangs_on_and_simulated_votes_apart(service: ArenaService) -> None:
    page = leaderboard()
    assert any("irst place" in caption.value for caption in page.caption)
    assert list(page.segmented_control[0].options) == ["People", "Judge", "Both"]
    rows = [battle_row(reveal) for reveal in service.store.cast_votes()]
    votes = parse_votes((str(place), row) for place, row in enumerate(rows))
    import_votes(service.store, votes, run=service.pool.run, simulated=True)
    st.cache_resource.clear()
    page = leaderboard()
    assert "30 votes by 3 voters" in page.markdown[0].value, "of people alone"
    page.segmented_control[0].set_value("Simulated").run()
    assert not page.exception
    assert any("Simulated voters are no people" in caption.value for caption in page.caption)


def test_of_many_votes_only_the_first_viewer_waits(
    service: ArenaService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cached_statistics, "FEW_VOTES", 0)
    may_go_on, made = threading.Event(), []

    def compute(key: str) -> int:
        if made:
            may_go_on.wait(60)
        made.append(key)
        return len(service.votes().rows)

    cache = cached_statistics.BackgroundCache(compute, seconds=0.0)
    monkeypatch.setattr(cached_statistics, "PAUSE", 0)
    assert (cache.get("all"), cache.get("all")) == (30, 30)
    service.vote("bob", service.ballot("bob").id, "a")
    time.sleep(0.01)
    assert [cache.get("all") for _ in range(5)] == [30] * 5, "while the new one is made"
    assert cache.get("other", 7) == 7, "one is made at a time"
    may_go_on.set()
    for _ in range(3000):
        if cache.get("all") == 31:
            break
        time.sleep(0.02)
    assert cache.get("all") == 31
    assert made == ["all", "all"]
