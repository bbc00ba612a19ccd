"""An OpenAI-compatible server on the loopback for the Ask page, and a run whose contestants it is."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import yaml

from tests.arena.household import write_run

LONG = "One paragraph of many, with `code` and **weight** in it, long enough to wrap.\n\n" * 30


class Chat(ThreadingHTTPServer):
    """Says which turn it is, in two manners; while `free` is not set, it thinks."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        self.free = threading.Event()
        self.free.set()
        self.temperatures: list[float] = []
        """Of every request."""


class _Answers(BaseHTTPRequestHandler):
    server: Chat

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.temperatures.append(asked["temperature"])
        self.server.free.wait()
        turn = sum(message["role"] == "user" for message in asked["messages"])
        words = {"otter": "Briefly", "heron": "At length and then some"}[asked["model"]]
        more = f"\n\n{LONG}" if "At length" in words and "long" in asked["messages"][-1]["content"] else ""
        message = {"role": "assistant", "content": f"{words}: answer number {turn}.{more}"}
        body = {
            "id": "x",
            "object": "chat.completion",
            "created": 0,
            "model": asked["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 5, "total_tokens": 6},
        }
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def chat() -> Iterator[Chat]:
    with Chat() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.free.set()
        server.shutdown()


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
