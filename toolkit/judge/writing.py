"""Judges that write: one way to ask a model on an endpoint or in memory for many replies."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from toolkit.data.chat import prompt_ids
from toolkit.generate import Request
from toolkit.models.endpoints import Answer, ChatReply, ChatRequest, Refusal, chat
from toolkit.models.pacing import Retry
from toolkit.models.spending import Spending, cost
from toolkit.recipe import Endpoint, Generation

if TYPE_CHECKING:
    from toolkit.models import Loaded

UNSUPPORTED = {400, 415, 422, 501}
"""Statuses with which servers refuse a `response_format` they do not know."""


NAMES_FORMAT = re.compile(r"response.?format|json|schema|structured|grammar|guided", re.IGNORECASE)
"""Words of a refusal that is about the format."""

ENOUGH_REFUSALS = 3
"""Refusals before any structured reply came, after which the format counts as their reason."""


class Writer(Protocol):
    """A model that writes replies."""

    @property
    def endpoint(self) -> Endpoint | None:
        """The server it is behind, if it is."""

    @property
    def name(self) -> str: ...

    @property
    def control(self) -> Sequence[str]:
        """Its control tokens, where they are known: to be broken up in quoted text."""

    def spend(self, tokens_in: int, tokens_out: int) -> None:
        """Count what earlier calls cost towards the budget."""

    def write(self, requests: Sequence[ChatRequest], options: Generation) -> Iterator[tuple[int, Answer]]:
        """Yield (position in `requests`, reply) as replies arrive, in any order."""


@dataclass
class EndpointWriter:
    """A model behind an OpenAI-compatible server; asks for structured output until the server refuses it."""

    endpoint: Endpoint
    retry: Retry = Retry()
    structured: bool = True
    control: Sequence[str] = ()
    spending: Spending = field(default_factory=Spending)
    _structured_replies: int = 0
    _refusals: int = 0
    """Of structured requests, in words that do not name the format: the question itself may be refused."""

    @property
    def name(self) -> str:
        return self.endpoint.model

    def spend(self, tokens_in: int, tokens_out: int) -> None:
        """Count what earlier calls cost towards the budget."""
        self.spending = Spending(cost(self.endpoint.price, tokens_in, tokens_out))

    def write(self, requests: Sequence[ChatRequest], options: Generation) -> Iterator[tuple[int, Answer]]:
        again, sent = [], []

        def formed() -> Iterator[ChatRequest]:
            for request in requests:  # as each is sent, so that few are sent in vain
                sent.append(request if self.structured else replace(request, response_format=None))
                yield sent[-1]

        how: dict[str, Any] = {"retry": self.retry, "spending": self.spending}
        for index, answer in chat(self.endpoint, formed(), options, **how):
            formatted = sent[index].response_format is not None
            if formatted and isinstance(answer, Refusal) and answer.status in UNSUPPORTED:
                self._doubt(answer)
                again.append(index)
            else:
                self._structured_replies += formatted
                yield index, answer
        plain = [replace(requests[index], response_format=None) for index in again]
        for place, answer in chat(self.endpoint, plain, options, **how):
            yield again[place], answer

    def _doubt(self, refusal: Refusal) -> None:
        """Give structured output up where it is the reason of a refusal, and not one over-long question."""
        self._refusals += 1
        unproven = not self._structured_replies and self._refusals >= ENOUGH_REFUSALS
        if unproven or NAMES_FORMAT.search(refusal.reason):
            self.structured = False


class LocalWriter:
    """A model in memory, adapters switched off."""

    endpoint: Endpoint | None = None

    def __init__(self, loaded: Loaded, *, batch_size: int = 16) -> None:
        from toolkit.judge.logits import control_tokens

        self.loaded, self.batch_size = loaded, batch_size
        self.control = control_tokens(loaded.tokenizer)

    @property
    def name(self) -> str:
        return f"{Path(self.loaded.name).name}@{self.loaded.fingerprint[:6]}"

    def spend(self, tokens_in: int, tokens_out: int) -> None:
        """A model in memory costs nothing."""

    def write(self, requests: Sequence[ChatRequest], options: Generation) -> Iterator[tuple[int, Answer]]:
        """Yield replies as they end; a prompt that leaves no room for a reply is refused."""
        from toolkit.generate.local import LocalSource
        from toolkit.models.loading import context_window

        room = context_window(self.loaded.model.config) - options.max_new_tokens
        lengths = [len(prompt_ids(self.loaded.tokenizer, request.messages)) for request in requests]
        fitting = []
        for index, request in enumerate(requests):
            if lengths[index] > room:
                yield index, Refusal(0, f"a prompt of {lengths[index]} tokens, and there is room for {room}")
            else:
                fitting.append(Request(str(index), request.messages, request.seed or 0))
        batched = options.model_copy(update={"batch_size": self.batch_size})
        for said, reply in LocalSource(self.loaded).replies(fitting, (), batched):
            finish: Literal["stop", "length"] = "length" if reply.finish == "length" else "stop"
            yield int(said.id), ChatReply(reply.text, finish, lengths[int(said.id)], reply.tokens)


def choice_format(labels: Sequence[str]) -> Mapping[str, Any]:
    """`response_format` for a comparison: the judge's reasons, then one of the labels in MT-bench's marks."""
    return _schema("verdict", {"type": "string", "enum": [f"[[{label}]]" for label in labels]})


def grade_format() -> Mapping[str, Any]:
    """`response_format` for a grade: the judge's reasons, then a whole number from 1 to 10."""
    return _schema("grade", {"type": "integer", "minimum": 1, "maximum": 10})


def _schema(name: str, value: dict[str, Any]) -> Mapping[str, Any]:
    schema = {
        "type": "object",
        "properties": {"reason": {"type": "string"}, name: value},
        "required": ["reason", name],
        "additionalProperties": False,
    }
    return {"type": "json_schema", "json_schema": {"name": name, "strict": True, "schema": schema}}
