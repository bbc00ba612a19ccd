"""Judges that write their reasons, then their verdict; a reply that cannot be read is asked for again."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar

from toolkit.data.chat import prompt_ids
from toolkit.generate import Request
from toolkit.judge.parsing import read_field, read_outcome
from toolkit.judge.prompts import JudgePrompt, build_case, render, validate_prompt
from toolkit.judge.verdicts import Comparison, to_battle_outcome
from toolkit.models.endpoints import Answer, ChatReply, ChatRequest, Refusal, chat, stop_when_all_refused
from toolkit.models.rate_limit import Retry, Spending, cost
from toolkit.recipe import Endpoint, Generation
from toolkit.types import Judgment, Verdict, digest, split_thinking

if TYPE_CHECKING:
    from toolkit.generate.engine import ServedModel
    from toolkit.models import Loaded

RETRY_TEMPERATURE = 0.7
"""Temperature of further attempts: at 0 the same unreadable reply would come again."""


Item = TypeVar("Item")
Read = TypeVar("Read", bound=Judgment)


class RepliesInWords(ABC, Generic[Item, Read]):
    """A model that judges in words; what cannot be read is asked for again, `attempts` times in all."""

    def __init__(
        self,
        backend: Backend,
        prompt: JudgePrompt,
        *,
        reference: bool = False,
        attempts: int = 3,
        options: Generation = Generation(max_new_tokens=512),
    ) -> None:
        self.backend, self.prompt, self.reference = backend, prompt, reference
        self.attempts, self.options = attempts, options

    @property
    def name(self) -> str:
        return self.backend.name

    @property
    def prompt_key(self) -> str:
        return self.prompt.key("written", self.reference, self.backend.endpoint)

    def replies(self, items: Sequence[Item], known: Mapping[int, Read]) -> Iterator[Read]:
        """Yield what every reply says: readable or the last attempt, it is final.

        Args:
            items: what is judged.
            known: place in `items` -> what was last said on it.
        """
        last, answered = dict(known), len(known)
        made = {place: self._made(last[place]) if place in last else 0 for place in range(len(items))}
        self.backend.spend(
            sum(said.tokens_in for said in known.values()), sum(said.tokens_out for said in known.values())
        )
        for attempt in range(1, self.attempts + 1):
            now = [place for place, count in made.items() if count < attempt]
            options = self.options if attempt == 1 else self._retry_options()
            asked = [self._request(items[place], attempt) for place in now]
            answers = self.backend.generate(asked, options)
            for index, answer in stop_when_all_refused(answers, self.name, len(asked), answered=answered):
                answered += isinstance(answer, ChatReply)
                place = now[index]
                last[place] = said = self._read(items[place], answer, attempt, last.get(place))
                made[place] = self._made(said)
                yield said

    def _made(self, said: Read) -> int:
        """How many attempts need not be made any more."""
        if said.cut_at is not None and said.cut_at < self.options.max_new_tokens:
            return 0
        return self.attempts if said.readable or said.refused else said.attempt

    def _retry_options(self) -> Generation:
        return self.options.model_copy(
            update={"temperature": max(self.options.temperature, RETRY_TEMPERATURE)}
        )

    @abstractmethod
    def _request(self, item: Item, attempt: int) -> ChatRequest: ...

    @abstractmethod
    def _read(self, item: Item, answer: Answer, attempt: int, before: Read | None) -> Read: ...


class GenerativeJudge(RepliesInWords[Comparison, Verdict]):
    """A model that compares two answers in words."""

    def verdicts(
        self, comparisons: Sequence[Comparison], known: Mapping[Comparison, Verdict]
    ) -> Iterator[Verdict]:
        """Yield every reply's verdict."""
        validate_prompt(self.prompt, comparisons)
        yield from self.replies(
            comparisons,
            {place: known[comparison] for place, comparison in enumerate(comparisons) if comparison in known},
        )

    @cached_property
    def _format(self) -> Mapping[str, Any]:
        return choice_format(list(self.prompt.labels))

    def _request(self, comparison: Comparison, attempt: int) -> ChatRequest:
        shown = build_case(comparison.battle, comparison.order, reference=self.reference)
        messages = render(self.prompt, "written", shown, self.backend.control)
        seed = int(digest(comparison.battle.id, comparison.order, str(attempt)), 16) % 2**31
        return ChatRequest(messages, seed=seed, response_format=self._format)

    def _read(self, comparison: Comparison, answer: Answer, attempt: int, before: Verdict | None) -> Verdict:
        shown = None
        if isinstance(answer, ChatReply) and answer.finish == "stop":
            shown = read_outcome(split_thinking(answer.text)[1], self.prompt.labels)
        return comparison.verdict(
            self.name,
            self.prompt_key,
            attempt=attempt,
            outcome=to_battle_outcome(shown, comparison.order),
            **reply_fields(answer, self.options, before),
        )


