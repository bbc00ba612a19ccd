"""Completions by an inference server that a run starts and stops: vLLM, or `transformers serve`.

with Engine(command, base, {"sft": folder}, options, generation, log) as engine:
    generate_completions(ServedModel(engine, "sft"), examples, ...)

The server may live in an environment of its own: it is a command, and what it needs of ours is on disk.
"""

import atexit
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import httpx
from transformers import AutoConfig

from toolkit import io
from toolkit.data.chat import opens_thinking, prompt_ids, render
from toolkit.errors import ModelError
from toolkit.generate.base import Replies, Request, Source, engine_name, sampling
from toolkit.generate.endpoint import EndpointSource
from toolkit.models import bases, hardware
from toolkit.models.loading import load_tokenizer, loaded_fingerprint
from toolkit.models.rate_limit import Retry
from toolkit.recipe import Endpoint, Generation, ModelOptions

logger = logging.getLogger(__name__)

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # values of vLLM's `--max-lora-rank`

UNSERVED = (
    *("use_dora", "modules_to_save", "lora_bias", "trainable_token_indices", "target_parameters"),
    *("rank_pattern", "alpha_pattern", "layer_replication"),
)
"""Settings of LoRA that a server refuses, or passes over in some versions."""

START_TIMEOUT = 1800.0  # seconds until a server that is still alive counts as stuck
STOP_TIMEOUT = 30.0
RETRY = Retry(attempts=3, trip_after=3, cool_off=1.0, tries=2)
"""A server of our own that fails three times will go on failing."""

BASE = "@base"  # name of the bare base at the server; no contestant can have it

END_WITH_PARENT = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
os.execvp(sys.argv[1], sys.argv[1:])
"""
"""Has the kernel end the server when the run is killed without a chance to stop it."""


def not_served(base: Path, options: ModelOptions, adapters: Mapping[str, Path]) -> str | None:
    """Why an engine cannot serve a base with these adapters as they were trained, or `None`."""
    if options.quantization == "int8":
        return "model.quantization int8"
    if load_tokenizer(base, options.chat_template, options.chat_template_kwargs).chat_template is None:
        return "a base without a chat template"
    for name, folder in adapters.items():
        config = io.read_json(folder / "adapter_config.json", kind=dict)
        if config["peft_type"] != "LORA":
            return f"{name} ({config['peft_type']})"
        found = [key for key in UNSERVED if config.get(key)]
        targets = config.get("target_modules") or ()  # a pattern is a text
        if any(name in targets for name in ("embed_tokens", "lm_head")):
            found.append("an adapter on the embeddings or the output layer")
        found += ["bias"] if config.get("bias", "none") != "none" else []
        if config["r"] > RANKS[-1]:
            found.append(f"rank {config['r']}")
        if found:
            return f"{name} ({found[0]})"
    return None


def lora_flags(adapters: Mapping[str, Path]) -> list[str]:
    """VLLM's flags for adapters by their names."""
    if not adapters:
        return []
    most = max(io.read_json(each / "adapter_config.json", kind=dict)["r"] for each in adapters.values())
    rank = next(size for size in RANKS if size >= most)
    modules = [f"{name}={folder.absolute()}" for name, folder in adapters.items()]
    return ["--enable-lora", "--max-lora-rank", str(rank), "--lora-modules", *modules]


