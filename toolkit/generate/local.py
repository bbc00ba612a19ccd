"""Generation by a model in memory: chat template, continuous batching, sampling, stop strings."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from transformers import GenerationConfig

from toolkit.data.chat import opens_thinking, prompt_ids, render
from toolkit.errors import DataError
from toolkit.generate.base import Reply, Request, sampling
from toolkit.generate.batching import BatchSlots
from toolkit.models import Loaded, bases, batch_size
from toolkit.models.loading import context_window, unwrapped
from toolkit.models.prefix_tree import common_prefix
from toolkit.models.supported_types import supports_custom_masks
from toolkit.recipe import Generation
from toolkit.types import Message

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prompt:
    """Tokens to be continued."""

    id: str
    tokens: list[int]
    seed: int = 0
    """For sampling."""


@dataclass
class _Sequence:
    """One conversation under way."""

    prompt: Prompt
    sampler: torch.Generator | None = None
    tokens: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, prompt: Prompt, options: Generation) -> _Sequence:
        sampled = options.temperature > 0
        return cls(prompt, torch.Generator().manual_seed(prompt.seed) if sampled else None)

    @property
    def next_input(self) -> int:
        return self.tokens[-1] if self.tokens else self.prompt.tokens[-1]


@dataclass(frozen=True)
class LocalSource:
    """Answers of a loaded model, with one of its adapters switched on."""

    loaded: Loaded
    adapter: str | None = None
    _rendered: dict[tuple[Message, ...], list[int]] = field(default_factory=dict, compare=False, repr=False)
    """Conversations as tokens, wanted twice: to find the answers that are there, and to continue."""

    def replies(
        self, requests: Sequence[Request], done: Collection[str], options: Generation
    ) -> Iterator[tuple[Request, Reply]]:
        """Answers to conversations, in the model's chat template.

        Raises:
            DataError: an example does not fit the model's context.
        """
        by_id = {request.id: request for request in requests}
        prompts = [self._prompt(request, options) for request in requests]
        self._rendered.clear()  # a server lives long
        with self.loaded.using(self.adapter) as model:
            for name, reply in self.continue_prompts(model, prompts, options, done):
                thinking_opened = opens_thinking(render(self.loaded.tokenizer, by_id[name].messages))
                yield by_id[name], replace(reply, text=f"<think>\n{reply.text}") if thinking_opened else reply

    def settings(self, options: Generation) -> Mapping[str, Any]:
        """Weights, adapter, number type, quantisation, engine and sampling."""
        loaded = self.loaded
        return {
            "engine": "transformers",
            "model": bases.content_fingerprint(loaded.folder, template=False),
            "adapter": loaded.adapter_fingerprints[self.adapter] if self.adapter else None,
            "dtype": str(loaded.hardware.dtype).removeprefix("torch."),
            "quantization": loaded.quantization,
            "sampling": sampling(options),
        }

    def metadata(self, options: Generation) -> Mapping[str, Any]:
        chosen = self.loaded.hardware
        facts = {"device": str(chosen.device), "attention": self.loaded.attention}
        return facts | {"batch_size": options.batch_size}

    def rendered(self, request: Request) -> list[int]:
        if request.messages not in self._rendered:
            self._rendered[request.messages] = prompt_ids(self.loaded.tokenizer, request.messages)
        return self._rendered[request.messages]

    def continue_prompts(
        self, model: Any, prompts: Sequence[Prompt], options: Generation, done: Collection[str] = ()
    ) -> Iterator[tuple[str, Reply]]:
        """Continuations by prompt id: longest prompts first, a new one whenever one has finished.

        Model types that are not proven to fit slots, a window shorter than the conversation, and sampling
        beyond temperature and nucleus take transformers' own `generate`, one prompt at a time.
        """
        options, further = model_sampling(self.loaded.model.generation_config, options)
        sequences = [_Sequence.of(prompt, options) for prompt in prompts if prompt.id not in done]
        sequences.sort(key=lambda sequence: (len(sequence.prompt.tokens), sequence.prompt.id))
        if not sequences:
            return
        longest = len(sequences[-1].prompt.tokens) + options.max_new_tokens
        # each keeps two tokens: one to fill its slot with, and one for the first step
        shortest = min(len(prompt.tokens) for prompt in prompts)
        common = common_prefix([prompt.tokens for prompt in prompts], shortest - 2)
        if supports_custom_masks(model, longest) and not further:
            size = options.batch_size
            size = batch_size.conversations(model, longest) if size == "auto" else size
            yield from self._by_memory(model, sequences, options, common, size)
        else:
            logger.info("%s: one conversation at a time, by transformers' generate", self.loaded.name)
            yield from self._sequential(model, sequences, options, further)

    def _by_memory(
        self, model: Any, sequences: list[_Sequence], options: Generation, common: Sequence[int], size: int
    ) -> Iterator[tuple[str, Reply]]:
        """In batches of `size`, smaller ones from where one did not fit; what is begun then begins anew."""
        left = {sequence.prompt.id: sequence for sequence in sequences}
        while left:
            try:
                for name, reply in self._batched(model, list(left.values()), options, common, size):
                    del left[name]
                    yield name, reply
            except (RuntimeError, MemoryError) as error:
                failed = error
            if left:
                size = batch_size.halve(min(size, len(left)), self.loaded.name, failed)
                left = {name: _Sequence.of(sequence.prompt, options) for name, sequence in left.items()}

    def _batched(
        self, model: Any, waiting: list[_Sequence], options: Generation, common: Sequence[int], size: int
    ) -> Iterator[tuple[str, Reply]]:
        places: list[_Sequence | None] = [None] * min(size, len(waiting))
        slots, ends = BatchSlots(model, len(places), common), end_tokens(self.loaded)
        while waiting or any(places):
            _fill_slots(waiting, places, slots)
            logits = slots.step([sequence.next_input if sequence else 0 for sequence in places])
            greedy = logits.argmax(dim=-1).tolist()
            for slot, sequence in enumerate(places):
                if sequence is None:
                    continue
                token = (
                    greedy[slot]
                    if sequence.sampler is None
                    else sample(logits[slot], options, sequence.sampler)
                )
                reply = self._reply(sequence, token, ends, options)
                if reply is not None:
                    places[slot] = None
                    slots.free(slot)
                    yield sequence.prompt.id, reply

    def _sequential(
        self, model: Any, sequences: list[_Sequence], options: Generation, further: dict[str, Any]
    ) -> Iterator[tuple[str, Reply]]:
        how: dict[str, Any] = {"do_sample": False}
        if options.temperature > 0:
            how = {"do_sample": True, "temperature": options.temperature, "top_p": options.top_p, "top_k": 0}
        ends = end_tokens(self.loaded)
        settings = GenerationConfig(
            max_new_tokens=options.max_new_tokens,
            eos_token_id=sorted(ends),
            pad_token_id=self.loaded.tokenizer.pad_token_id,
            **how | further,
        )
        gpus = [model.device] if model.device.type == "cuda" else []  # this one alone: left out, every one
        for sequence in sequences:
            ids = torch.tensor([sequence.prompt.tokens], device=model.device)
            with torch.inference_mode(), torch.random.fork_rng(gpus), _generation_config(model, settings):
                torch.manual_seed(sequence.prompt.seed)
                made = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids))
            new = made[0, ids.shape[1] :].tolist()
            replies = (self._reply(sequence, token, ends, options) for token in new)
            yield sequence.prompt.id, next(reply for reply in replies if reply is not None)

    def _prompt(self, request: Request, options: Generation) -> Prompt:
        tokens = self.rendered(request)
        room = context_window(self.loaded.model.config)
        if len(tokens) + options.max_new_tokens > room:
            raise DataError(
                f"example {request.id}: a prompt of {len(tokens)} tokens and {options.max_new_tokens} new "
                f"ones do not fit the model's context of {room}; shorten it, or lower max_new_tokens"
            )
        return Prompt(request.id, tokens, request.seed)

    def _reply(self, sequence: _Sequence, token: int, ends: set[int], options: Generation) -> Reply | None:
        """Add a token; the finished reply if that ends it."""
        if token in ends:
            return self._finished(sequence, "stop", options)
        sequence.tokens.append(token)
        if options.stop and self._stop_at(sequence, options) is not None:
            return self._finished(sequence, "stop", options)
        if len(sequence.tokens) == options.max_new_tokens:
            return self._finished(sequence, "length", options)
        return None

    def _finished(self, sequence: _Sequence, finish: Literal["stop", "length"], options: Generation) -> Reply:
        return Reply(self._text(sequence)[: self._stop_at(sequence, options)], finish, len(sequence.tokens))

    def _stop_at(self, sequence: _Sequence, options: Generation) -> int | None:
        """Where the first stop string begins in the text so far; line breaks before it begin no answer."""
        text = self._text(sequence)
        start = len(text) - len(text.lstrip())
        found = [
            place for stop in options.stop if (place := text.find(stop, 0 if stop.strip() else start)) >= 0
        ]
        return min(found, default=None)

    def _text(self, sequence: _Sequence) -> str:
        return str(self.loaded.tokenizer.decode(sequence.tokens, skip_special_tokens=True))


def _fill_slots(waiting: list[_Sequence], places: list[_Sequence | None], slots: BatchSlots) -> None:
    """Put waiting conversations, the longest first, into the empty slots."""
    empty = [slot for slot, sequence in enumerate(places) if sequence is None][: len(waiting)]
    if empty:
        taken = [waiting.pop() for _ in empty]
        slots.fill(empty, [sequence.prompt.tokens for sequence in taken])
        for slot, sequence in zip(empty, taken, strict=True):
            places[slot] = sequence


def sample(logits: torch.Tensor, options: Generation, sampler: torch.Generator) -> int:
    """One token id from float32 logits (vocabulary,), by temperature and nucleus (Holtzman et al. 2020)."""
    probabilities = (logits.cpu() / options.temperature).softmax(dim=-1)
    if options.top_p < 1:
        ordered, ids = probabilities.sort(descending=True)
        ordered[ordered.cumsum(0) - ordered >= options.top_p] = 0
        return int(ids[torch.multinomial(ordered, 1, generator=sampler)])
    return int(torch.multinomial(probabilities, 1, generator=sampler))


def end_tokens(loaded: Loaded) -> set[int]:
    """End-of-sequence ids of the tokenizer and of the model's generation config."""
    named: Any = loaded.model.generation_config.eos_token_id
    ids = named if isinstance(named, list) else [named]
    return {int(token) for token in (*ids, loaded.tokenizer.eos_token_id) if token is not None}


