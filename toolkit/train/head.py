"""The output layer of a causal model on a CPU: likelihoods of the learned tokens, and nothing besides.

TRL's fused output layer is written for GPUs; without one it scores every position, prompt and padding too,
several times over, and makes a gradient of the frozen weights. That was half of the time of a training step.
Here only learned positions are scored, once, and what the backward pass needs is made on the way.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch.nn.functional import linear
from trl.trainer.utils import FusedCausalLMOutput

from toolkit.models.loading import unwrapped
from toolkit.models.proven import is_proven

IGNORED = -100
"""The label of a token that is not learned."""

PIECE = 512
"""Positions scored at a time: 100 MB of logits at a vocabulary of 50,000."""


class _LogProbs(torch.autograd.Function):
    """Log-probability of each target under softmax(hidden @ weight.T), and what trainers log beside it."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> Any:
        """Log-probability, entropy, mean logit, and whether the target is the likeliest token, each (n).

        Of hidden (n, width), weight (vocabulary, width), targets (n).
        """
        wanted = ctx.needs_input_grad[0]
        pieces = [
            _piece(states, weight, chosen, wanted)
            for states, chosen in zip(torch.split(hidden, PIECE), torch.split(targets, PIECE), strict=True)
        ]
        log_probs, entropy, mean_logits, is_top1, slope = map(torch.cat, zip(*pieces, strict=True))
        ctx.save_for_backward(slope)
        ctx.mark_non_differentiable(entropy, mean_logits, is_top1)
        return log_probs, entropy, mean_logits, is_top1

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor, *_: Any) -> Any:
        (slope,) = ctx.saved_tensors
        return grad[:, None].to(slope.dtype) * slope, None, None


def _piece(
    states: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, wanted: bool
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
    if wanted:  # d log p(target) / d hidden = weight[target] - sum over v of p(v) weight[v]
        slope = (weight[targets].float() - (p.to(weight.dtype) @ weight).float()).to(states.dtype)
    return chosen - log_z, entropy, mean, is_top1, slope


def score_learned_tokens_only(model: Any) -> None:
    """Put this output layer in the place of TRL's, in a model that a TRL trainer has prepared.

    Left as it is: types that are not proven, models on a GPU, models whose output layer is trained, and
    models that cap their logits (Gemma 2).
    """
    whole = unwrapped(model)
    if is_proven(model):
        _replace_forward(whole)
    if "forward" in vars(model.base_model):  # PEFT's adaption prompts took the forward there was before TRL's
        model.base_model.forward = whole.forward


def _replace_forward(whole: Any) -> None:
    head, config = whole.get_output_embeddings(), whole.config.get_text_config()
    plain = type(head) is torch.nn.Linear and head.bias is None and not head.weight.requires_grad
    capped = getattr(config, "final_logit_softcapping", None) is not None
    if not plain or capped or head.weight.device.type != "cpu":
        return
    theirs = whole.forward
    if getattr(theirs, "learned_tokens_only", False):
        return

    def forward(self: Any, *args: Any, labels: Any = None, fused_lm_head: bool = False, **kwargs: Any) -> Any:
        if not fused_lm_head or labels is None:
            given = {} if labels is None else {"labels": labels}
            return theirs(*args, **given, fused_lm_head=fused_lm_head, **kwargs)
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