class Engine:
    """A server over one base and its adapters; started on entering, stopped on leaving."""

    mend = "mend `engine_command`, or take `engine: transformers`"
    """What to do when it does not start."""

    def __init__(
        self,
        command: Sequence[str],
        base: str,
        adapters: Mapping[str, Path],
        options: ModelOptions,
        generation: Generation,
        log: Path,
    ) -> None:
        self.command, self.name = list(command), engine_name(command)
        self.base, self.adapters, self.options = base, dict(adapters), options
        self.generation, self.log = generation, log
        self.folder = bases.resolve_base(base, revision=options.revision)
        self.tokenizer = load_tokenizer(self.folder, options.chat_template, options.chat_template_kwargs)
        self.chosen = hardware.choose(options)
        self.version = ""
        self.flags: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.work = Path(tempfile.mkdtemp(prefix="adapter-arena-engine-"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.flags = self._flags()
        adapters = ", ".join(self.adapters) or "no adapter"
        logger.info("starting %s for %s with %s", self.name, self.base, adapters)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        atexit.register(self.stop)
        try:
            with self.log.open("wb") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-c", END_WITH_PARENT, *self.command, *self.flags],
                    stdout=log,
                    stderr=log,
                    stdin=subprocess.DEVNULL,
                    env={"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"} | os.environ,
                    start_new_session=True,  # a Ctrl-C is ours to pass on
                )
            self._wait_until_healthy()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the server and all of its processes; idempotent."""
        process, self._process = self._process, None
        if process is not None:
            for number in (signal.SIGTERM, signal.SIGKILL):
                try:
                    os.killpg(process.pid, number)
                    process.wait(STOP_TIMEOUT)
                except (ProcessLookupError, PermissionError):
                    process.wait()
                except subprocess.TimeoutExpired:
                    continue
            logger.info("%s stopped", self.name)
        shutil.rmtree(self.work, ignore_errors=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def record(self) -> dict[str, Any]:
        """Engine, version and flags, without what differs at every start."""
        shown = [word for word in self.flags if str(self.work) not in word and word != str(self.port)]
        return {"engine": self.name, "version": self.version, "flags": [*self.command, *shown]}

    def model_name(self, adapter: str | None) -> str:
        """What the server calls the base, or an adapter on it."""
        if self.name == "vllm":
            return adapter or BASE
        return str(self.work / "adapters" / adapter) if adapter else str(self.work / "base")

    def _flags(self) -> list[str]:
        dtype, quantized = str(self.chosen.dtype).removeprefix("torch."), self.options.quantization == "nf4"
        flags = ["--host", "127.0.0.1", "--port", str(self.port), "--dtype", dtype]
        if self.name != "vllm":
            self._write_folders()
            flags += ["--device", str(self.chosen.device)]
            return [*flags, "--quantization", "bnb-4bit"] if quantized else flags
        template = self.work / "template.jinja"
        io.write_text(template, str(self.tokenizer.chat_template))
        model = [str(self.folder)] if "serve" in self.command else ["--model", str(self.folder)]
        flags = [*model, *flags, "--served-model-name", BASE]
        flags += ["--generation-config", "auto" if self.generation.from_model else "vllm"]
        flags += ["--enable-prefix-caching", "--chat-template", str(template)]
        if quantized:
            flags += ["--quantization", "bitsandbytes"]
        return [*flags, *lora_flags(self.adapters)]

    def _write_folders(self) -> None:
        """Folders that `transformers serve` knows models by, an adapter beside the base's files."""
        for name in (None, *self.adapters):
            folder = Path(self.model_name(name))
            folder.mkdir(parents=True)
            sources = [self.folder.glob("*.safetensors*"), self.folder.glob("*config.json")]
            if name:
                sources.append(self.adapters[name].glob("adapter_*"))
            for file in (file for source in sources for file in source):
                (folder / file.name).symlink_to(file.absolute())
            (folder / "tokenizer_config.json").unlink(missing_ok=True)
            self.tokenizer.save_pretrained(folder)

    def _wait_until_healthy(self) -> None:
        """Raise a `ModelError` when the server ends, or takes too long."""
        assert self._process is not None
        began = time.monotonic()
        while self._process.poll() is None and time.monotonic() - began < START_TIMEOUT:
            try:
                if httpx.get(f"{self.url}/health", timeout=5).is_success:
                    self.version = self._find_version()
                    logger.info("%s %s ready in %.0f s", self.name, self.version, time.monotonic() - began)
                    return
            except httpx.HTTPError:
                time.sleep(0.2)
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        errors = [line for line in lines if "Error" in line] or lines or ["no output"]
        problem = errors[-1].strip()[:300]
        raise ModelError(f"{self.name} did not start: {problem}; see {self.log}, {self.mend}")

    def _find_version(self) -> str:
        try:
            return str(httpx.get(f"{self.url}/version", timeout=5).json()["version"])
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            if self.command[0] == sys.executable:
                import transformers

                return str(transformers.__version__)
            return "unknown"


@dataclass(frozen=True)
class ServedModel(Source):
    """A base behind a running engine, with one of its adapters: completions, and labels' probabilities."""

    engine: Engine
    adapter: str | None = None

    def replies(self, requests: Sequence[Request], done: Collection[str], options: Generation) -> Replies:
        """Replies as they arrive; an `EndpointError` where the server died or refuses every request."""
        places = options.batch_size if isinstance(options.batch_size, int) else 64
        endpoint = Endpoint(
            url=f"{self.engine.url}/v1",
            model=self.engine.model_name(self.adapter),
            concurrency=places if self.engine.name == "vllm" else 1,
            timeout=3600,
        )
        for request, reply in EndpointSource(endpoint, RETRY).replies(requests, done, options):
            thinks = opens_thinking(render(self.tokenizer, request.messages))
            ended = reply.finish == "stop" and self.engine.name == "vllm"  # it counts the end token
            text = f"<think>\n{reply.text}" if thinks else reply.text
            yield request, replace(reply, text=text, tokens=max(0, reply.tokens - ended), tokens_in=0)

    def settings(self, options: Generation) -> Mapping[str, Any]:
        """As of a model in memory, with this engine."""
        own = self.engine.adapters.get(self.adapter or "")
        return {
            "engine": self.engine.name,
            "model": bases.content_fingerprint(self.engine.folder, template=False),
            "adapter": bases.content_fingerprint(own) if own else None,
            "dtype": str(self.engine.chosen.dtype).removeprefix("torch."),
            "quantization": self.engine.options.quantization,
            "sampling": sampling(options),
        }

    def metadata(self, options: Generation) -> Mapping[str, Any]:
        return {"device": str(self.engine.chosen.device), **self.engine.record}

    def rendered(self, request: Request) -> list[int]:
        return prompt_ids(self.tokenizer, request.messages)

    # what a judge reads of a model in memory

    @property
    def name(self) -> str:
        return self.engine.base

    @property
    def tokenizer(self) -> Any:
        return self.engine.tokenizer

    @cached_property
    def fingerprint(self) -> str:
        return loaded_fingerprint(self.engine.folder, self.engine.options)

    @cached_property
    def config(self) -> Any:
        return AutoConfig.from_pretrained(self.engine.folder)

    def next_token_logprobs(
        self, prompts: Sequence[list[int]], tokens: Sequence[int]
    ) -> Iterator[tuple[int, list[float]]]:
        """Log-probabilities of some tokens after each prompt, over the whole vocabulary (vLLM only)."""

        def read(place: int) -> tuple[int, list[float]]:
            body = {
                "model": self.engine.model_name(self.adapter),
                "prompt": prompts[place],
                "max_tokens": 1,
                "temperature": 0,
                "logprobs": 1,
                "logprob_token_ids": list(tokens),
                "return_tokens_as_token_ids": True,
            }
            answer = httpx.post(f"{self.engine.url}/v1/completions", json=body, timeout=3600)
            if not answer.is_success:
                raise ModelError(f"{self.engine.name}: {answer.text[:300]}; take `engine: transformers`")
            found = answer.json()["choices"][0]["logprobs"]["top_logprobs"][0]
            return place, [float(found[f"token_id:{token}"]) for token in tokens]

        with ThreadPoolExecutor(64) as pool:  # the server batches them, and keeps what prompts begin with
            yield from pool.map(read, range(len(prompts)))
