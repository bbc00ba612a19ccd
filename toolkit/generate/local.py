"""Generation by a model in memory: chat template, continuous batching, sampling, stop strings."""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from transformers import GenerationConfig

from toolkit.data.chat import opens_thinking, prompt_ids, render
from toolkit.errors import DataError
from toolkit.generate.base import Replies, Reply, Request, Source, sampling
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
    seed: int = 0  # for sampling


@dataclass
class _Sequence:
    """One conversation under way."""

    prompt: Prompt
    options: Generation
    tokens: list[int] = field(default_factory=list)
    sampler: torch.Generator | None = None

    def __post_init__(self) -> None:
        if self.options.temperature > 0:
            self.sampler = torch.Generator().manual_seed(self.prompt.seed)

    def add(self, token: int, ends: set[int], tokenizer: Any) -> Reply | None:
        """Append a token; the finished reply if that ends it."""
        if token not in ends:
            self.tokens.append(token)
        full = len(self.tokens) == self.options.max_new_tokens
        if not (token in ends or full or self.options.stop):
            return None
        text = str(tokenizer.decode(self.tokens, skip_special_tokens=True))
        start = len(text) - len(text.lstrip())  # line breaks before it begin no answer
        places = [text.find(stop, 0 if stop.strip() else start) for stop in self.options.stop]
        stop = min((place for place in places if place >= 0), default=None)
        if token in ends or stop is not None:
            return Reply(text[:stop], "stop", len(self.tokens))
        return Reply(text, "length", len(self.tokens)) if full else None


@dataclass(frozen=True)
class LocalSource(Source):
    """Answers of a loaded model, with one of its adapters switched on."""

    loaded: Loaded
    adapter: str | None = None
    _rendered: dict[tuple[Message, ...], list[int]] = field(default_factory=dict, compare=False, repr=False)
    """Conversations as tokens, wanted twice: to find the answers that are there, and to continue."""

    def replies(self, requests: Sequence[Request], done: Collection[str], options: Generation) -> Replies:
        """Answers in the model's chat template; a `DataError` where an example does not fit its context."""
        by_id = {request.id: request for request in requests}
        prompts = [self._prompt(request, options) for request in requests]
        self._rendered.clear()  # a server lives long
        with self.loaded.using(self.adapter) as model:
            for name, reply in self.continue_prompts(model, prompts, options, done):
                opened = opens_thinking(render(self.loaded.tokenizer, by_id[name].messages))
                yield by_id[name], replace(reply, text=f"<think>\n{reply.text}") if opened else reply

    def settings(self, options: Generation) -> Mapping[str, Any] | None:
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
        device, size = str(self.loaded.hardware.device), options.batch_size
        return {"device": device, "attention": self.loaded.attention, "batch_size": size}

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
        left = [prompt for prompt in prompts if prompt.id not in done]
        left.sort(key=lambda prompt: (len(prompt.tokens), prompt.id))
        if not left:
            return
        longest = len(left[-1].tokens) + options.max_new_tokens
        if not supports_custom_masks(model, longest) or further:
            logger.info("%s: one conversation at a time, by transformers' generate", self.loaded.name)
            yield from self._sequential(model, left, options, further)
            return
        # each keeps two tokens: one to fill its slot with, and one for the first step
        shortest = min(len(prompt.tokens) for prompt in prompts)
        common = common_prefix([prompt.tokens for prompt in prompts], shortest - 2)
        size = options.batch_size
        size = batch_size.conversations(model, longest) if size == "auto" else size
        while left:  # smaller batches from where one did not fit; what is begun then begins anew
            finished = set()
            try:
                waiting = [_Sequence(prompt, options) for prompt in left]
                for name, reply in self._batched(model, common, waiting, min(size, len(left))):
                    finished.add(name)
                    yield name, reply
            except (RuntimeError, MemoryError) as error:
                failed = error
            left = [prompt for prompt in left if prompt.id not in finished]
            if left:
                size = batch_size.halve(min(size, len(left)), self.loaded.name, failed)

    def _batched(
        self, model: Any, common: Sequence[int], waiting: list[_Sequence], size: int
    ) -> Iterator[tuple[str, Reply]]:
        """Keep `size` conversations under way, the longest prompts (last in `waiting`) first."""
        places: list[_Sequence | None] = [None] * size
        slots, ends = BatchSlots(model, size, common), end_tokens(self.loaded)
        while waiting or any(places):
            empty = [slot for slot, sequence in enumerate(places) if sequence is None][: len(waiting)]
            for slot in empty:
                places[slot] = waiting.pop()
            if empty:
                slots.fill(empty, [p.prompt.tokens for slot in empty if (p := places[slot])])
            logits = slots.step([(p.tokens or p.prompt.tokens)[-1] if p else 0 for p in places])
            likeliest = logits.argmax(dim=-1).tolist()
            for slot, sequence in enumerate(places):
                if sequence is None:
                    continue
                sampler = sequence.sampler
                token = sample(logits[slot], sequence.options, sampler) if sampler else likeliest[slot]
                reply = sequence.add(token, ends, self.loaded.tokenizer)
                if reply is not None:
                    places[slot] = None
                    slots.free(slot)
                    yield sequence.prompt.id, reply

    def _sequential(
        self, model: Any, prompts: Sequence[Prompt], options: Generation, further: dict[str, Any]
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
        for prompt in prompts:
            ids = torch.tensor([prompt.tokens], device=model.device)
            with torch.inference_mode(), torch.random.fork_rng(gpus), _generation_config(model, settings):
                torch.manual_seed(prompt.seed)
                made = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids))
            sequence = _Sequence(prompt, options)
            tokens = made[0, ids.shape[1] :].tolist()
            replies = (sequence.add(token, ends, self.loaded.tokenizer) for token in tokens)
            yield prompt.id, next(reply for reply in replies if reply is not None)

    def _prompt(self, request: Request, options: Generation) -> Prompt:
        tokens = self.rendered(request)
        room = context_window(self.loaded.model.config)
        if len(tokens) + options.max_new_tokens > room:
            raise DataError(
                f"example {request.id}: a prompt of {len(tokens)} tokens and {options.max_new_tokens} new "
                f"ones do not fit the model's context of {room}; shorten it, or lower max_new_tokens"
            )
        return Prompt(request.id, tokens, request.seed)


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
    """Temperature and nucleus as sampled, completed by the model's own (`from_model`); further fields."""
    if not options.from_model:
        return options, {}
    own = {
        name: value
        for name, value in defaults.to_diff_dict().items()
        if name not in LIMITS
        and not name.startswith(("_", "transformers"))
        and not name.endswith("_token_id")
    }
    sampled = bool(own.pop("do_sample", False))
    temperature, top_p = (float(own.pop(name, 1.0) or 1.0) for name in ("temperature", "top_p"))
    taken = {"temperature": temperature if sampled else 0.0, "top_p": top_p if sampled else 1.0}
    plain = Generation()
    unset = {name: value for name, value in taken.items() if getattr(options, name) == getattr(plain, name)}
    resolved = options.model_copy(update=unset)
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
