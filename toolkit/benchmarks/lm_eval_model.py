"""A loaded model as lm-eval's `LM`: its wrapper for transformers with two faster parts.

- Log-likelihoods: logits only where a continuation is scored; equal inputs and common prefixes are computed
  once. Equal to lm-eval's but for the order of summation.
- Generation: continuous batching instead of left-padded batches; equal texts in float32. In 16 bit lm-eval's
  texts depend on the batch size, these do not.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs

from toolkit.generate.local import LocalSource, Prompt
from toolkit.models import Loaded, batch_size, prefix_tree
from toolkit.models.logprobs import CHUNK_LOGITS, Span, SplitModel
from toolkit.models.supported_types import supports_custom_masks, supports_fast_paths
from toolkit.progress import log_progress
from toolkit.recipe import Generation
from toolkit.types import digest

logger = logging.getLogger(__name__)

Request = tuple[Any, list[int], list[int]]
"""(what lm-eval caches it under, context tokens, continuation tokens)."""

OURS = {"do_sample", "temperature", "top_p"}
"""Generation settings that continuous batching knows; with any other, lm-eval's own wrapper generates."""


WORTH_SHARING = 0.8
"""Beginnings are shared when that leaves less than this part of the tokens to read."""

ToLogits = Callable[[torch.Tensor], torch.Tensor]
"""States (n, width) -> logits (n, vocabulary)."""


@dataclass(frozen=True)
class _Asked:
    """A request: its place among them, and the tokens whose likelihood it asks for."""

    place: int
    tokens: list[int]


