"""Blind on the wire: before a vote, nothing that reaches the browser names a contestant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, Response, WebSocket, expect

from tests.arena.example_run import CONTESTANTS
from toolkit.arena.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("blind")]


class Wire:
    """Everything the browser is sent: websocket frames, bodies, headers, addresses, cookies."""

    def __init__(self, page: Page) -> None:
        self.received: list[bytes] = []
        page.on("websocket", self._listen)
        page.on("response", self._read)

    def _listen(self, socket: WebSocket) -> None:
        socket.on(
            "framereceived",
            lambda data: self.received.append(data if isinstance(data, bytes) else data.encode()),
        )

    def _read(self, response: Response) -> None:
        self.received.append(response.url.encode())
        self.received.append(str(response.headers).encode())

    def leaks(self) -> list[tuple[str, bytes]]:
        return [
            (name, data)
            for data in self.received
            for name in CONTESTANTS
            if name.encode() in data.lower().replace(b"\\", b"")  # Markdown may have escaped it
        ]


def cast_votes(page: Page, address: str, wire: Wire, battles: int) -> int:
    """Vote by key on that many battles; returns how many frames came before a vote, none with a name."""
    searched = 0
    page.goto(address)
    for number in range(battles):
        page.get_by_role("button", name="A is better").wait_for()
        page.wait_for_timeout(50)
        assert wire.received, "the test listens to nothing"
        assert wire.leaks() == []
        assert not any(name in page.content() for name in CONTESTANTS)
        searched += len(wire.received)
        page.keyboard.press("atxb"[number % 4])
        page.get_by_role("button", name="Next battle").wait_for()
        page.locator("[data-test-script-state=notRunning]").wait_for()  # the reveal is all there
        assert {name for name, _ in wire.leaks()} <= set(CONTESTANTS)
        assert len({name for name, _ in wire.leaks()}) == 2, "the reveal names both"
        wire.received.clear()
        page.keyboard.press("n")
    return searched


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('votes') / 'arena.db'}"


@pytest.fixture(scope="module")
def address(serve: Callable[..., str], example_run: Path, database: str) -> str:
    return serve(example_run, "--db", database, "--votes-per-minute", "1000")


def test_votes_are_blind_on_the_wire(page: Page, address: str, database: str) -> None:
    before = len(Store(database).vote_rows(repeats=False))
    assert cast_votes(page, address, Wire(page), battles=8) > 0
    assert [vote.outcome for vote in Store(database).vote_rows(repeats=False)][before:] == [
        "a",
        "tie",
        "both_bad",
        "b",
    ] * 2
    assert not any(name in cookie["value"] for cookie in page.context.cookies() for name in CONTESTANTS)


def test_a_reload_shows_the_same_battle(page: Page, address: str) -> None:
    page.goto(address)
    page.get_by_role("button", name="A is better").wait_for()  # it comes after the answers
    first = page.locator(".st-key-answer-a").inner_text()
    assert len(first) > len("Answer A")
    page.reload()
    expect(page.locator(".st-key-answer-a")).to_have_text(first, use_inner_text=True)


def test_no_battle_that_there_is_leaks_anything(page: Page, address: str) -> None:
    every = 20  # one pair of each example: the third answer has none left to meet
    assert cast_votes(page, address, Wire(page), battles=every) > every
    page.get_by_role("heading", name="Done").wait_for()