LIMITS = {"max_length", "max_new_tokens", "min_length", "min_new_tokens", "cache_implementation", "use_cache"}
"""Fields of a model's generation settings that are no sampling."""


def model_sampling(defaults: GenerationConfig, options: Generation) -> tuple[Generation, dict[str, Any]]:
    """Sampling as it is done: the recipe's, completed by the model's own where `from_model` asks for it.

    Returns:
        Temperature and nucleus in `options`; and what sampling there is besides, as fields of
        `GenerationConfig`.
    """
    if not options.from_model:
        return options, {}
    own = {
        name: value
        for name, value in defaults.to_diff_dict().items()
        if not name.endswith("_token_id")
        and name not in LIMITS
        and not name.startswith(("_", "transformers"))
    }
    sampled = bool(own.pop("do_sample", False))
    temperature, top_p = (float(own.pop(name, 1.0) or 1.0) for name in ("temperature", "top_p"))
    taken = {"temperature": temperature if sampled else 0.0, "top_p": top_p if sampled else 1.0}
    plain = Generation()
    stored = {name: value for name, value in taken.items() if getattr(options, name) == getattr(plain, name)}
    resolved = options.model_copy(update=stored)
    if resolved.temperature == 0:
        own = {name: value for name, value in own.items() if name not in SAMPLED_ONLY}
    elif sampled:
        own.setdefault("top_k", 50)  # what transformers takes where a model that samples names none
    return resolved, own


SAMPLED_ONLY = {"top_k", "min_p", "typical_p", "top_h", "epsilon_cutoff", "eta_cutoff"}
"""Fields that mean nothing where the likeliest token is taken."""


@contextmanager
def _generation_config(model: Any, settings: GenerationConfig) -> Iterator[None]:
    """Have `generate` take these settings alone: what is not set would come from the model's own."""
    holders = [model, unwrapped(model)]
    before = [holder.generation_config for holder in holders]
    for holder in holders:
        holder.generation_config = settings
    try:
        yield
    finally:
        for holder, own in zip(holders, before, strict=True):
            holder.generation_config = own
