"""All uses of other libraries' private APIs, in one place: update here when one of them changes.

Functions and context managers below are the patches and private reads. `PRIVATE` lists the private names that
subclasses override, or that are imported from modules without a promise; `tests/train/test_compat.py` fails
when one is gone.
"""

import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import partial
from typing import Any
from unittest.mock import patch

PRIVATE = {
    "trl.DPOTrainer._compute_loss": "ranking accuracy; until TRL logs how often chosen is likelier",
    "trl.DPOTrainer._prepare_dataset": "rows are tokens already; until TRL takes tokenised preferences",
    "trl.DPOTrainer._precompute_ref_logps": "the reference is the start; until TRL continues adapters",
    "trl.KTOTrainer._prepare_dataset": "as for DPO",
    "trl.KTOTrainer._precompute_ref_logps": "as for DPO",
    "trl.RLOOTrainer._tokenize_prompts": "one way to render prompts; until TRL takes tokenised prompts",
    "trl.RLOOTrainer._generate_and_score_completions": "autocast while generating; until TRL does so",
    "trl.GRPOTrainer._tokenize_prompts": "as for RLOO",
    "trl.GRPOTrainer._generate_and_score_completions": "as for RLOO",
    "trl.trainer.utils.FusedCausalLMOutput": "the output of our CPU output layer, as TRL's trainers read it",
    "transformers.Trainer._get_train_sampler": "an order that can be resumed; until samplers are an argument",
    "transformers.trainer_pt_utils.get_length_grouped_indices": "rows of like length share a batch",
    "peft.utils.other.get_pattern_key": "scalings of layers by pattern, as PEFT resolves them",
    "peft.utils.other.TrainableTokensWrapper": "output layers whose adapter TRL's loss passes over",
    "lm_eval.models.huggingface.HFLM._loglikelihood_tokens": "shared prefixes; until lm-eval has a hook",
}
"""Private name that is overridden or imported -> what for, and the public way to wait for."""


def attention_kernel(model: Any) -> str:
    """The attention kernel that transformers chose for a model; it has no public getter."""
    return str(model.config.get_text_config()._attn_implementation)


def keep_4bit_gradients(model: Any) -> None:
    """Stop bitsandbytes from repacking 4-bit weights (AVX512-BF16): no gradient passes from then on."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def reset_accelerate() -> None:
    """Forget the devices and precision of the trainers of this process, which accelerate keeps."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGE = 1 << 27


def prefer_large_blocks() -> None:
    """Keep freed blocks of up to 128 MiB instead of returning them to the system after every step.

    glibc maps each large tensor anew and returns it at once, so every pass pays for page faults; keeping
    the blocks made training on two cores 1.3 to 2.2 times as fast. Only glibc has these settings.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE)
        mallopt(M_TRIM_THRESHOLD, LARGE)


@contextmanager
def quiet_lm_eval(load_metric: Callable[..., Any]) -> Iterator[None]:
    """Keep lm-eval from printing, further processes, git and pip; metrics are loaded by `load_metric`."""
    import evaluate
    from lm_eval import evaluator
    from torch.utils import collect_env

    with (
        redirect_stdout(sys.stderr),
        patch.dict(os.environ, {"DISABLE_MULTIPROC": "1"}),
        patch.object(evaluator, "get_git_commit_hash", lambda: None),
        patch.object(collect_env, "get_pretty_env_info", lambda: ""),
        patch.object(evaluate, "load", partial(load_metric, evaluate.load)),
    ):
        yield
