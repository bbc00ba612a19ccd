"""Killed in the middle of paid judgments: none is lost, and none on disk is asked for again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fault_server import FaultServer, Response, fault_server
from toolkit import io
from toolkit.types import Verdict, Vote

CONCURRENCY = 8


def faulty(number: int, request: dict) -> Response:
    """Answers fairly, apart from a fault in every tenth request."""
    faults = [
        Response(status=500),
        Response(status=429, headers={"retry-after-ms": "20"}),
        Response(drop=True),
    ]
    if number % 10 == 9:
        return faults[number // 10 % 3]
    text = request["messages"][-1]["content"]
    return Response("[[A]]" if text.index("GOOD") < text.index("BAD") else "[[B]]", delay=0.005)


def outputs(file: Path, battles: int) -> Path:
    rows = [
        {"id": i, "prompt": f"Question {i}?", "outputs": {"sft": f"GOOD {i}", "base": f"BAD {i}"}}
        for i in range(battles)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def judging(server: FaultServer, answers: Path, out: Path) -> subprocess.Popen[bytes]:
    arguments = [answers, "--judge", "judge-model", "--endpoint", server.url, "--out", out]
    command = [sys.executable, "-m", "toolkit.cli", "judge", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def kill_at(server: FaultServer, process: subprocess.Popen[bytes], requests: int) -> None:
    deadline = time.monotonic() + 120
    while len(server.requests) < requests and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.mark.slow
def test_kill_9_loses_and_repeats_nothing(tmp_path: Path, record_property: Callable[[str, object], None]):
    battles = 60
    answers, out = outputs(tmp_path / "outputs.jsonl", battles), tmp_path / "judged"
    sent = 0

    def log() -> set[str]:
        (file,) = (out / ".verdicts").iterdir()
        return set(file.read_text().split("\n")[1:-1])

    stored_at_kills: list[set[str]] = []
    with fault_server(faulty) as server:
        for share in (0.3, 0.6):
            kill_at(server, judging(server, answers, out), sent + int(share * battles))
            stored_at_kills.append(log())
            sent = len(server.requests)
        last = judging(server, answers, out)
        _, output = last.communicate(timeout=300)
        assert last.returncode == 0, output.decode()

    assert 0 < len(stored_at_kills[0]) < len(stored_at_kills[1]) < 2 * battles
    final = log()
    assert stored_at_kills[0] < stored_at_kills[1] < final, "what was on disk stays as it was"
    verdicts = list(io.read(out / "verdicts.jsonl", Verdict))
    assert len({(verdict.battle_id, verdict.order) for verdict in verdicts}) == len(verdicts) == 2 * battles
    assert [vote.outcome for vote in io.read(out / "votes.jsonl", Vote)] == ["a"] * battles

    paid = [json.dumps(request, sort_keys=True) for request in server.answered]
    again = len(paid) - len(set(paid))
    record_property("requests", len(server.requests))
    record_property("answered", len(paid))
    record_property("answered twice", again)
    record_property("on disk at the kills", [len(kept) for kept in stored_at_kills])
    assert len(set(paid)) == 2 * battles
    assert again <= 2 * CONCURRENCY, "only what was under way when the process died"
    keys = {
        json.dumps(request, sort_keys=True): headers["idempotency-key"]
        for request, headers in zip(server.requests, server.headers, strict=True)
    }
    assert all(
        headers["idempotency-key"] == keys[json.dumps(request, sort_keys=True)]
        for request, headers in zip(server.requests, server.headers, strict=True)
    ), "and that under the key it had, so that a server that knows keys bills it once"