def reply_fields(answer: Answer, options: Generation, before: Judgment | None) -> dict[str, Any]:
    """What judgments keep of a reply besides what it says: reasons or a refusal, tokens of all attempts."""
    read, written = (before.tokens_in, before.tokens_out) if before else (0, 0)
    if not isinstance(answer, ChatReply):
        refused = {"error": answer.reason, "reason": f"refused: {answer.reason}"}
        return refused | {"tokens_in": read, "tokens_out": written}
    return {
        "reason": extract_reason(answer.text),
        "tokens_in": read + answer.tokens_in,
        "tokens_out": written + answer.tokens_out,
        "cut_at": options.max_new_tokens if answer.finish == "length" else None,
    }


def extract_reason(reply: str) -> str:
    """The judge's reasons: of a structured reply its `reason`, else all of it."""
    reason = read_field(reply, "reason")
    return reply.strip() if reason is None else str(reason)


UNSUPPORTED_STATUSES = {400, 415, 422, 501}
"""Statuses with which servers refuse a `response_format` they do not know."""


NAMES_FORMAT = re.compile(r"response.?format|json|schema|structured|grammar|guided", re.IGNORECASE)
"""Words of a refusal that is about the format."""

ENOUGH_REFUSALS = 3
"""Refusals before any structured reply came, after which the format counts as their reason."""


class Backend(Protocol):
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

    def generate(self, requests: Sequence[ChatRequest], options: Generation) -> Iterator[tuple[int, Answer]]:
        """Yield (position in `requests`, reply) as replies arrive, in any order."""


@dataclass
class EndpointBackend:
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

    def generate(self, requests: Sequence[ChatRequest], options: Generation) -> Iterator[tuple[int, Answer]]:
        again, sent = [], []

        def formed() -> Iterator[ChatRequest]:
            for request in requests:  # as each is sent, so that few are sent in vain
                sent.append(request if self.structured else replace(request, response_format=None))
                yield sent[-1]

        how: dict[str, Any] = {"retry": self.retry, "spending": self.spending}
        for index, answer in chat(self.endpoint, formed(), options, **how):
            formatted = sent[index].response_format is not None
            if formatted and isinstance(answer, Refusal) and answer.status in UNSUPPORTED_STATUSES:
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


class LocalBackend:
    """A model in memory, adapters switched off."""

    endpoint: Endpoint | None = None

    def __init__(self, loaded: Loaded | ServedModel) -> None:
        from toolkit.judge.logprob import control_tokens

        self.loaded = loaded
        self.control = control_tokens(loaded.tokenizer)

    @property
    def name(self) -> str:
        return f"{Path(self.loaded.name).name}@{self.loaded.fingerprint[:6]}"

    def spend(self, tokens_in: int, tokens_out: int) -> None:
        """A model in memory costs nothing."""

    def generate(self, requests: Sequence[ChatRequest], options: Generation) -> Iterator[tuple[int, Answer]]:
        """Yield replies as they end; a prompt that leaves no room for a reply is refused."""
        from toolkit.generate.engine import ServedModel
        from toolkit.generate.local import LocalSource
        from toolkit.models.loading import context_window

        room = context_window(self.loaded.config) - options.max_new_tokens
        lengths = [len(prompt_ids(self.loaded.tokenizer, request.messages)) for request in requests]
        fitting = []
        for index, request in enumerate(requests):
            if lengths[index] > room:
                yield index, Refusal(0, f"a prompt of {lengths[index]} tokens, and there is room for {room}")
            else:
                fitting.append(Request(str(index), request.messages, request.seed or 0))
        source = self.loaded if isinstance(self.loaded, ServedModel) else LocalSource(self.loaded)
        for said, reply in source.replies(fitting, (), options):
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