class LoadedLM(HFLM):  # type: ignore[misc]  # lm-eval is untyped
    """The model as it is now: switch the adapter on before, and keep it on while lm-eval works."""

    work = "benchmark"
    """What lm-eval asks its requests for, in the words of progress."""

    def __init__(self, loaded: Loaded, *, seed: int = 0) -> None:
        size = batch_size.REQUESTS.on(loaded.model.device)
        super().__init__(pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=size)
        self.local, self.seed = LocalSource(loaded), seed

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """As lm-eval's own, without its bar for the tokenizer's work of a second."""
        return list(super().loglikelihood(requests, disable_tqdm=True))

    @torch.inference_mode()
    def _loglikelihood_tokens(
        self, requests: list[Request], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        """(log-likelihood of the continuation, whether greedy decoding would say it), in order."""
        if not supports_fast_paths(self.model):
            plain = super()._loglikelihood_tokens
            size = override_bs or int(self.batch_size)
            return batch_size.with_halving(
                lambda size: list(plain(requests, disable_tqdm, size)), size, self.work
            )
        found: list[tuple[float, bool]] = [(0.0, False)] * len(requests)
        shared: dict[tuple[int, ...], list[_Asked]] = {}
        for i, (_, context, continuation) in enumerate(requests):
            seen = tuple(
                (context + continuation)[-(self.max_length + 1) :][:-1]
            )  # the last is only predicted
            shared.setdefault(seen, []).append(_Asked(i, continuation))
        groups, done = list(shared.values()), 0
        for logits, states, members in self._passes(list(shared), [_longest(asked) for asked in groups]):
            found_here = self._answers(logits, states, [groups[i] for i in members])
            for place, answer in found_here:
                found[place] = answer
            done += len(found_here)
            log_progress(logger, self.work, done, len(requests))
        for (name, _, _), answer in zip(requests, found, strict=True):
            if name is not None:
                self.cache_hook.add_partial("loglikelihood", name, answer)
        return found

    def _passes(
        self, inputs: Sequence[tuple[int, ...]], rows: Sequence[int]
    ) -> Iterator[tuple[ToLogits, torch.Tensor, Sequence[int]]]:
        """Yield, pass by pass, what makes logits of states, the states of the last rows of inputs, and which.

        Beginnings are shared where that spares a good part of the reading and the model allows it.
        """
        order = prefix_tree.sorted_by_tokens(inputs)
        spared = prefix_tree.tree_size(inputs, order, 0) < WORTH_SHARING * sum(map(len, inputs))
        if spared and supports_custom_masks(self.model, max(map(len, inputs))):
            for members, logits in prefix_tree.tree_logits(self.model, inputs, set(range(len(inputs))), rows):
                yield _as_it_is, logits.to(self.model.dtype), members
        elif inputs:
            spans = [Span([*seen, 0], wanted) for seen, wanted in zip(inputs, rows, strict=True)]
            reader = SplitModel(self.model)
            for batch, states in reader.batches(spans):
                yield reader.logits, states, batch

    def _answers(
        self, to_logits: ToLogits, states: torch.Tensor, groups: Sequence[Sequence[_Asked]]
    ) -> list[tuple[int, tuple[float, bool]]]:
        """(place of the request, its answer) for all requests of one pass."""
        ends = itertools.accumulate(_longest(asked) for asked in groups)
        asked = [(one, end) for group, end in zip(groups, ends, strict=True) for one in group]
        rows = torch.tensor([row for one, end in asked for row in range(end - len(one.tokens), end)])
        tokens = torch.tensor([token for one, _ in asked for token in one.tokens])
        values, greedy = self._read(to_logits, states, rows.to(states.device), tokens.to(states.device))
        lengths = [len(one.tokens) for one, _ in asked]
        parts = zip(torch.split(values, lengths), torch.split(greedy, lengths), strict=True)
        return [
            (one.place, (float(v.sum()), bool(g.all())))
            for (one, _), (v, g) in zip(asked, parts, strict=True)
        ]

    def _read(
        self, to_logits: ToLogits, states: torch.Tensor, rows: torch.Tensor, tokens: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probability of each token at its row of states, and whether it is the likeliest there."""
        first = to_logits(states[:1])
        values = torch.empty(len(rows), dtype=self.softmax_dtype or first.dtype, device=first.device)
        greedy = torch.empty(len(rows), dtype=torch.bool, device=first.device)
        size = max(1, CHUNK_LOGITS // first.shape[-1])
        for start in range(0, len(states), size):
            here = (rows >= start) & (rows < start + size)
            log = to_logits(states[start : start + size]).log_softmax(-1, dtype=self.softmax_dtype)
            values[here] = log[rows[here] - start, tokens[here]]
            greedy[here] = log.argmax(-1)[rows[here] - start] == tokens[here]
        return values, greedy

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Continuations up to the first stop string, in order."""
        if not supports_fast_paths(self.model):
            return self._plain_texts(requests)
        said: dict[int, str] = {}
        by_settings: dict[str, list[int]] = {}
        for i, request in enumerate(requests):
            by_settings.setdefault(repr(request.args[1]), []).append(i)
        for places in by_settings.values():
            settings = normalize_gen_kwargs(requests[places[0]].args[1], self.max_gen_toks)
            stop = handle_stop_sequences(settings.pop("until", None), eos=None)
            options = self._options(settings, stop)
            if options is None:
                texts = self._plain_texts([requests[i] for i in places])
                said |= dict(zip(places, texts, strict=True))
                log_progress(logger, self.work, len(said), len(requests))
                continue
            prompts = [self._prompt(str(i), requests[i].args[0], options) for i in places]
            for name, reply in self.local.continue_prompts(self.model, prompts, options):
                said[int(name)] = reply.text
                log_progress(logger, self.work, len(said), len(requests))
        for i, request in enumerate(requests):
            self.cache_hook.add_partial("generate_until", request.args, said[i])
        return [said[i] for i in range(len(requests))]

    def _options(self, settings: dict[str, Any], stop: Sequence[str]) -> Generation | None:
        """lm-eval's generation settings as ours, or `None` when they ask for more."""
        longest = settings.pop("max_gen_toks")
        if set(settings) - OURS:
            return None
        sampled = bool(settings.get("do_sample"))
        return Generation(
            max_new_tokens=longest,
            temperature=float(settings.get("temperature") or 1.0) if sampled else 0.0,
            top_p=float(settings.get("top_p") or 1.0) if sampled else 1.0,
            stop=tuple(text for text in stop if text),
        )

    def _plain_texts(self, requests: list[Instance]) -> list[str]:
        """lm-eval's own, which pads batches on the left."""
        plain = super().generate_until

        def generate(size: int) -> list[str]:
            self.batch_size_per_gpu = size
            return list(plain(requests, disable_tqdm=True))

        return batch_size.with_halving(generate, int(self.batch_size), self.work)

    def _prompt(self, name: str, context: str, options: Generation) -> Prompt:
        tokens = self.tok_encode(context, left_truncate_len=self.max_length - options.max_new_tokens)
        return Prompt(name, tokens, int(digest(str(self.seed), name), 16) % 2**63)


def _longest(asked: Sequence[_Asked]) -> int:
    return max(len(one.tokens) for one in asked)


def _as_it_is(logits: torch.Tensor) -> torch.Tensor:
    return logits
