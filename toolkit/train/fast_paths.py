"""Exact fast paths of training on supported model types: cached frozen layers, and a cheap CPU output layer.

With an adapter on the upper layers alone, hidden states below the first trainable layer are cached, so the
reference pass of DPO, later epochs and later evaluations reuse them.

TRL's fused output layer is written for GPUs; without one it scores every position, prompt and padding too,
several times over, and computes a gradient of the frozen weights: half of the time of a training step. Here
only learned positions are scored, once, and the backward pass reuses what the forward pass computed.
"""

from collections.abc import Callable, Sequence
from functools import wraps
from types import MethodType
from typing import Any

import torch
from torch.nn.functional import linear
from trl.trainer.utils import FusedCausalLMOutput

from toolkit.models.loading import unwrapped
from toolkit.models.supported_types import supports_fast_paths, supports_split_head

MOST_BYTES = 2**29  # of states kept; rows beyond that are computed each time


def install_hidden_state_cache(model: Any) -> None:
    """Cache hidden states below the first trainable layer, by row, on supported types without dropout."""
    if not supports_fast_paths(model):
        return
    transformer = unwrapped(model).base_model
    layers = transformer.layers
    first = next((index for index, layer in enumerate(layers) if _has_trained_weights(layer)), 0)
    if (
        first == 0
        or _has_trained_weights(transformer.get_input_embeddings())
        or _has_dropout(transformer, layers[:first])
    ):
        return
    if getattr(transformer, "has_hidden_state_cache", False):
        return
    transformer.has_hidden_state_cache = True
    cache = _HiddenStateCache()
    transformer.register_forward_pre_hook(cache.start_batch, with_kwargs=True)
    for layer in layers[:first]:
        layer.forward = cache.skip_if_cached(layer.forward)
    layers[first].register_forward_pre_hook(cache.finish_batch, with_kwargs=True)


