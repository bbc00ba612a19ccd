"""Generate one contestant's completions for all examples; resumable, each request is sent once."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from toolkit import io
from toolkit.data.chat import with_prompt
from toolkit.errors import DataError
from toolkit.generate.base import Reply, Request, Source, may_sample
from toolkit.progress import log_progress
from toolkit.recipe import Endpoint, Generation
from toolkit.types import Completion, Example, Message, Record, digest

if TYPE_CHECKING:
    from toolkit.models import Loaded

logger = logging.getLogger(__name__)


def generate_completions(  # noqa: PLR0913
    source: Loaded | Source | Endpoint,
    examples: Sequence[Example],
    *,
    contestant: str,
    adapter: str | None = None,
    prompt: Sequence[Message] = (),
    options: Generation = Generation(),
    seed: int = 0,
    out: Path,
    store: Path | None = None,
) -> list[Completion]:
    """Generate completions for all examples; resumable.

    Each reply is appended to `store` under a key of its rendered prompt and settings, so an interrupted call
    continues and an unchanged request is not sent again. `out` is written at the end, in the order of the
    examples; a resumed call writes the same bytes.

    Args:
        source: a loaded model, an endpoint, or any `Source`.
        examples: prompts with unique ids.
        contestant: name written into each completion.
        adapter: the attached adapter to switch on (loaded models only); `None` is the bare base.
        prompt: the contestant's own messages, put before every example's.
        options: length, sampling, stop strings, batch size.
        seed: for sampling; greedy answers do not depend on it.
        out: `completions/<contestant>.jsonl`.
        store: folder of stored replies; default `.answers` beside `out`.

    Raises:
        DataError: two examples share an id, one does not fit the model's context, or `out` holds something
            else than completions of this contestant.
        EndpointError: the endpoint did not answer, or refused all requests; what it answered is kept.
    """
    twice = [name for name, count in Counter(example.id for example in examples).items() if count > 1]
    if twice:
        raise DataError(f"two examples have the id {twice[0]}; give each its own")
    for number, found in enumerate(io.read(out, Completion) if out.exists() else (), start=1):
        if found.contestant != contestant:
            whose = f"a completion of {found.contestant}, and not of {contestant}"
            raise DataError(f"{out}:{number}: {whose}; remove the file or choose another")
    engine, requests = _as_source(source, adapter), _requests(examples, prompt, seed)
    keys = {request.id: _key(engine, request, options) for request in requests}
    stored = _store(engine, store or out.parent / ANSWERS, options)
    known = stored.replies if stored else {}
    done = {name: known[key] for name, key in keys.items() if key in known}
    if len(done) < len(examples):
        logger.info("%s: answering %d examples, %d are done", contestant, len(examples), len(done))
        for request, reply in engine.replies(requests, dict(done), options):
            kept = stored if reply.finish != "refused" else None
            done[request.id] = kept.add(keys[request.id], reply, asdict(reply)) if kept else reply
            log_progress(logger, f"{contestant}: answers", len(done), len(examples))
    completions = []
    for example in examples:
        reply = done[example.id]
        how = {"finish": reply.finish, "tokens": reply.tokens, "error": reply.error}
        completions.append(example.completed(contestant, reply.text, **how))
    io.write(out, completions)
    cut = [each for each in completions if each.finish == "length" and not each.completion]
    if spent := sum(bool(each.reasoning) for each in cut):
        mend = "raise max_new_tokens, or set model.chat_template_kwargs: {enable_thinking: false}"
        counts = f"{spent} of {len(completions)} answers"
        logger.warning("%s: %s are empty, cut while still thinking; %s", contestant, counts, mend)
    return completions


def check_replaceable(out: Path, examples: Sequence[Example]) -> None:
    """Raise a `DataError` where answers to these examples would replace a file's answers to others."""
    there = {(row.example_id, row.messages) for row in (io.read(out, Completion) if out.exists() else ())}
    current, ids = {(each.id, each.messages) for each in examples}, {each.id for each in examples}
    if any(name not in ids for name, _ in there) or (there and there.isdisjoint(current)):
        lost = there - current
        raise DataError(
            f"{out}: {len(lost)} of its {len(there)} answers, such as that to {min(lost)[0]}, are to none of "
            f"these {len(current)} examples and would be lost; choose another --out, or remove the file"
        )


def import_completions(
    endpoint: Endpoint,
    completions: Iterable[Completion],
    *,
    prompt: Sequence[Message],
    options: Generation,
    seed: int,
    store: Path,
) -> None:
    """Add an endpoint's existing completions to a store; refusals are skipped."""
    engine = _as_source(endpoint, None)
    stored = _store(engine, store, options)
    assert stored is not None
    answered = list(completions)
    by_id = [Example(id=each.example_id, messages=each.messages) for each in answered]
    for completion, request in zip(answered, _requests(by_id, prompt, seed), strict=True):
        key = _key(engine, request, options)
        if key not in stored.replies and completion.finish != "refused":
            reply = Reply(completion.completion, completion.finish, completion.tokens)
            stored.add(key, reply, asdict(reply))


