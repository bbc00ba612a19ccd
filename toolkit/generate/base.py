"""Request, reply and the `Source` protocol that generation engines implement."""

import shlex
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from toolkit.errors import ModelError
from toolkit.recipe import Generation
from toolkit.types import Message

NEUTRAL = {"batch_size", "engine", "engine_command", "samples"}
"""Fields of `Generation` that change no single completion, but by rounding; settings name the engine."""


@dataclass(frozen=True)
class Request:
    """One conversation to be answered."""

    id: str
    messages: tuple[Message, ...]  # the contestant's own prompt, then the example's messages
    seed: int  # for sampling: the same request and seed give the same completion in any batch


@dataclass(frozen=True)
class Reply:
    text: str
    finish: Literal["stop", "length", "refused"]
    tokens: int  # how many were generated, the end token not counted
    error: str | None = None  # the server's error message of a refused request; refusals are not stored
    tokens_in: int = 0  # of the prompt, as a server counts them


Replies = Iterator[tuple[Request, Reply]]


@runtime_checkable
class Source(Protocol):
    """Generates replies: a model in memory, an endpoint, a Python function."""

    def replies(self, requests: Sequence[Request], done: Collection[str], options: Generation) -> Replies:
        """Yield replies as they are ready, in any order.

        Args:
            requests: all of them, so that how they are grouped does not depend on what is done.
            done: ids of those that need no reply any more, perhaps with their replies.
            options: length, sampling, stop strings.
        """
        ...

    def settings(self, options: Generation) -> Mapping[str, Any] | None:
        """All settings besides the prompt that determine a reply, as plain JSON; `None`: not storable."""
        ...

    def metadata(self, options: Generation) -> Mapping[str, Any]:
        """Settings recorded beside a reply that change it only by rounding."""
        return {}

    def rendered(self, request: Request) -> Any:
        """The request as the model receives it, as plain JSON: token ids, or messages for a server."""
        return [message.as_dict() for message in request.messages]


@dataclass(frozen=True)
class Scripted(Source):
    """A Python function of the conversation as a source, for tests and examples."""

    script: Callable[[Sequence[Message]], str]

    def replies(self, requests: Sequence[Request], done: Collection[str], options: Generation) -> Replies:
        """Words count as tokens; replies are cut at `max_new_tokens`."""
        for request in requests:
            if request.id not in done:
                words = self.script(request.messages).split(" ")
                cut = words[: options.max_new_tokens]
                yield request, Reply(" ".join(cut), "stop" if len(cut) == len(words) else "length", len(cut))

    def settings(self, options: Generation) -> None:
        """A function has no fingerprint: it is called again each time."""


def engine_command(options: Generation) -> list[str] | None:
    """The command of a recipe's server, `None`: transformers; a `ModelError` where it is not installed."""
    if options.engine == "transformers":
        return None
    if options.engine_command:
        command = shlex.split(options.engine_command)
        if shutil.which(command[0]) is None:
            raise ModelError(f"generation.engine_command: {command[0]}: no such command; give its path")
        return command
    here = shutil.which("vllm") is not None
    if options.engine == "vllm" and not here:
        raise ModelError(
            "generation.engine: no vllm on the PATH; install it in an environment of its own and name its "
            "command in `engine_command`, or take `engine: transformers`"
        )
    if not here:
        return None
    from toolkit.models import hardware  # imports torch

    on_gpu = hardware.choose().device.type == "cuda"
    return ["vllm", "serve"] if options.engine == "vllm" or on_gpu else None


def engine_name(command: Sequence[str]) -> str:
    """`vllm`, or `transformers-serve`."""
    serves = "transformers" in {Path(word).name.partition(".")[0] for word in command}
    return "transformers-serve" if serves else "vllm"


def sampling(options: Generation) -> dict[str, Any]:
    """The fields of `options` that determine a completion."""
    return options.model_dump(mode="json", exclude=NEUTRAL)


def may_sample(options: Generation) -> bool:
    """Whether completions depend on the seed."""
    return options.temperature > 0 or options.from_model
