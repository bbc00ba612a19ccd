"""A model in memory as a source of answers: chat template, continuous batching, sampling, stop strings."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from toolkit.data.chat import prompt_ids
from toolkit.errors import DataError
from toolkit.generate.answering import Reply, Request
from toolkit.generate.slots import Slots
from toolkit.models import Loaded
from toolkit.recipe import Generation


@dataclass
class _Talk:
    """One conversation under way."""

    request: Request
    prompt: list[int]
    sampler: torch.Generator | None
    tokens: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Local:
    """Answers of a loaded model, with one of its adapters switched on."""

    loaded: Loaded
    adapter: str | None = None

    def replies(
        self, requests: Sequence[Request], done: Collection[str], options: Generation
    ) -> Iterator[tuple[Request, Reply]]:
        """Longest prompts first, `batch_size` at a time, a new one whenever one has finished."""
        waiting = [self._talk(request, options) for request in requests if request.id not in done]
        waiting.sort(key=lambda talk: (len(talk.prompt), talk.request.id))  # taken from the end
        if not waiting:
            return
        ends = end_tokens(self.loaded)
        with self.loaded.using(self.adapter) as model:
            slots = Slots(model, min(options.batch_size, len(waiting)))
            talks: list[_Talk | None] = [None] * min(options.batch_size, len(waiting))
            while waiting or any(talks):
                _take(waiting, talks, slots)
                logits = slots.step([_next_input(talk) for talk in talks])
                chosen = logits.argmax(dim=-1).tolist()
                for slot, talk in enumerate(talks):
                    if talk is None:
                        continue
                    token = (
                        chosen[slot] if talk.sampler is None else sample(logits[slot], options, talk.sampler)
                    )
                    reply = self._reply(talk, token, ends, options)
                    if reply is not None:
                        talks[slot] = None
                        slots.free(slot)
                        yield talk.request, reply

    def _talk(self, request: Request, options: Generation) -> _Talk:
        prompt = prompt_ids(self.loaded.tokenizer, request.messages)
        room = getattr(self.loaded.model.config.get_text_config(), "max_position_embeddings", None)
        if room is not None and len(prompt) + options.max_new_tokens > room:
            raise DataError(
                f"example {request.id}: a prompt of {len(prompt)} tokens and {options.max_new_tokens} new ones "
                f"do not fit the model's context of {room}; shorten it or lower generation.max_new_tokens"
            )
        sampler = torch.Generator().manual_seed(request.seed) if options.temperature > 0 else None
        return _Talk(request, prompt, sampler)

    def _reply(self, talk: _Talk, token: int, ends: set[int], options: Generation) -> Reply | None:
        """The finished reply once `token` ends it."""
        if token in ends:
            return self._finished(talk, "stop", options)
        talk.tokens.append(token)
        if options.stop and self._stop_at(talk, options) is not None:
            return self._finished(talk, "stop", options)
        if len(talk.tokens) == options.max_new_tokens:
            return self._finished(talk, "length", options)
        return None

    def _finished(self, talk: _Talk, finish: Literal["stop", "length"], options: Generation) -> Reply:
        text = self._text(talk)
        return Reply(text[: self._stop_at(talk, options)], finish, len(talk.tokens))

    def _stop_at(self, talk: _Talk, options: Generation) -> int | None:
        """Where the first stop string begins in the text so far."""
        text = self._text(talk)
        found = [text.find(stop) for stop in options.stop if stop in text]
        return min(found, default=None)

    def _text(self, talk: _Talk) -> str:
        return str(self.loaded.tokenizer.decode(talk.tokens, skip_special_tokens=True))


def _take(waiting: list[_Talk], talks: list[_Talk | None], slots: Slots) -> None:
    """Put waiting conversations into the empty slots."""
    empty = [slot for slot, talk in enumerate(talks) if talk is None][: len(waiting)]
    if empty:
        taken = [waiting.pop() for _ in empty]
        slots.fill(empty, [talk.prompt for talk in taken])
        for slot, talk in zip(empty, taken, strict=True):
            talks[slot] = talk


def _next_input(talk: _Talk | None) -> int:
    if talk is None:
        return 0
    return talk.tokens[-1] if talk.tokens else talk.prompt[-1]


def sample(logits: torch.Tensor, options: Generation, sampler: torch.Generator) -> int:
    """One token id from float32 logits (vocabulary,), by temperature and nucleus (Holtzman et al. 2020)."""
    probabilities = (logits.cpu() / options.temperature).softmax(dim=-1)
    if options.top_p < 1:
        ordered, ids = probabilities.sort(descending=True)
        ordered[ordered.cumsum(0) - ordered >= options.top_p] = 0
        return int(ids[torch.multinomial(ordered, 1, generator=sampler)])
    return int(torch.multinomial(probabilities, 1, generator=sampler))


def end_tokens(loaded: Loaded) -> set[int]:
    """Tokens that end an answer: the tokenizer's, and those of the model's generation settings."""
    named: Any = loaded.model.generation_config.eos_token_id
    ids = named if isinstance(named, list) else [named]
    return {int(token) for token in (*ids, loaded.tokenizer.eos_token_id) if token is not None}
