"""A served arena and a real browser to look at it with."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.arena.example_run import write_run

FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()

expect.set_options(timeout=60_000)  # a busy machine is slow, and that is no failure


@pytest.fixture(autouse=True)
def own_main(monkeypatch: pytest.MonkeyPatch) -> None:
    """AppTest makes its script `__main__`, which processes that are forked later would run."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


@pytest.fixture(scope="session")
def example_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("results") / "household")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(run: Path, *options: str, port: int | None = None) -> tuple[subprocess.Popen[bytes], str]:
    """Start `adapter-arena serve` and wait until it answers; returns the process and its address."""
    port = port or free_port()
    command = [
        str(Path(sys.executable).with_name("adapter-arena")),
        "serve",
        str(run),
        "--port",
        str(port),
        *options,
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    until = time.monotonic() + 240
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/_stcore/health", timeout=1):
                return process, address
        except OSError:
            time.sleep(0.1)
    process.kill()
    raise AssertionError(f"the arena did not start (exit code {process.poll()})")


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[..., str]]:
    """Start arenas that end with the module: each takes processor time as long as it is there."""
    processes = []

    def started(run: Path, *options: str) -> str:
        process, address = start(run, *options)
        processes.append(process)
        return address

    yield started
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait(timeout=120)


@pytest.fixture(
    scope="module"
)  # its event loop must not outlive the module: other tests start loops of their own
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(120_000)
    yield context.new_page()
    context.close()
