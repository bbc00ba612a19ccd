"""An OpenAI-compatible server on loopback that answers by a script, faults included, and counts."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from toolkit.recipe import Endpoint


@dataclass(frozen=True)
class Response:
    """What the server does with one request."""

    text: str = "fine"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: str | None = None
    """The whole body, instead of a chat completion with `text`."""
    delay: float = 0.0
    drop: bool = False
    """Close the connection without a word."""
    finish: str = "stop"


Script = Callable[[int, dict[str, Any]], Response]
"""(number of the request from 0, its JSON) -> what to do."""


@dataclass
class FaultServer:
    """`answered` holds the JSON of every request that got a whole reply of status 200."""

    script: Script
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    answered: list[dict[str, Any]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    busy: int = 0
    most_busy: int = 0
    busy_seconds: float = 0.0
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def endpoint(self, **options: Any) -> Endpoint:
        return Endpoint(url=self.url, model="judge-model", **options)


@contextmanager
def fault_server(script: Script) -> Iterator[FaultServer]:
    """The server, while the body runs."""
    state = FaultServer(script)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else each reply waits 40 ms for an acknowledgement

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with state.lock:
                number = len(state.requests)
                state.requests.append(request)
                state.headers.append({name.lower(): value for name, value in self.headers.items()})
                state.times.append(time.monotonic())
                state.busy += 1
                state.most_busy = max(state.most_busy, state.busy)
            began = time.monotonic()
            try:
                self.answer(state.script(number, request), request)
            finally:
                with state.lock:
                    state.busy -= 1
                    state.busy_seconds += time.monotonic() - began

        def answer(self, reply: Response, request: dict[str, Any]) -> None:
            time.sleep(reply.delay)
            if reply.drop:
                self.close_connection = True
                return
            body = (reply.body if reply.body is not None else completion(reply, request)).encode()
            try:
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                self.wfile.flush()
            except OSError:  # the client is gone
                self.close_connection = True
                return
            if reply.status == 200:
                with state.lock:
                    state.answered.append(request)

        def handle(self) -> None:
            with suppress(ConnectionResetError):  # a client that was killed
                super().handle()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def completion(reply: Response, request: dict[str, Any]) -> str:
    words = sum(len(message["content"].split()) for message in request["messages"])
    message = {"role": "assistant", "content": reply.text}
    return json.dumps(
        {
            "choices": [{"index": 0, "message": message, "finish_reason": reply.finish}],
            "usage": {"prompt_tokens": words, "completion_tokens": len(reply.text.split())},
        }
    )
