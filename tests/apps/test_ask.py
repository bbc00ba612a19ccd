"""A voter's own questions, answered live by two endpoints of this test, blind until the vote."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from playwright.sync_api import Page, expect

from tests.apps.test_blind import Wire
from tests.arena.household import write_run
from tests.faultserver import Say, serving
from toolkit.arena import Store

pytestmark = pytest.mark.slow


def turns(_number: int, request: dict[str, Any]) -> Say:
    """Says which turn it is, in two manners."""
    turn = sum(message["role"] == "user" for message in request["messages"])
    words = {"otter": "Briefly", "heron": "At length and then some"}[request["model"]]
    return Say(f"{words}: answer number {turn}.")


@pytest.fixture
def endpoint() -> Iterator[str]:
    with serving(turns) as server:
        yield server.url


@pytest.fixture
def run(tmp_path: Path, endpoint: str) -> Path:
    """The household run, with a recipe whose contestants are endpoints."""
    folder = write_run(tmp_path / "household")
    (folder / "completions" / "badger-c3.jsonl").unlink()
    contestants = {
        name: {"endpoint": {"url": endpoint, "model": name.partition("-")[0]}}
        for name in ("heron-a1", "otter-b2")
    }
    recipe = {"name": "household", "base": "none", "contestants": contestants}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return folder


def test_two_contestants_answer_live_and_stay_anonymous(
    page: Page, serve: Callable[..., str], run: Path
) -> None:
    wire = Wire(page)
    page.goto(f"{serve(run, '--ask')}/ask")
    page.get_by_placeholder("Your question").fill("What is a kettle?")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Briefly: answer number 1.")).to_be_visible()
    expect(page.get_by_text("At length and then some: answer number 1.")).to_be_visible()
    page.get_by_placeholder("Ask both something more").fill("And a pot?")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Briefly: answer number 2.")).to_be_visible()
    page.wait_for_timeout(2500)
    assert wire.leaks() == []
    page.get_by_role("button", name="B is better").click()
    expect(page.get_by_role("heading", name="You chose B.")).to_be_visible()
    expect(page.get_by_text("otter-b2").first).to_be_visible()
    (reveal,) = Store(f"sqlite:///{run / 'arena.db'}").voted()
    assert [message.content for message in reveal.ballot.messages] == ["What is a kettle?", "And a pot?"]
    assert (reveal.ballot.kind, reveal.cast.outcome) == ("live", "b")


def test_an_endpoint_that_is_down_is_said_and_costs_nothing(
    page: Page, serve: Callable[..., str], run: Path, tmp_path: Path
) -> None:
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    for contestant in recipe["contestants"].values():
        contestant["endpoint"] |= {"url": "http://127.0.0.1:9/v1", "timeout": 1}
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    page.goto(f"{serve(run, '--ask')}/ask")
    page.get_by_placeholder("Your question").fill("Anyone?")
    page.keyboard.press("Enter")
    expect(page.get_by_text("No answer just now")).to_be_visible(timeout=120_000)
    assert not any(word in page.content() for word in ("heron", "otter", "127.0.0.1:9"))
