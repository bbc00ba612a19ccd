"""What answers, and what it is asked: the types between contestants and the engines that answer for them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from toolkit.recipe import Generation
from toolkit.types import Message

NEUTRAL = {"batch_size"}
"""Fields of `Generation` that change no answer but by rounding."""


@dataclass(frozen=True)
class Request:
    """One conversation to be answered."""

    id: str
    messages: tuple[Message, ...]
    """The contestant's own prompt, then the example's messages."""
    seed: int
    """For sampling: the same request and seed give the same answer, whatever they are batched with."""


@dataclass(frozen=True)
class Reply:
    text: str
    finish: Literal["stop", "length", "refused"]
    tokens: int
    """How many were generated, the end token not counted."""
    error: str | None = None
    """The server's words, where it refused; such a reply is not kept in the store of answers."""
    tokens_in: int = 0
    """Of the prompt, as a server counts them."""


@runtime_checkable
class Source(Protocol):
    """Anything that answers: a model in memory, an endpoint, a script."""

    def replies(
        self, requests: Sequence[Request], done: Collection[str], options: Generation
    ) -> Iterator[tuple[Request, Reply]]:
        """Yield replies as they are ready, in any order.

        Args:
            requests: all of them, so that how they are grouped does not depend on what is done.
            done: ids of those that need no reply any more, perhaps with their replies.
            options: length, sampling, stop strings.
        """
        ...

    def settings(self, options: Generation) -> Mapping[str, Any] | None:
        """Everything but the prompt that shapes an answer, as plain JSON; `None`: answers cannot be kept."""
        ...

    def made_with(self, options: Generation) -> Mapping[str, Any]:
        """What is recorded beside an answer though it changes none but by rounding."""
        ...

    def rendered(self, request: Request) -> Any:
        """What a request is as the model gets it, as plain JSON: token ids, or messages for a server."""
        ...


@dataclass(frozen=True)
class Scripted:
    """A source for tests and examples: a function of the conversation answers, at once and with no model."""

    script: Callable[[Sequence[Message]], str]

    def replies(
        self, requests: Sequence[Request], done: Collection[str], options: Generation
    ) -> Iterator[tuple[Request, Reply]]:
        """Words count as tokens; an answer over `max_new_tokens` is cut there, as a model's would be."""
        for request in requests:
            if request.id not in done:
                words = self.script(request.messages).split(" ")
                kept = words[: options.max_new_tokens]
                finish: Literal["stop", "length"] = "stop" if len(kept) == len(words) else "length"
                yield request, Reply(" ".join(kept), finish, len(kept))

    def settings(self, options: Generation) -> None:
        """A function has no fingerprint: it is called again each time."""

    def made_with(self, options: Generation) -> Mapping[str, Any]:
        return {}

    def rendered(self, request: Request) -> Any:
        return [message.as_dict() for message in request.messages]


def sampling(options: Generation) -> dict[str, Any]:
    """The part of `options` that shapes answers."""
    return options.model_dump(mode="json", exclude=NEUTRAL)


def may_sample(options: Generation) -> bool:
    """Whether answers may depend on the seed."""
    return options.temperature > 0 or options.from_model
