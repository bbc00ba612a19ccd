"""Frozen layers give a row the same states every time: those below the first trained layer run once a row.

With an adapter on the upper layers alone, the reference pass of DPO leaves behind what the policy goes on
from, and so does the first epoch for the second and one evaluation for the next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import torch

from toolkit.models.loading import unwrapped
from toolkit.models.proven import is_proven

MOST_BYTES = 2**29
"""Of states kept; rows beyond that are computed each time."""


def run_frozen_layers_once(model: Any) -> None:
    """Make the layers below the first trained one remember what they made of each row.

    Left as it is: models of types that are not proven, whose embedding is trained, or whose frozen layers
    have dropout, and models trained from their first layers on.
    """
    if not is_proven(model):
        return
    transformer = unwrapped(model).base_model
    layers = transformer.layers
    first = next((index for index, layer in enumerate(layers) if _trained(layer)), 0)
    if first == 0 or _trained(transformer.get_input_embeddings()) or _drops(transformer, layers[:first]):
        return
    if getattr(transformer, "runs_frozen_layers_once", False):
        return
    transformer.runs_frozen_layers_once = True
    kept = _Kept()
    transformer.register_forward_pre_hook(kept.enter, with_kwargs=True)
    for layer in layers[:first]:
        layer.forward = kept.unless_known(layer.forward)
    layers[first].register_forward_pre_hook(kept.leave, with_kwargs=True)


class _Kept:
    """What the frozen layers made of rows, and which rows are in the batch under way."""

    def __init__(self) -> None:
        self.states: dict[tuple[int, ...], torch.Tensor] = {}
        self.bytes = 0
        self.rows: list[tuple[int, ...]] = []
        self.known = False

    def enter(self, transformer: Any, args: Sequence[Any], given: dict[str, Any]) -> None:
        """Note a batch's rows, where they are tokens without padding in front, read from the start."""
        ids, mask = given.get("input_ids"), given.get("attention_mask")
        self.rows, self.known = [], False
        if ids is None or mask is None or mask.shape != ids.shape:
            return
        if given.get("past_key_values") is not None or given.get("position_ids") is not None:
            return
        if bool((mask[:, 1:] > mask[:, :-1]).any()) or getattr(transformer, "gradient_checkpointing", False):
            return
        lengths = mask.sum(dim=1).tolist()
        self.rows = [tuple(row[:length].tolist()) for row, length in zip(ids, lengths, strict=True)]
        self.known = all(row in self.states for row in self.rows)

    def unless_known(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(forward)
        def run(hidden_states: torch.Tensor, *args: Any, **given: Any) -> Any:
            if self.known:
                return hidden_states
            made = forward(hidden_states, *args, **given)
            if not isinstance(made, torch.Tensor):  # a layer that gives more than states
                self.rows = []
            return made

        return run

    def leave(self, layer: Any, args: tuple[Any, ...], given: dict[str, Any]) -> tuple[Any, Any] | None:
        """At the first trained layer: hand over what is known, or keep what has been made."""
        states = args[0] if args else given["hidden_states"]
        if self.known:
            states = torch.zeros_like(states)
            for place, row in enumerate(self.rows):
                states[place, : len(row)] = self.states[row]
            return ((states, *args[1:]), given) if args else ((), given | {"hidden_states": states})
        for place, row in enumerate(self.rows):
            if row not in self.states and self.bytes < MOST_BYTES:
                made = states[place, : len(row)].detach().clone()
                self.states[row], self.bytes = made, self.bytes + made.nbytes
        return None


def _trained(module: torch.nn.Module) -> bool:
    return any(weight.requires_grad for weight in module.parameters())


def _drops(transformer: Any, frozen: torch.nn.ModuleList) -> bool:
    dropout = getattr(transformer.config, "attention_dropout", 0.0)
    return bool(dropout) or any(getattr(module, "p", 0.0) for layer in frozen for module in layer.modules())
