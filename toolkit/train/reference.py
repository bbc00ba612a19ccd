"""The frozen reference of preference and online methods: the model as the stage starts from it.

A new adapter on an untouched base needs no more than to be switched off, as TRL does it. Where the start is
not the base (an adapter that is continued, weights that are all trained, PiSSA) TRL would copy what has
`.default.` in its name, or load the bare base again. Here every trained tensor is copied before the first
step, and put back for the pass of the reference.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from toolkit import distributed
from toolkit.errors import RecipeError
from toolkit.models import bases
from toolkit.train.base import Base


class ReferenceModel(torch.nn.Module):
    """A model as it is now, in the memory of the model that is trained on; without dropout."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self._of = [model]  # in a list: no module of this one
        self._start = {name: w.detach().clone() for name, w in model.named_parameters() if w.requires_grad}

    def forward(self, *args: Any, **given: Any) -> Any:
        """Forward pass with the weights from the start of the stage."""
        (model,) = self._of
        with self._put_back(model):
            return model(*args, **given)

    @contextmanager
    def _put_back(self, model: Any) -> Iterator[None]:
        training = model.training
        model.eval()
        self._swap(model)
        try:
            yield
        finally:
            self._swap(model)
            model.train(training)

    def _swap(self, model: Any) -> None:
        weights = dict(model.named_parameters())
        for name, start in self._start.items():
            self._start[name], weights[name].data = weights[name].data, start


class StartIsReference:
    """Of a trainer with a reference: it is what the stage starts from, whatever is trained.

    Log-probabilities that TRL takes before training are those of the model itself, which has not moved yet.
    """

    def __init__(self: Any, base: Base, **given: Any) -> None:
        self._start = base
        super().__init__(**given)
        base.start(self.model)
        self.prepare_fast_paths()
        if base.moved and not getattr(self, "precompute_ref_logps", False) and self.beta:
            if distributed.share_weights():
                raise RecipeError(
                    "the reference is what the stage starts from, which cannot be kept beside weights shared "
                    "between processes (FSDP): train a new adapter, or in one process"
                )
            self.ref_model = ReferenceModel(self.model)

    def prepare_fast_paths(self) -> None:
        """Hand-made paths of the method, where it has any."""

    def _precompute_ref_logps(self: Any, dataset: Any, name: str, batch_size: int) -> Any:
        self._start.start(self.model)
        self.prepare_fast_paths()
        if self._start.continued:  # TRL keeps them under a hash taken before the parent's weights were there
            self._precompute_model_hash += bases.fingerprint(self._start.parent)
        before = self.ref_model
        if self._start.moved and before is None:
            self.ref_model = self.model
        try:
            return super()._precompute_ref_logps(dataset, name, batch_size)  # type: ignore[misc]
        finally:
            self.ref_model = before