def _store(source: Source, folder: Path, options: Generation) -> Store[Reply] | None:
    settings = source.settings(options)
    if settings is None:
        return None
    return Store(folder, settings, lambda fields: Reply(**fields), source.metadata(options))


def _key(source: Source, request: Request, options: Generation) -> str:
    """Key of a reply under fixed settings; includes the seed where sampling is on."""
    drawn = request.seed if may_sample(options) else None
    return digest(json.dumps([source.rendered(request), drawn], ensure_ascii=False))


def _as_source(source: Loaded | Source | Endpoint, adapter: str | None) -> Source:
    if isinstance(source, Source):
        return source
    if isinstance(source, Endpoint):
        from toolkit.generate.endpoint import EndpointSource

        return EndpointSource(source)
    from toolkit.generate.local import LocalSource  # imports torch

    return LocalSource(source, adapter)


def _requests(examples: Sequence[Example], prompt: Sequence[Message], seed: int) -> list[Request]:
    """Build the requests; seeds depend on the prompt and, where it is repeated, on the draw, not on ids."""
    draws: Counter[str] = Counter()
    requests = []
    for example in examples:
        question = json.dumps([message.as_dict() for message in example.messages], ensure_ascii=False)
        drawn = int(digest(str(seed), question, str(draws[question])), 16) % 2**63
        requests.append(Request(example.id, with_prompt(prompt, example.messages), drawn))
        draws[question] += 1
    return requests


ANSWERS = ".answers"
VERDICTS = ".verdicts"  # names of stores: in the folder of runs, or beside a file of completions or judgments

T = TypeVar("T")


class Header(Record):
    """The first line of a file: what its replies have in common."""

    settings: dict[str, Any]


class Line(Record):
    """Any other line."""

    key: str
    """Of what is read; of seed and draw too where answers are sampled."""
    reply: dict[str, Any]
    made_with: dict[str, Any]
    """Settings that change a reply only by rounding: batch size, device, attention."""
    check: str
    """Hash of key and reply: a line that was edited is not taken."""


class Store(Generic[T]):
    """The replies to one way of asking, by key."""

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any],
        parse: Callable[[dict[str, Any]], T],
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Read the replies so far, without damaged lines; `metadata` is recorded beside each new reply."""
        text = json.dumps(settings, sort_keys=True, ensure_ascii=False)
        self.file = folder / f"{digest(text)}.jsonl"
        self.header, self.metadata = Header(settings=dict(settings)), dict(metadata or {})
        self._parse, self._read_bytes = parse, 0
        self.replies = self._read() if self.file.exists() else {}
        """Key -> the last reply."""
        self._others = dict[str, T]()  # the same of other processes, since this was made

    def _read(self) -> dict[str, T]:
        """The replies of the lines that were written since the last call."""
        with self.file.open("rb") as file:
            file.seek(self._read_bytes)
            *lines, torn = file.read().split(b"\n")
            self._read_bytes = file.tell() - len(torn)
        replies, damaged = dict[str, T](), 0
        for line in (each.decode(errors="replace") for each in lines):
            if not line or line.startswith('{"settings"'):
                continue
            try:
                stored = Line.model_validate_json(line)
                if stored.check != _check(stored.key, stored.reply):
                    raise ValueError("edited")
                replies[stored.key] = self._parse(stored.reply)
            except (ValueError, TypeError):
                damaged += 1
        if damaged:
            logger.warning("%s: %d damaged or edited lines; they are requested again", self.file, damaged)
        return replies

    def add(
        self, key: str, reply: T, fields: dict[str, Any], final: Callable[[T], bool] = lambda _: True
    ) -> T:
        """Keep a reply, on disk when this returns; the one to use: another process's `final` one stands."""
        io.append(self.file, self._lines(key, reply, fields, final))
        return self.replies[key]

    def _lines(
        self, key: str, reply: T, fields: dict[str, Any], final: Callable[[T], bool]
    ) -> Iterator[Record]:
        """The lines to append, decided when the file is held and others' lines are read."""
        since = self._read()
        self._others |= since
        self.replies |= since
        if key in self._others and final(self._others[key]):
            return
        self.replies[key] = reply
        if not self._read_bytes:
            yield self.header
        yield Line(key=key, reply=fields, made_with=self.metadata, check=_check(key, fields))
        self._read_bytes = self.file.stat().st_size


def _check(key: str, reply: Mapping[str, Any]) -> str:
    return digest(key, json.dumps(reply, sort_keys=True, ensure_ascii=False))
