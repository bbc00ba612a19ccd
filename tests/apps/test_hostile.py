"""Untrusted answers in a real browser: no script runs, nothing is fetched, the page stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page

from tests.apps.hostile import HOSTILE
from toolkit import io
from toolkit.types import Completion, Message

ACTIVE = "script, iframe, object, embed, form, input, base, meta, link, img, audio, video, style, a[href]"

INTACT = """() => {
  const box = (selector) => document.querySelector(selector).getBoundingClientRect();
  const [a, b] = [box('.st-key-answer-a'), box('.st-key-answer-b')];
  const buttons = [...document.querySelectorAll('.st-key-ballot-box button')];
  const covered = buttons.filter((button) => {
    button.scrollIntoView({block: 'center'});
    const r = button.getBoundingClientRect();
    return !button.contains(document.elementFromPoint(r.x + r.width / 2, r.y + r.height / 2));
  });
  return {
    equal: Math.abs(a.width - b.width) < 1 && Math.abs(a.height - b.height) < 1 && a.y === b.y,
    buttons: buttons.length,
    covered: covered.length,
    wide: document.querySelector('[data-testid=stMain]').scrollWidth > window.innerWidth,
    pwned: window.pwned,
  };
}"""


@pytest.fixture(scope="module")
def hostile_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two contestants, two hostile answers a battle."""
    folder = tmp_path_factory.mktemp("results") / "hostile"
    texts = list(HOSTILE.values())
    for side, contestant in enumerate(("m1", "m2")):
        lines = [
            Completion(
                example_id=f"h{number}",
                contestant=contestant,
                messages=(Message(role="user", content=f"Number {number}: {texts[2 * number]}"),),
                completion=texts[2 * number + side],
                finish="stop",
                tokens=1,
            )
            for number in range(len(texts) // 2)
        ]
        io.write(folder / "completions" / f"{contestant}.jsonl", lines)
    return folder


@pytest.mark.slow
def test_hostile_answers_do_nothing(page: Page, serve: Callable[..., str], hostile_run: Path) -> None:
    assert len(HOSTILE) >= 60
    assert len(HOSTILE) % 2 == 0
    problems: list[str] = []
    page.on("dialog", lambda dialog: (problems.append(f"dialog {dialog.message}"), dialog.dismiss()))
    page.on(
        "console", lambda line: problems.append(line.text) if "Content Security Policy" in line.text else None
    )
    address = serve(hostile_run, "--votes-per-minute", "1000")
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    page.goto(address)
    for number in range(len(HOSTILE) // 2):
        page.get_by_role("button", name="A is better").wait_for()
        page.locator(".st-key-answer-b").wait_for()
        page.wait_for_timeout(100)
        state = page.evaluate(INTACT)
        active = page.locator(f".st-key-prompt :is({ACTIVE}), [class*=st-key-answer-] :is({ACTIVE})")
        if active.count():
            problems.append(f"battle {number}: {active.first.evaluate('e => e.outerHTML')}")
        if state != {"equal": True, "buttons": 4, "covered": 0, "wide": False, "pwned": None}:
            problems.append(
                f"battle {number}: {state}: {page.locator('.st-key-answer-a').inner_text()[:80]!r}"
            )
        page.keyboard.press("t")
        page.get_by_role("button", name="Next battle").wait_for()
        page.keyboard.press("n")
    page.get_by_role("heading", name="Done").wait_for()
    hosts = {urlsplit(url).netloc for url in requested if not url.startswith(("data:", "blob:"))}
    assert hosts == {urlsplit(address).netloc}
    assert problems == []
