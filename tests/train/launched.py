"""`adapter-arena` as `accelerate launch` starts it in `test_processes`: killed, or sharing weights.

accelerate shards a model (FSDP) over GPUs alone; on CPUs it trains whole copies instead, without a word. Told
that these processes have GPUs, it does with them what it does there, over gloo; all the rest is as it is.
"""

from __future__ import annotations

import os
import sys

from accelerate import PartialState
from accelerate.utils import DistributedType

from tests.train.test_resume import killing
from toolkit.cli import main
from toolkit.train import preference, sft


def as_on_gpus() -> None:
    """Shard as on GPUs, where TRL's output layer is left in its place."""
    PartialState._prepare_backend = lambda *_: ("gloo", DistributedType.MULTI_GPU)
    sft.install_target_logprob_head = preference.install_target_logprob_head = lambda model: None


if __name__ == "__main__":
    if os.environ.get("ACCELERATE_USE_FSDP") == "true":
        as_on_gpus()
    if "DIE_AT" in os.environ:
        killing(int(os.environ["DIE_AT"]))
    main(sys.argv[1:])