class _HiddenStateCache:
    """Hidden states of rows at the first trainable layer, and the rows of the current batch."""

    def __init__(self) -> None:
        self.states: dict[tuple[int, ...], torch.Tensor] = {}
        self.bytes = 0
        self.rows: list[tuple[int, ...]] = []
        self.known = False

    def start_batch(self, transformer: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        """Note a batch's rows, where they are tokens without padding in front, read from the start."""
        ids, mask = kwargs.get("input_ids"), kwargs.get("attention_mask")
        self.rows, self.known = [], False
        if ids is None or mask is None or mask.shape != ids.shape:
            return
        if kwargs.get("past_key_values") is not None or kwargs.get("position_ids") is not None:
            return
        if bool((mask[:, 1:] > mask[:, :-1]).any()) or getattr(transformer, "gradient_checkpointing", False):
            return
        lengths = mask.sum(dim=1).tolist()
        self.rows = [tuple(row[:length].tolist()) for row, length in zip(ids, lengths, strict=True)]
        self.known = all(row in self.states for row in self.rows)

    def skip_if_cached(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(forward)
        def run(hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            if self.known:
                return hidden_states
            made = forward(hidden_states, *args, **kwargs)
            if not isinstance(made, torch.Tensor):  # a layer that gives more than states
                self.rows = []
            return made

        return run

    def finish_batch(
        self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, Any] | None:
        """At the first trainable layer: return cached hidden states, or store new ones."""
        states = args[0] if args else kwargs["hidden_states"]
        if self.known:
            states = torch.zeros_like(states)
            for place, row in enumerate(self.rows):
                states[place, : len(row)] = self.states[row]
            return ((states, *args[1:]), kwargs) if args else ((), kwargs | {"hidden_states": states})
        for place, row in enumerate(self.rows):
            if row not in self.states and self.bytes < MOST_BYTES:
                made = states[place, : len(row)].detach().clone()
                self.states[row], self.bytes = made, self.bytes + made.nbytes
        return None


def _has_trained_weights(module: torch.nn.Module) -> bool:
    return any(weight.requires_grad for weight in module.parameters())


def _has_dropout(transformer: Any, frozen: torch.nn.ModuleList) -> bool:
    dropout = getattr(transformer.config, "attention_dropout", 0.0)
    return bool(dropout) or any(getattr(module, "p", 0.0) for layer in frozen for module in layer.modules())


IGNORED = -100  # the label of a token that is not learned
CHUNK_POSITIONS = 512  # positions scored at a time: 100 MB of logits at a vocabulary of 50,000


class _LogProbs(torch.autograd.Function):
    """Log-probability of each target under softmax(hidden @ weight.T), and what trainers log beside it."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> Any:
        """(log-probability, entropy, mean logit, is likeliest), each (n), for hidden states (n, width)."""
        needs_grad = ctx.needs_input_grad[0]
        pieces = [
            _score_chunk(states, weight, chosen, needs_grad)
            for states, chosen in zip(
                torch.split(hidden, CHUNK_POSITIONS), torch.split(targets, CHUNK_POSITIONS), strict=True
            )
        ]
        log_probs, entropy, mean_logits, is_top1, slope = map(torch.cat, zip(*pieces, strict=True))
        ctx.save_for_backward(slope)
        ctx.mark_non_differentiable(entropy, mean_logits, is_top1)
        return log_probs, entropy, mean_logits, is_top1

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor, *_: Any) -> Any:
        (slope,) = ctx.saved_tensors
        return grad[:, None].to(slope.dtype) * slope, None, None


def _score_chunk(
    states: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, needs_grad: bool
) -> tuple[torch.Tensor, ...]:
    logits = linear(states.to(weight.dtype), weight).float()
    target = targets[:, None]
    log_z = logits.logsumexp(-1)
    chosen = logits.gather(-1, target)[:, 0]
    is_top1 = logits.argmax(-1) == targets
    mean = logits.mean(-1)
    p = (logits - log_z[:, None]).exp_()
    entropy = log_z - torch.linalg.vecdot(p, logits)
    slope = states.new_empty((len(states), 0))
    if needs_grad:  # d log p(target) / d hidden = weight[target] - sum over v of p(v) weight[v]
        slope = (weight[targets].float() - (p.to(weight.dtype) @ weight).float()).to(states.dtype)
    return chosen - log_z, entropy, mean, is_top1, slope


def install_target_logprob_head(model: Any) -> None:
    """Replace TRL's output layer on a CPU; not where it is trained, capped or of other types."""
    whole = unwrapped(model)
    if supports_split_head(model):
        _replace_forward(whole)
    if "forward" in vars(model.base_model):  # PEFT's adaption prompts took the forward there was before TRL's
        model.base_model.forward = whole.forward


def _replace_forward(whole: Any) -> None:
    head = whole.get_output_embeddings()
    plain = type(head) is torch.nn.Linear and head.bias is None and not head.weight.requires_grad
    if not plain or head.weight.device.type != "cpu":
        return
    library_forward = whole.forward
    if getattr(library_forward, "learned_tokens_only", False):
        return

    def forward(self: Any, *args: Any, labels: Any = None, fused_lm_head: bool = False, **kwargs: Any) -> Any:
        if not fused_lm_head or labels is None:
            with_labels = {} if labels is None else {"labels": labels}
            return library_forward(*args, **with_labels, fused_lm_head=fused_lm_head, **kwargs)
        share = kwargs.pop("num_items_in_batch", None)
        states = self.base_model(*args, **{**kwargs, "use_cache": False}).last_hidden_state[:, :-1]
        labels = labels[:, 1:]
        mask = labels != IGNORED
        kind = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else states.dtype
        weight = head.weight.detach().to(kind)
        found = _LogProbs.apply(states[mask], weight, labels[mask])  # type: ignore[no-untyped-call]
        # masked_scatter keeps the graph whole when a batch has no learned token
        log_probs, entropy, mean, top1 = (x.new_zeros(mask.shape).masked_scatter(mask, x) for x in found)
        return FusedCausalLMOutput(
            loss=-log_probs.sum() / (mask.sum().clamp(min=1) if share is None else share),
            log_probs=log_probs,
            entropy=entropy,
            mean_logits=mean,
            is_top1=top1,
            label_mask=mask,
        )

    forward.learned_tokens_only = True  # type: ignore[attr-defined]
    whole.forward = MethodType(forward, whole)
