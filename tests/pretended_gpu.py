"""A second device, for machines without one: its tensors live on the CPU, and may not meet the CPU's.

What a GPU would refuse (an operation on tensors of two devices) is refused here too, so code that runs under
`pretended_gpu` moves what it makes to where its model is. Nothing is said of speed, memory, 16-bit types or
kernels. PyTorch's own way to a backend written in Python gives the device its name; each of its tensors wraps
one of the CPU's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import (
    _DummyBackendModule,
    _DummyPrivateUse1Hook,
    _setup_privateuseone_for_python_backend,
)

NAME = "pretended"
aten = torch.ops.aten
MOVES = {aten.copy_.default, aten._to_copy.default, aten.to.device, aten.to.dtype_layout, aten.to.other}
INDEXED = {aten.index.Tensor, aten.index_put_.default, aten.index_put.default, aten._index_put_impl_.default}


class _Module(_DummyBackendModule):
    """Nobody who asks which devices there are is told of this one."""

    def is_available(self) -> bool:
        return False

    def device_count(self) -> int:
        return 0


class _Hook(_DummyPrivateUse1Hook):
    def is_available(self) -> bool:
        return False


@cache
def device() -> torch.device:
    _setup_privateuseone_for_python_backend(NAME, _Module(), _Hook())
    return torch.device(NAME, 0)


class OnDevice(torch.Tensor):
    """A tensor that says it is on the device."""

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> OnDevice:
        return torch.Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=device(),
        )

    def __init__(self, inner: torch.Tensor) -> None:
        self.inner = inner

    def tolist(self) -> Any:
        return self.inner.tolist()

    @classmethod
    def __torch_dispatch__(cls, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(operation, args, kwargs or {})


class _Dispatch(TorchDispatchMode):
    """Also hears what takes no tensors, such as `torch.arange(4, device=...)`."""

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(operation, args, kwargs or {})


def _run(operation: Any, args: Any, kwargs: Any) -> Any:
    leaves = tree_leaves((args, kwargs))
    tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
    there = [tensor for tensor in tensors if isinstance(tensor, OnDevice)]
    # numbers, and what indexes a tensor, may lie on the CPU
    values = [args[0], *args[2:3]] if operation in INDEXED else tensors
    here = [
        each
        for each in values
        if isinstance(each, torch.Tensor) and not isinstance(each, OnDevice) and each.dim()
    ]
    if there and here and operation not in MOVES:
        raise RuntimeError(f"tensors of two devices: {operation}")
    named = [leaf for leaf in leaves if isinstance(leaf, torch.device)]
    stays = named[0].type == NAME if named else bool(there)
    if operation in (aten.copy_.default, aten.to.other):
        stays = isinstance(args[0 if operation is aten.copy_.default else 1], OnDevice)
    known = {id(tensor.inner): tensor for tensor in there}
    made = operation(*tree_map(_here, args), **tree_map(_here, kwargs))

    def back(value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or not stays:
            return value
        with torch.inference_mode(False):
            return known[id(value)] if id(value) in known else OnDevice(value)

    return tree_map(back, made)


def _here(value: Any) -> Any:
    if isinstance(value, OnDevice):
        return value.inner
    return torch.device("cpu") if isinstance(value, torch.device) else value


def move(model: torch.nn.Module) -> None:
    """Put a model's weights on the device, for good."""
    for module in model.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                module._parameters[name] = torch.nn.Parameter(OnDevice(weight.data), requires_grad=False)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = OnDevice(buffer)


@contextmanager
def pretended_gpu() -> Iterator[Callable[[torch.nn.Module], None]]:
    """Inside the block there is such a device; gives `move`."""
    device()
    before = torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(True)  # `torch.tensor(..., device=...)` is made here, then moved
    try:
        with _Dispatch():
            yield move
    finally:
        torch._C._set_only_lift_cpu_tensors(before)
