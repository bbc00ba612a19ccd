"""Judges that write their reasons, then their verdict; an unreadable reply is requested again."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from toolkit.data.chat import prompt_ids
from toolkit.generate import Request
from toolkit.judge.parsing import read_field
from toolkit.judge.prompts import JudgePrompt, render
from toolkit.judge.verdicts import Comparison, Grading, Question
from toolkit.models.endpoints import Answer, ChatReply, ChatRequest, Refusal, chat, stop_when_all_refused
from toolkit.models.rate_limit import Retry, Spending, cost
from toolkit.recipe import Endpoint, Generation
from toolkit.types import Judgment, split_thinking

if TYPE_CHECKING:
    from toolkit.generate.engine import ServedModel
    from toolkit.models import Loaded

RETRY_TEMPERATURE = 0.7
"""Temperature of further attempts: at 0 the same unreadable reply would come again."""

Q = TypeVar("Q", Comparison, Grading)


class GenerativeJudge:
    """A model that writes its verdicts; an unreadable one is requested up to `attempts` times."""

    def __init__(
        self,
        backend: EndpointBackend | LocalBackend,
        prompt: JudgePrompt,
        *,
        reference: bool = False,
        attempts: int = 3,
        options: Generation = Generation(max_new_tokens=512),
    ) -> None:
        self.backend, self.prompt, self.reference = backend, prompt, reference
        self.attempts, self.options = attempts, options
        self.name = backend.name
        self.prompt_key = prompt.key("written", reference, backend.endpoint)

    def verdicts(self, questions: Sequence[Q], known: Mapping[Q, Judgment]) -> Iterator[Any]:
        """Yield what every reply says: readable or the last attempt, it is final."""
        for question in questions:
            question.validate(self.prompt)
        last, answered = dict(known), len(known)
        made = {each: self._attempts_made(last[each]) if each in last else 0 for each in questions}
        paid = [(judgment.tokens_in, judgment.tokens_out) for judgment in known.values()]
        self.backend.spend(sum(read for read, _ in paid), sum(written for _, written in paid))
        for attempt in range(1, self.attempts + 1):
            now = [question for question, count in made.items() if count < attempt]
            options = self.options
            if attempt > 1:
                warmer = max(options.temperature, RETRY_TEMPERATURE)
                options = options.model_copy(update={"temperature": warmer})
            answers = self.backend.generate([self._request(each, attempt) for each in now], options)
            for index, answer in stop_when_all_refused(answers, self.name, len(now), answered=answered):
                answered += isinstance(answer, ChatReply)
                question = now[index]
                judgment = self._read(question, answer, attempt, last.get(question))
                last[question], made[question] = judgment, self._attempts_made(judgment)
                yield judgment

    def _attempts_made(self, judgment: Judgment) -> int:
        """How many attempts need not be made any more."""
        if judgment.cut_at is not None and judgment.cut_at < self.options.max_new_tokens:
            return 0
        return self.attempts if judgment.readable or judgment.refused else judgment.attempt

    def _request(self, question: Question, attempt: int) -> ChatRequest:
        messages = render(self.prompt, "written", question.case(self.reference), self.backend.control)
        return ChatRequest(messages, question.seed(attempt), reply_format(self.prompt))

    def _read(self, question: Question, answer: Answer, attempt: int, before: Judgment | None) -> Judgment:
        """What a reply says, with its reasons or a refusal, and the tokens of all attempts."""
        read, written = (before.tokens_in, before.tokens_out) if before else (0, 0)
        if not isinstance(answer, ChatReply):
            found: dict[str, Any] = {"error": answer.reason, "reason": f"refused: {answer.reason}"}
        else:
            found = {"reason": extract_reason(answer.text)}
            read, written = read + answer.tokens_in, written + answer.tokens_out
            if answer.finish == "stop":
                found |= question.read_reply(split_thinking(answer.text)[1], self.prompt)
            elif answer.finish == "length":
                found["cut_at"] = self.options.max_new_tokens
        tokens = {"tokens_in": read, "tokens_out": written}
        return question.judgment(self.name, self.prompt_key, attempt=attempt, **found, **tokens)


def extract_reason(reply: str) -> str:
    """The judge's reasons: of a structured reply its `reason`, else all of it."""
    reason = read_field(reply, "reason")
    return reply.strip() if reason is None else str(reason)


def reply_format(prompt: JudgePrompt) -> Mapping[str, Any]:
    """`response_format`: the judge's reasons, then a label in MT-bench's marks, or a grade from 1 to 10."""
    name, value = "grade", {"type": "integer", "minimum": 1, "maximum": 10}
    if prompt.protocol == "pairwise":
        name, value = "verdict", {"type": "string", "enum": [f"[[{label}]]" for label in prompt.labels]}
    schema = {
        "type": "object",
        "properties": {"reason": {"type": "string"}, name: value},
        "required": ["reason", name],
        "additionalProperties": False,
    }
    return {"type": "json_schema", "json_schema": {"name": name, "strict": True, "schema": schema}}


UNSUPPORTED_STATUSES = {400, 415, 422, 501}
"""Statuses with which servers refuse a `response_format` they do not know."""

NAMES_FORMAT = re.compile(r"response.?format|json|schema|structured|grammar|guided", re.IGNORECASE)
"""Words of a refusal that is about the format."""

ENOUGH_REFUSALS = 3
"""Refusals before any structured reply came, after which the format counts as their reason."""


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
        """Yield (position in `requests`, reply) as replies arrive, in any order."""
        again, sent = [], []

        def formed() -> Iterator[ChatRequest]:
            for request in requests:  # as each is sent, so that few are sent in vain
                sent.append(request if self.structured else replace(request, response_format=None))
                yield sent[-1]

        how: dict[str, Any] = {"retry": self.retry, "spending": self.spending}
        for index, answer in chat(self.endpoint, formed(), options, **how):
            formatted = sent[index].response_format is not None
            if formatted and isinstance(answer, Refusal) and answer.status in UNSUPPORTED_STATUSES:
                self._refusals += 1
                unproven = not self._structured_replies and self._refusals >= ENOUGH_REFUSALS
                if unproven or NAMES_FORMAT.search(answer.reason):  # else one over-long question
                    self.structured = False
                again.append(index)
            else:
                self._structured_replies += formatted
                yield index, answer
        plain = [replace(requests[index], response_format=None) for index in again]
        for place, answer in chat(self.endpoint, plain, options, **how):
            yield again[place], answer


class LocalBackend:
    """A model in memory, adapters switched off."""

    endpoint: Endpoint | None = None

    def __init__(self, loaded: Loaded | ServedModel) -> None:
        from toolkit.judge.logprob import control_tokens

        self.loaded = loaded
        self.control = control_tokens(loaded.tokenizer)
        self.name = f"{Path(loaded.name).name}@{loaded.fingerprint[:6]}"

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
        for answered, reply in source.replies(fitting, (), options):
            finish: Literal["stop", "length"] = "length" if reply.finish == "length" else "stop"
            yield int(answered.id), ChatReply(reply.text, finish, lengths[int(answered.id)], reply.tokens)
