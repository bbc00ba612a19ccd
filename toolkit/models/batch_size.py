"""Batch sizes by free memory, halved when a batch did not fit."""

import gc
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch

logger = logging.getLogger(__name__)

T = TypeVar("T")

SHARE = 0.5  # of the free memory, for what is counted here; the rest is for workspaces and fragments


class Limit(NamedTuple):
    """A size on a CPU, and on any other device."""

    cpu: int
    other: int

    def on(self, device: torch.device) -> int:
        return self.cpu if device.type == "cpu" else self.other


CONVERSATIONS = Limit(64, 512)  # conversations generated at a time: on a CPU more are not faster
TOKENS = Limit(2048, 65_536)
"""Padded tokens in a batch that is read once: a CPU is a quarter slower once batches leave its caches."""
PASS_TOKENS = Limit(512, 4096)
"""Tokens in a pass with a square mask. Fixed: which prompts go together must not change between runs."""
TEXTS = Limit(64, 256)  # short texts in a batch of an encoder
REQUESTS = Limit(16, 256)  # requests in a batch of lm-eval's own wrapper
REWARDS = Limit(8, 256)  # conversations in a batch of a reward model


def free_memory(device: torch.device) -> float:
    """Bytes that a device has free, blocks that PyTorch keeps for itself included."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return float(torch.cuda.mem_get_info(device)[0] + kept)
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        return 4e9
    lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    return 1024.0 * int(lines["MemAvailable"].split()[0])


def conversations(model: Any, length: int) -> int:
    """How many conversations of `length` tokens are generated at a time: keys, values and logits of each."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    cache = 2 * config.num_hidden_layers * heads * width * model.dtype.itemsize
    activations = 34 * config.hidden_size  # of the prompt, one layer at a time
    each = length * (2 * cache + activations) + 8 * config.vocab_size  # twice: a cache that grows is copied
    most = CONVERSATIONS.on(model.device)
    return max(1, min(most, int(SHARE * free_memory(model.device) / each)))


def tokens(model: Any) -> int:
    """How many tokens are read at a time, without a cache."""
    config = model.config.get_text_config()
    each = 34 * config.hidden_size * model.dtype.itemsize / 2
    return max(512, min(TOKENS.on(model.device), int(SHARE * free_memory(model.device) / each)))


def out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed: PyTorch's error on a GPU, its message on a CPU."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def halve(size: int, what: str, error: Exception) -> int:
    """Half of a size, after giving back memory; raises the error where it is another, or the size is 1."""
    if not out_of_memory(error) or size <= 1:
        raise error
    error.__traceback__ = None  # its frames hold the tensors
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    logger.warning("%s: out of memory with %d at a time, going on with %d", what, size, size // 2)
    return size // 2


def with_halving(work: Callable[[int], T], size: int, what: str) -> T:
    """`work(size)`, with half the size as often as it takes to fit."""
    while True:
        try:
            return work(size)
        except (RuntimeError, MemoryError) as error:
            failed = error
        size = halve(size, what, failed)
