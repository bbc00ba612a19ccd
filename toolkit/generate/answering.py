"""Ask one contestant every example and keep its answers, resuming where an earlier attempt stopped."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from toolkit import records
from toolkit.errors import DataError
from toolkit.progress import tell
from toolkit.recipe import Endpoint, Generation
from toolkit.types import Completion, Example, Message, digest

if TYPE_CHECKING:
    from toolkit.models import Loaded

logger = logging.getLogger(__name__)


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
    finish: Literal["stop", "length"]
    tokens: int
    """How many were generated, the end token not counted."""


@runtime_checkable
class Source(Protocol):
    """Anything that answers: a model in memory, an endpoint, a script."""

    def replies(
        self, requests: Sequence[Request], done: Collection[str], options: Generation
    ) -> Iterator[tuple[Request, Reply]]:
        """Yield replies as they are ready, in any order.

        Args:
            requests: all of them, so that how they are grouped does not depend on what is done.
            done: ids of those that need no reply any more.
            options: length, sampling, stop strings.
        """
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


def answer(  # noqa: PLR0913 - one call says who is asked what, how, and where the answers go
    source: Loaded | Source | Endpoint,
    examples: Sequence[Example],
    *,
    contestant: str,
    adapter: str | None = None,
    prompt: Sequence[Message] = (),
    options: Generation = Generation(),
    seed: int = 0,
    out: Path,
) -> list[Completion]:
    """Ask a contestant every example.

    Completions are appended to `out` as they are ready; those an earlier attempt left there are kept. At the
    end the file is rewritten in the order of the examples. Interrupted and resumed, it holds the same bytes.

    Args:
        source: a loaded model, an endpoint, or anything else that answers.
        examples: what to ask; their ids must differ.
        contestant: name written into each completion.
        adapter: the attached adapter to switch on (loaded models only); `None` is the bare base.
        prompt: the contestant's own messages, put before every example's.
        options: length, sampling, stop strings, batch size.
        seed: for sampling; greedy answers do not depend on it.
        out: `completions/<contestant>.jsonl`.

    Raises:
        DataError: two examples share an id, one does not fit the model's context, or `out` holds answers to
            something else.
        EndpointError: the endpoint did not answer, or refused some requests; what it answered is kept.
    """
    requests = [_request(example, prompt, seed) for example in examples]
    asked = {example.id: example for example in examples}
    if len(asked) < len(examples):
        ids = [example.id for example in examples]
        twice = next(name for name in ids if ids.count(name) > 1)
        raise DataError(f"two examples have the id {twice}; give each its own")
    done = earlier(out, asked, contestant)
    if len(done) < len(examples):
        logger.info("%s: answering %d examples, %d are done", contestant, len(examples), len(done))
    for request, reply in _speaker(source, adapter).replies(requests, set(done), options):
        completion = _completion(asked[request.id], contestant, reply)
        records.append(out, [completion])
        done[request.id] = completion
        tell(logger, f"{contestant}: answers", len(done), len(examples))
    completions = [done[example.id] for example in examples]
    records.write(out, completions)
    return completions


def earlier(out: Path, asked: dict[str, Example], contestant: str) -> dict[str, Completion]:
    """The completions an interrupted attempt left, by example id.

    Raises:
        DataError: they answer other examples or are another contestant's.
    """
    if not out.exists():
        return {}
    found: dict[str, Completion] = {}
    for number, completion in enumerate(records.read(out, Completion), start=1):
        example = asked.get(completion.example_id)
        if example is None or example.messages != completion.messages or completion.contestant != contestant:
            raise DataError(
                f"{out}:{number}: an answer of {completion.contestant} to {completion.example_id}, which is "
                f"not what {contestant} is asked now; remove the file or choose another"
            )
        found[completion.example_id] = completion
    return found


def _speaker(source: Loaded | Source | Endpoint, adapter: str | None) -> Source:
    if isinstance(source, Source):
        return source
    if isinstance(source, Endpoint):
        from toolkit.generate.remote import Remote

        return Remote(source)
    from toolkit.generate.local import Local  # imports torch

    return Local(source, adapter)


def _request(example: Example, prompt: Sequence[Message], seed: int) -> Request:
    return Request(
        id=example.id,
        messages=(*prompt, *example.messages),
        seed=int(digest(str(seed), example.id), 16) % 2**63,
    )


def _completion(example: Example, contestant: str, reply: Reply) -> Completion:
    return Completion(
        example_id=example.id,
        contestant=contestant,
        messages=example.messages,
        completion=reply.text,
        reference=example.reference,
        category=example.category,
        finish=reply.finish,
        tokens=reply.tokens,
    )
