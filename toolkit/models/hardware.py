"""Select device, dtype and attention kernel from the hardware unless the recipe sets them."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from toolkit.errors import ModelError
from toolkit.recipe import ModelOptions

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Hardware:
    """What models are loaded with."""

    device: torch.device
    dtype: torch.dtype
    attention: str | None
    """transformers' `attn_implementation`; `None` leaves the choice to it: not every model has every one."""
    use_kernels: bool = False  # whether layers are taken from the hub's kernels where it has faster ones

    @property
    def half_on_cpu(self) -> bool:
        """Whether it is float16 on a CPU, where adapters in fp32 meet no autocast."""
        return self.device.type == "cpu" and self.dtype == torch.float16


def choose(options: ModelOptions = ModelOptions()) -> Hardware:
    """Turn `auto` into a choice for this machine; a `ModelError` where the named device is not here."""
    device = _device(options.device)
    dtype = DTYPES.get(options.dtype) or _dtype(device)
    attention = None if options.attention == "auto" else options.attention
    return Hardware(device, dtype, attention, options.use_kernels)


def attention_names() -> list[str]:
    """Values of `attention` that transformers knows, and `auto`."""
    from transformers import AttentionInterface

    return ["auto", "eager", *(name for name in AttentionInterface().valid_keys() if "|" not in name)]


def _device(name: str) -> torch.device:
    if name == "auto":
        if torch.cuda.is_available():  # several processes on one machine: each its own GPU
            return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        devices = "auto, cpu, cuda, cuda:1 or mps"
        raise ModelError(f"model.device: `{name}` is not a device; use {devices}") from None
    lacking = {"cuda": "no CUDA device is here; use auto or cpu"} if not torch.cuda.is_available() else {}
    if not torch.backends.mps.is_available():
        lacking["mps"] = "this is not Apple silicon; use auto or cpu"
    if device.type in lacking:
        raise ModelError(f"model.device: `{name}` was asked for, but {lacking[device.type]}")
    return device


def _dtype(device: torch.device) -> torch.dtype:
    if device.type == "cuda":
        with torch.cuda.device(device):
            native = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if native else torch.float16
    if device.type == "cpu" and cpu_has_fast_bf16():
        return torch.bfloat16
    return torch.float32


def cpu_has_fast_bf16() -> bool:
    """Whether this CPU has AMX for bfloat16; AVX512-BF16 alone took 1.4 times fp32's time on a 135M model."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return False
    flags = next((line for line in info.read_text().splitlines() if line.startswith("flags")), "")
    return "amx_bf16" in flags
