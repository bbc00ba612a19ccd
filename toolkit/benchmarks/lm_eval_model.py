"""A loaded model as lm-eval's `LM`: its wrapper for transformers with two faster parts.

- Log-likelihoods: logits only where a continuation is scored; equal inputs and common prefixes are computed
  once. Equal to lm-eval's but for the order of summation.
- Generation: continuous batching instead of left-padded batches; equal texts in float32. In 16 bit lm-eval's
  texts depend on the batch size, these do not.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
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


WORTH_SHARING = 0.8  # beginnings are shared when that leaves less than this part of the tokens to read


class LoadedLM(HFLM):  # type: ignore[misc]  # lm-eval is untyped
    """The model as it is now: switch the adapter on before, and keep it on while lm-eval works."""

    work = "benchmark"
    """What lm-eval asks its requests for, in the words of progress."""

    def __init__(self, loaded: Loaded, *, seed: int = 0) -> None:
        size = batch_size.REQUESTS.on(loaded.model.device)
        super().__init__(pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=size)
        self.local, self.seed = LocalSource(loaded), seed

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Same as lm-eval's, without the progress bar for tokenization."""
        return list(super().loglikelihood(requests, disable_tqdm=True))

    @torch.inference_mode()
    def _loglikelihood_tokens(
        self, requests: list[Request], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        """(log-likelihood of the continuation, whether greedy decoding would generate it), in order."""
        if not supports_fast_paths(self.model):
            plain, size = super()._loglikelihood_tokens, override_bs or int(self.batch_size)
            return batch_size.with_halving(lambda n: list(plain(requests, disable_tqdm, n)), size, self.work)
        spans = [
            Span((context + continuation)[-(self.max_length + 1) :], len(continuation))
            for _, context, continuation in requests
        ]
        found, done = [(0.0, False)] * len(requests), 0
        for places, states, to_logits in self._passes(spans):
            tokens = torch.tensor([token for i in places for token in spans[i].targets], device=states.device)
            size = max(1, CHUNK_LOGITS // self.model.config.get_text_config().vocab_size)
            values, greedy = [], []
            for some, targets in zip(torch.split(states, size), torch.split(tokens, size), strict=True):
                log = to_logits(some).log_softmax(-1, dtype=self.softmax_dtype)
                values.append(log.gather(-1, targets[:, None])[:, 0])
                greedy.append(log.argmax(-1) == targets)
            lengths = [spans[i].scored for i in places]
            parts = (torch.split(torch.cat(each), lengths) for each in (values, greedy))
            for i, value, top in zip(places, *parts, strict=True):
                found[i] = float(value.sum()), bool(top.all())
            done += len(places)
            log_progress(logger, self.work, done, len(requests))
        for (name, _, _), answer in zip(requests, found, strict=True):
            if name is not None:
                self.cache_hook.add_partial("loglikelihood", name, answer)
        return found

    def _passes(
        self, spans: Sequence[Span]
    ) -> Iterator[tuple[Sequence[int], torch.Tensor, Callable[[torch.Tensor], torch.Tensor]]]:
        """Yield places in `spans`, the states of their scored tokens, and what turns states into logits."""
        inputs = [span.ids[:-1] for span in spans]  # the last token is only predicted
        order = prefix_tree.sorted_by_tokens(inputs)
        spared = prefix_tree.tree_size(inputs, order, 0) < WORTH_SHARING * sum(map(len, inputs))
        if spared and supports_custom_masks(self.model, max(map(len, inputs))):
            rows, every = [span.scored for span in spans], set(range(len(spans)))
            for members, logits in prefix_tree.tree_logits(self.model, inputs, every, rows):
                yield members, logits.to(self.model.dtype), lambda logits: logits
        elif inputs:
            reader = SplitModel(self.model)
            for batch, states in reader.batches(spans):
                yield batch, states, reader.logits

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Continuations up to the first stop string, in order."""
        if not supports_fast_paths(self.model):
            return self._plain_texts(requests)
        replies: dict[int, str] = {}
        by_settings: dict[str, list[int]] = {}
        for i, request in enumerate(requests):
            by_settings.setdefault(repr(request.args[1]), []).append(i)
        for places in by_settings.values():
            settings = normalize_gen_kwargs(requests[places[0]].args[1], self.max_gen_toks)
            stop = handle_stop_sequences(settings.pop("until", None), eos=None)
            options = self._options(settings, stop)
            if options is None:
                texts = self._plain_texts([requests[i] for i in places])
                replies |= dict(zip(places, texts, strict=True))
                log_progress(logger, self.work, len(replies), len(requests))
                continue
            prompts = [self._prompt(str(i), requests[i].args[0], options) for i in places]
            for name, reply in self.local.continue_prompts(self.model, prompts, options):
                replies[int(name)] = reply.text
                log_progress(logger, self.work, len(replies), len(requests))
        for i, request in enumerate(requests):
            self.cache_hook.add_partial("generate_until", request.args, replies[i])
        return [replies[i] for i in range(len(requests))]

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
