"""GGUF files: written by llama.cpp's converter, and answered from by llama.cpp's server.

Neither is a dependency. The converter is a script of llama.cpp's sources; the server is `llama-server`, or
that of the `xllamacpp` wheels.
"""

from __future__ import annotations

import importlib.util
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from toolkit.errors import ModelError
from toolkit.fingerprints import file_hash
from toolkit.generate.endpoint import EndpointSource
from toolkit.generate.engine import RETRY, Engine
from toolkit.recipe import Endpoint, Generation

CONVERTERS = ("convert_hf_to_gguf.py", "convert-hf-to-gguf")
"""What the converter is called in llama.cpp's sources, and where it is installed as a package."""

NO_CONVERTER = (
    "llama.cpp's converter is not here; `git clone https://github.com/ggml-org/llama.cpp`, install its "
    "requirements in an environment of its own, and add `--converter 'ENVIRONMENT/bin/python "
    "llama.cpp/convert_hf_to_gguf.py'`"
)
NO_SERVER = (
    "llama.cpp is not here to answer from the GGUF files: `pip install xllamacpp`, put `llama-server` on the "
    "PATH or give it with --server, or leave the comparison out with --no-score"
)

XLLAMACPP = """
import signal, sys
import xllamacpp

settings = dict(zip(sys.argv[1::2], sys.argv[2::2]))
params = xllamacpp.CommonParams()
params.model.path, params.port = settings["--model"], int(settings["--port"])
params.n_ctx, params.n_parallel = int(settings["--ctx-size"]), int(settings["--parallel"])
params.sampling.top_k, params.sampling.min_p = int(settings["--top-k"]), float(settings["--min-p"])
server = xllamacpp.Server(params)
signal.pause()
"""
"""A server by `xllamacpp` that takes the flags of `llama-server` that are used here."""


def converter_command(command_line: str | None) -> list[str]:
    """The command that converts a model folder; a `ModelError` where there is none."""
    if command_line is None:
        found = next(filter(None, map(shutil.which, CONVERTERS)), None)
        if found is None:
            raise ModelError(NO_CONVERTER)
        return [found]
    return _existing(command_line, "--converter")


def server_command(command_line: str | None) -> list[str]:
    """The command that serves a GGUF file, without its flags; a `ModelError` where there is none."""
    if command_line is not None:
        return _existing(command_line, "--server")
    if shutil.which("llama-server"):
        return ["llama-server"]
    if importlib.util.find_spec("xllamacpp"):
        return [sys.executable, "-c", XLLAMACPP]
    raise ModelError(NO_SERVER)


def _existing(command_line: str, option: str) -> list[str]:
    command = shlex.split(command_line)
    if not command or shutil.which(command[0]) is None:
        raise ModelError(f"{option}: {command_line[:200]!r}: no such command; give its path")
    return command


def convert(command: Sequence[str], model: Path, out: Path, kind: str) -> None:
    """Write a model folder as a GGUF file with weights of type `kind`; a `ModelError` where that fails."""
    arguments = [*command, str(model), "--outfile", str(out), "--outtype", kind]
    done = subprocess.run(arguments, check=False, capture_output=True, text=True, errors="replace")
    if done.returncode != 0 or not out.is_file():
        lines = [line for line in f"{done.stdout}\n{done.stderr}".splitlines() if line.strip()]
        raise ModelError(f"{command[-1]}: {(lines or ['no output'])[-1].strip()[:300]}")


class LlamaServer(Engine):
    """llama.cpp's server over one GGUF file; `context`: tokens of the longest prompt with its answer."""

    mend = "mend --server, or leave the comparison out with --no-score"

    def __init__(self, command: Sequence[str], file: Path, context: int, log: Path) -> None:
        self.command, self.name = list(command), "llama.cpp"
        self.base, self.adapters, self.log = str(file), {}, log
        self.file, self.context = file, context
        self.version, self.flags, self._process = "", [], None

    def _flags(self) -> list[str]:
        """Sampling as requests say: the server's own cuts of the distribution are switched off."""
        flags = ["--model", str(self.file), "--port", str(self.port), "--ctx-size", str(self.context)]
        return [*flags, "--parallel", "1", "--top-k", "0", "--min-p", "0"]

    def _find_version(self) -> str:
        try:
            return str(httpx.get(f"{self.url}/props", timeout=5).json()["build_info"])
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return "unknown"

    def source(self) -> GgufSource:
        """The running server as a source of completions, stored by the file's content."""
        endpoint = Endpoint(url=f"{self.url}/v1", model=file_hash(self.file), concurrency=1, timeout=3600)
        return GgufSource(endpoint, RETRY)


class GgufSource(EndpointSource):
    """Completions by llama.cpp; where its server listens is no part of what shaped them."""

    def settings(self, options: Generation) -> Mapping[str, Any]:
        return dict(super().settings(options)) | {"engine": "llama.cpp", "url": ""}
