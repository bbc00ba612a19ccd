"""A server of scripted answers for the Ask page, and a run whose two contestants it is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.arena.example_run import write_run
from tests.fault_server import Response, fault_server

LONG = "One paragraph of many, with `code` and **weight** in it, long enough to wrap.\n\n" * 30


class Chat:
    """Says which turn it is, in two manners; while `free` is not set, it thinks; `down`, it hangs up."""

    def __init__(self) -> None:
        self.url = ""
        self.free = threading.Event()
        self.free.set()
        self.down = False
        self.cut = False
        """Whether the brief one's answers are cut at the token limit."""
        self.temperatures: list[float] = []
        """Of every request."""

    def answer(self, _number: int, request: dict[str, Any]) -> Response:
        self.temperatures.append(request["temperature"])
        if self.down:
            return Response(drop=True)
        self.free.wait()
        turn = sum(message["role"] == "user" for message in request["messages"])
        if request["model"] == "otter":
            return Response(f"Briefly: answer number {turn}.", finish="length" if self.cut else "stop")
        more = f"\n\n{LONG}" if "long" in request["messages"][-1]["content"] else ""
        return Response(f"At length and then some: answer number {turn}.{more}")


@contextmanager
def chat() -> Iterator[Chat]:
    answering = Chat()
    with fault_server(answering.answer) as server:
        answering.url = server.url
        yield answering
        answering.free.set()


def write_live_run(folder: Path, url: str, **options: object) -> Path:
    """The household run, with a recipe whose two contestants are endpoints at this address."""
    write_run(folder)
    (folder / "completions" / "badger-c3.jsonl").unlink()
    contestants = {
        name: {"endpoint": {"url": url, "model": name.partition("-")[0], **options}}
        for name in ("heron-a1", "otter-b2")
    }
    recipe = {"name": "household", "base": "none", "contestants": contestants}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return folder
