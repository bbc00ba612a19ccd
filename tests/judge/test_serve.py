"""The whole command, offline, against a real `transformers serve`."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from toolkit import records
from toolkit.cli import main
from toolkit.models import resolve_base
from toolkit.types import Verdict

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base URL of a `transformers serve` process on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [Path(sys.executable).with_name("transformers"), "serve", "--host", "127.0.0.1"]
    log = tmp_path_factory.mktemp("serve") / "log"
    offline = os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    with log.open("wb") as told:
        process = subprocess.Popen(
            [*map(str, command), "--port", str(port), "--device", "cpu"],
            stdout=told,
            stderr=told,
            env=offline,
        )
        try:
            deadline = time.monotonic() + 300
            while not _answers(f"http://127.0.0.1:{port}/health"):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.5)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code < httpx.codes.INTERNAL_SERVER_ERROR
    except httpx.HTTPError:
        return False


def test_the_command_judges_on_a_real_server(server: str, tmp_path: Path):
    file = tmp_path / "outputs.jsonl"
    row = {"prompt": "What is 2 + 2?", "outputs": {"right": "2 + 2 is 4.", "wrong": "It is a fruit."}}
    file.write_text(json.dumps(row) + "\n")
    model = str(resolve_base("smollm2-135m-instruct"))
    arguments = ["judge", str(file), "--judge", model, "--endpoint", server, "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    verdicts = list(records.read(tmp_path / "out" / "verdicts.jsonl", Verdict))
    assert {verdict.order for verdict in verdicts} == {"ab", "ba"}
    assert all(verdict.reason for verdict in verdicts)
    assert all(verdict.tokens_in > 100 and verdict.tokens_out > 0 for verdict in verdicts)
    assert all(verdict.outcome or verdict.attempt <= 3 for verdict in verdicts)
    before = (tmp_path / "out" / "verdicts.jsonl").read_bytes()
    assert CliRunner().invoke(main, arguments).exit_code == 0
    assert (tmp_path / "out" / "verdicts.jsonl").read_bytes() == before, "nothing is asked for twice"
