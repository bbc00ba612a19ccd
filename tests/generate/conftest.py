"""A real `transformers serve` process on loopback, serving the tiny model."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest


@pytest.fixture(scope="module")
def address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"http://127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture(scope="module")
def served(tiny_model: Path, address: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(tiny_model)]
    command += ["--host", "127.0.0.1", "--port", address.rpartition(":")[2], "--device", "cpu"]
    process = subprocess.Popen([*command, "--dtype", "float32"])
    try:
        for _ in range(240):
            if process.poll() is not None:
                pytest.fail(f"transformers serve ended with {process.returncode}")
            try:
                httpx.get(f"{address}/health")
                break
            except httpx.TransportError:
                time.sleep(0.5)
        yield process
    finally:
        process.kill()
        process.wait()
