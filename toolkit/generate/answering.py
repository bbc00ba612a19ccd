"""Generate one contestant's completions for all examples; each answer is kept and never asked for twice."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit import records
from toolkit.errors import DataError
from toolkit.generate.base import Reply, Request, Source, may_sample
from toolkit.generate.store import ANSWERS, Store
from toolkit.progress import tell
from toolkit.recipe import Endpoint, Generation
from toolkit.types import Completion, Example, Message, digest

if TYPE_CHECKING:
    from toolkit.models import Loaded

logger = logging.getLogger(__name__)


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
    store: Path | None = None,
) -> list[Completion]:
    """Generate completions for all examples; resumable.

    Each answer is kept in `store` as soon as it is there, under its rendered prompt and all that shapes it:
    an interrupted call continues, and an unchanged question costs nothing. `out` is written whole at the end,
    in the order of the examples. Interrupted and resumed, it holds the same bytes.

    Args:
        source: a loaded model, an endpoint, or anything else that answers.
        examples: what to ask; their ids must differ.
        contestant: name written into each completion.
        adapter: the attached adapter to switch on (loaded models only); `None` is the bare base.
        prompt: the contestant's own messages, put before every example's.
        options: length, sampling, stop strings, batch size.
        seed: for sampling; greedy answers do not depend on it.
        out: `completions/<contestant>.jsonl`.
        store: folder of the answers that are kept; left out, `.answers` beside `out`.

    Raises:
        DataError: two examples share an id, one does not fit the model's context, or `out` holds something
            else than completions of this contestant.
        EndpointError: the endpoint did not answer, or refused all requests; what it answered is kept.
    """
    requests = _requests(examples, prompt, seed)
    asked = {example.id: example for example in examples}
    if len(asked) < len(examples):
        ids = [example.id for example in examples]
        twice = next(name for name in ids if ids.count(name) > 1)
        raise DataError(f"two examples have the id {twice}; give each its own")
    _check_replaceable(out, contestant)
    speaker = _speaker(source, adapter)
    done: dict[str, Reply] = {}
    keys = {request.id: _key(speaker, request, options) for request in requests}
    settings = speaker.settings(options)
    kept = (
        None
        if settings is None
        else Store(store or out.parent / ANSWERS, settings, _reply, speaker.made_with(options))
    )
    if kept:
        done = {name: kept.replies[key] for name, key in keys.items() if key in kept.replies}
    if len(done) < len(examples):
        logger.info("%s: answering %d examples, %d are done", contestant, len(examples), len(done))
        for request, reply in speaker.replies(requests, dict(done), options):
            if kept and reply.finish != "refused":
                kept.add(keys[request.id], reply, asdict(reply))
            done[request.id] = reply
            tell(logger, f"{contestant}: answers", len(done), len(examples))
    completions = [_completion(example, contestant, done[example.id]) for example in examples]
    records.write(out, completions)
    _warn_of_thinking(contestant, completions)
    return completions


def _warn_of_thinking(contestant: str, completions: Sequence[Completion]) -> None:
    """Warn of answers that never came, since all tokens went into the thinking before them."""
    spent = sum(
        each.finish == "length" and bool(each.reasoning) and not each.completion for each in completions
    )
    if spent:
        logger.warning(
            "%s: %d of %d answers are empty, cut while still thinking; raise max_new_tokens, or set "
            "model.chat_template_kwargs: {enable_thinking: false}",
            contestant,
            spent,
            len(completions),
        )


def keep_paid_answers(
    endpoint: Endpoint,
    completions: Iterable[Completion],
    *,
    prompt: Sequence[Message],
    options: Generation,
    seed: int,
    store: Path,
) -> None:
    """Put completions of an endpoint into a store as if they had been made with it; refusals are left out."""
    speaker = _speaker(endpoint, None)
    kept = Store(store, speaker.settings(options) or {}, _reply, speaker.made_with(options))
    answered = list(completions)
    asked = [Example(id=each.example_id, messages=each.messages) for each in answered]
    for completion, request in zip(answered, _requests(asked, prompt, seed), strict=True):
        key = _key(speaker, request, options)
        if key not in kept.replies and completion.finish != "refused":
            reply = Reply(completion.completion, completion.finish, completion.tokens)
            kept.add(key, reply, asdict(reply))


def _reply(fields: dict[str, Any]) -> Reply:
    return Reply(**fields)


def _key(source: Source, request: Request, options: Generation) -> str:
    """What an answer is known by within one way of answering; the seed counts where answers are sampled."""
    drawn = request.seed if may_sample(options) else None
    return digest(json.dumps([source.rendered(request), drawn], ensure_ascii=False))


def _check_replaceable(out: Path, contestant: str) -> None:
    """Refuse to replace a file that is not this contestant's completions."""
    if not out.exists():
        return
    for number, completion in enumerate(records.read(out, Completion), start=1):
        if completion.contestant != contestant:
            raise DataError(
                f"{out}:{number}: a completion of {completion.contestant}, and not of {contestant}; "
                "remove the file or choose another"
            )


def _speaker(source: Loaded | Source | Endpoint, adapter: str | None) -> Source:
    if isinstance(source, Source):
        return source
    if isinstance(source, Endpoint):
        from toolkit.generate.remote import Remote

        return Remote(source)
    from toolkit.generate.local import Local  # imports torch

    return Local(source, adapter)


def _requests(examples: Sequence[Example], prompt: Sequence[Message], seed: int) -> list[Request]:
    """What to ask; the seeds go by question, and by draw where a question is there several times.

    So neither an id nor a place among the examples changes an answer.
    """
    draws: Counter[str] = Counter()
    requests = []
    for example in examples:
        question = json.dumps([message.as_dict() for message in example.messages], ensure_ascii=False)
        drawn = int(digest(str(seed), question, str(draws[question])), 16) % 2**63
        requests.append(Request(example.id, (*prompt, *example.messages), drawn))
        draws[question] += 1
    return requests


def _completion(example: Example, contestant: str, reply: Reply) -> Completion:
    return Completion(
        example_id=example.id,
        contestant=contestant,
        messages=example.messages,
        completion=reply.text,
        reference=example.reference,
        references=example.references,
        category=example.category,
        finish=reply.finish,
        tokens=reply.tokens,
        error=reply.error,
    )
