"""Sending a folder to the hub: against a hub on loopback, with huggingface_hub's own client."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest


@dataclass
class Hub:
    """A hub that takes small files, and remembers them."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    made: list[dict[str, Any]] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)
    refuses: bool = False

    def answer(self, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        if self.refuses:
            return 403, {"error": "you have no right to write here"}
        if path == "/api/repos/create":
            self.made.append(json.loads(body))
            return 200, {"url": f"{self.address}/ann/tickets", "name": "ann/tickets"}
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if path.endswith("/preupload/main"):
            names = [file["path"] for file in json.loads(body)["files"]]
            fields = {"uploadMode": "regular", "shouldIgnore": False}
            return 200, {"files": [{"path": name} | fields for name in names]}
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        return 200, {"commitUrl": f"{self.address}/ann/tickets/commit/0", "commitOid": "0" * 40}


@pytest.fixture
def hub() -> Iterator[Hub]:
    fake = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            fake.tokens.add(self.headers["authorization"])
            length = int(self.headers.get("content-length") or 0)
            status, output = fake.answer(self.path.partition("?")[0], self.rfile.read(length))
            message = json.dumps(output).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(message)))
            self.end_headers()
            self.wfile.write(message)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield fake
    server.shutdown()


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "dpo"
    (folder / "delta").mkdir(parents=True)
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (folder / "adapter_model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    (folder / "README.md").write_text("---\nlibrary_name: peft\n---\n# t/dpo\n")
    (folder / "delta" / "adapter_config.json").write_text("{}")
    (folder / "optimizer.pt").write_bytes(b"pickle")
    return folder


def push(hub: Hub, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: huggingface_hub reads its settings when it is imported."""
    settings = {"HF_ENDPOINT": hub.address, "HF_HUB_OFFLINE": "0", "HF_HOME": "/nonexistent"} | environment
    command = [sys.executable, "-W", "ignore", "-m", "toolkit.cli", "push", *arguments]
    kept = {name: value for name, value in os.environ.items() if name not in ("HF_TOKEN", "HF_TOKEN_PATH")}
    return subprocess.run(command, env=kept | settings, capture_output=True, text=True, check=False)


def test_a_folder_arrives_whole_and_without_pickles(hub: Hub, adapter: Path):
    done = push(hub, str(adapter), "ann/tickets", "--json", HF_TOKEN="hf_secret")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"repository": f"{hub.address}/ann/tickets"}
    assert {name: (adapter / name).read_bytes() for name in hub.files} == hub.files
    assert set(hub.files) == {
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "delta/adapter_config.json",
    }
    assert hub.made == [{"name": "tickets", "organization": "ann", "visibility": "private"}]
    assert hub.tokens == {"Bearer hf_secret"}
    assert "hf_secret" not in done.stdout + done.stderr


@pytest.mark.slow
def test_what_is_missing_is_one_line(hub: Hub, adapter: Path, tmp_path: Path):
    for folder, repo, message, code, settings in (
        (adapter, "ann/tickets", "the hub needs a token: set HF_TOKEN", 2, {}),
        (tmp_path, "ann/tickets", "neither an adapter nor a model is here", 2, {"HF_TOKEN": "t"}),
        (adapter, "a/b/c", "not a repository's name", 2, {"HF_TOKEN": "t"}),
        (adapter, "ann/tickets", "HF_HUB_OFFLINE is set", 1, {"HF_TOKEN": "t", "HF_HUB_OFFLINE": "1"}),
    ):
        done = push(hub, str(folder), repo, **settings)
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        assert message in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert not hub.files


def test_a_refusal_of_the_hub_is_reported(hub: Hub, adapter: Path):
    hub.refuses = True
    done = push(hub, str(adapter), "ann/tickets", HF_TOKEN="t")
    assert done.returncode == 1
    assert "ann/tickets: the hub did not take" in done.stderr
    assert "Traceback" not in done.stderr
