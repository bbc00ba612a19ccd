"""Settings that cannot work: fields of stages, BERTScores without a baseline, judges that cannot vote."""

import copy
import dataclasses
import difflib
import importlib.util
import inspect
import math
import tempfile
from collections.abc import Iterator
from typing import Any

from toolkit.errors import RecipeError, first_line
from toolkit.recipe import Recipe, Stage, with_keys
from toolkit.run.checks import error, info, warning
from toolkit.train import dry_run, methods
from toolkit.train.methods import settings
from toolkit.types import Finding

_WHOLE = "max_length (prompt and answer together)"
_START = "nothing: the stage's `start` is the reference"
RETIRED = {
    "max_seq_length": "max_length",
    **dict.fromkeys(("max_prompt_length", "max_target_length"), _WHOLE),
    "warmup_ratio": "warmup_steps (a value below 1 is a share of all steps)",
    "group_by_length": 'train_sampling_strategy: "group_by_length"',
    "tokenizer": "nothing: the base's tokenizer is used",
    "evaluation_strategy": "eval_strategy",
    **dict.fromkeys(("ref_model", "ref_adapter_name", "force_use_ref_model"), _START),
    "peft_config": "the stage's `adapter`",
    **dict.fromkeys(("formatting_func", "dataset_text_field"), "a data source's format and rename"),
    "no_cuda": "model.device: cpu",
    "overwrite_output_dir": "nothing: a changed recipe redoes what it touches",
    **dict.fromkeys(("kl_coef", "init_kl_coef"), "beta (of rloo and grpo)"),
}
"""Trainer fields of older tutorials -> what replaces them."""

ELSEWHERE = {
    "model_init_kwargs": "the recipe's `model`",
    "dataset_text_field": "the data's `rename`",
    "max_completion_length": _WHOLE,
    "resume_from_checkpoint": "nothing: a run that was cut short continues",
    "completion_only_loss": "nothing: answers are learned, prompts are not; for all of a text, method: text",
}
"""Trainer fields that change nothing here -> what to use."""

_KINDS = "loss_type", ("robust", "exo_pair", "aot", "aot_unpaired")
IDLE: dict[str, tuple[str, tuple[Any, ...]]] = {
    **{"label_smoothing": _KINDS, "label_smoothing_factor": ("loss_type", ("nll",))},
    **{"discopop_tau": ("loss_type", ("discopop",)), "eval_steps": ("eval_strategy", ("steps",))},
    "f_alpha_divergence_coef": ("f_divergence_type", ("alpha_divergence",)),
    **dict.fromkeys(("ref_model_mixup_alpha", "ref_model_sync_steps"), ("sync_ref_model", (True,))),
    **dict.fromkeys(("metric_for_best_model", "greater_is_better"), ("load_best_model_at_end", (True,))),
    "eval_delay": ("eval_strategy", ("steps", "epoch")),
    "liger_kernel_config": ("use_liger_kernel", (True,)),
    "precompute_ref_batch_size": ("precompute_ref_log_probs", (True,)),
    "delta": ("loss_type", ("grpo", "bnpo", "dr_grpo", "dapo", "luspo")),
    **{f"sapo_temperature_{side}": ("loss_type", ("sapo",)) for side in ("neg", "pos")},
    **{f"vespo_{name}": ("loss_type", ("vespo",)) for name in ("k_neg", "k_pos", "lambda_neg", "lambda_pos")},
    **dict.fromkeys(("entropy_coef_min", "entropy_coef_max"), ("use_adaptive_entropy", (True,))),
    **dict.fromkeys(("entropy_coef_delta", "entropy_target"), ("use_adaptive_entropy", (True,))),
}
"""Trainer fields that count only with another one, and with which of its values."""

TINY, SEEDS = 1e-12, 2**32 - 1
NUMBERS: dict[str, tuple[type, float, float]] = {
    **dict.fromkeys(("learning_rate", "num_train_epochs", "temperature"), (float, TINY, math.inf)),
    **dict.fromkeys(("logging_steps", "save_steps", "eval_steps"), (float, TINY, math.inf)),
    **dict.fromkeys(("per_device_train_batch_size", "per_device_eval_batch_size"), (int, 1, math.inf)),
    **dict.fromkeys(("gradient_accumulation_steps", "max_completion_length"), (int, 1, math.inf)),
    **dict.fromkeys(("max_steps",), (int, -math.inf, math.inf)),
    **dict.fromkeys(("warmup_steps", "weight_decay", "adam_epsilon", "max_grad_norm"), (float, 0, math.inf)),
    **dict.fromkeys(("neftune_noise_alpha", "desirable_weight", "undesirable_weight"), (float, 0, math.inf)),
    **dict.fromkeys(("adam_beta1", "adam_beta2", "label_smoothing_factor"), (float, 0, 1 - TINY)),
    **dict.fromkeys(("seed", "data_seed"), (int, 0, SEEDS)),
    "beta": (float, -math.inf, math.inf),
    "dataloader_num_workers": (int, 0, math.inf),
    "label_smoothing": (float, 0, 0.5 - TINY),
    "ld_alpha": (float, 0, 1),
    "discopop_tau": (float, TINY, math.inf),
    "max_length": (int, 2, math.inf),
    "num_generations": (int, 2, math.inf),
}
"""Trainer fields that are numbers, where they are given -> whole or not, the lowest, the highest."""

CHOICES = {
    "truncation_mode": ("keep_start", "keep_end"),  # of conversations the start alone
    "train_sampling_strategy": ("random", "sequential", "group_by_length"),
}
"""Trainer fields of which other values are taken for one of these."""

STEEP = 2.0  # a beta above which DPO and its kin hardly leave their reference
FAST = 2e-2  # a learning rate above which hardly any adapter trains; whole weights bear a hundredth of it


def fields(recipe: Recipe, shape: Any, *, here: bool) -> Iterator[Finding]:
    """Findings on every stage's fields, trained `here` or elsewhere; `shape` as of `dry_run.shape_of`."""
    for stage in recipe.stages:
        unknown = list(_names(stage))
        yield from unknown or _values(stage)
        for place, text, fix in dry_run.problems(recipe, stage, shape):
            yield error("adapter-field", place, text, fix)
        yield from _combinations(recipe, stage)
        if here and not _has_gpu():
            yield from _without_gpu(stage.trainer, f"stages.{stage.name}.trainer")


def swept(recipe: Recipe, shape: Any, *, here: bool) -> Iterator[Finding]:
    """Findings on the fields of stages that a value of the grid brings, at its key."""
    plain = recipe.model_copy(update={"sweep": {}})
    found_plain = fields(plain, shape, here=here) if recipe.sweep else ()
    known = {(found.place, found.message) for found in found_plain}
    for key, value in ((key, value) for key, values in recipe.sweep.items() for value in values):
        for found in fields(with_keys(plain, {key: value}), shape, here=here):
            if (found.place, found.message) not in known:
                text = f"with {value!r}: {found.place}: {found.message}"
                yield found.model_copy(update={"place": f"sweep.{key}", "message": text})


def _names(stage: Stage) -> Iterator[Finding]:
    known, name = methods.config_fields(stage), methods.config_class(stage).__name__
    for field in stage.trainer:
        place = f"stages.{stage.name}.trainer.{field}"
        reads = stage.spec.online and field == "max_completion_length"
        if field in ELSEWHERE and stage.trainer[field] not in (None, True) and not reads:
            yield error("unused-field", place, f"{field} changes nothing here", f"use {ELSEWHERE[field]}")
        if field in known:
            yield from _idle(stage, field)
            continue
        if field in RETIRED:
            fix = f"use {RETIRED[field]}"
            yield error("retired-field", place, f"{field} is gone from today's libraries", fix)
            continue
        close = difflib.get_close_matches(field, known, n=1)
        fix = f"did you mean {close[0]}?" if close else f"see the fields of trl.{name}"
        yield error("unknown-field", place, f"{name} has no field {field}", fix)


def _idle(stage: Stage, field: str) -> Iterator[Finding]:
    """A field that was changed, and that nothing reads with the other fields as they are."""
    made: dict[str, Any] = {each.name: each for each in dataclasses.fields(methods.config_class(stage))}
    other, values = IDLE.get(field, ("", ()))
    best = other == "load_best_model_at_end" and stage.trainer.get("save_strategy") == "best"
    if not other or best or stage.trainer[field] in (None, made[field].default):
        return
    value = settings(stage).get(other, made[other].default if other in made else None)
    if value is dataclasses.MISSING:
        value = made[other].default_factory()
    chosen = [value] if not isinstance(value, (list, tuple)) else value
    if not set(chosen) & set(values):
        text = f"{field} counts only with {other}: {' or '.join(map(str, values)).lower()}; it is {value}"
        place, fix = f"stages.{stage.name}.trainer.{field}", f"set {other}, or leave it out"
        yield error("unused-field", place, text, fix)


def _values(stage: Stage) -> Iterator[Finding]:
    with tempfile.TemporaryDirectory() as folder:
        plain = {"output_dir": folder, "bf16": False, "fp16": False, "use_cpu": not _has_gpu()}
        options = {key: value for key, value in stage.trainer.items() if key not in ("bf16", "fp16")}
        try:
            made = methods.config_class(stage)(**{**plain, "report_to": "none", **options})
        except Exception as problem:  # noqa: BLE001 - of whatever kind, it is what the stage would stop with
            text = first_line(problem)
            yield error("field-value", f"stages.{stage.name}.trainer", text, "give it a value that TRL takes")
            return
    for field, known in CHOICES.items():
        keeps_start = field == "truncation_mode" and stage.spec.packs
        if field in stage.trainer and stage.trainer[field] not in (known[:1] if keeps_start else known):
            text = f"{stage.trainer[field]!r} is none of {', '.join(known[:1] if keeps_start else known)}"
            yield error("field-value", f"stages.{stage.name}.trainer.{field}", text, "name one of them")
    for field in dry_run.texts_for_switches(type(made), stage.trainer):
        text = f"{stage.trainer[field]!r} is text, which counts as true"
        yield error("field-value", f"stages.{stage.name}.trainer.{field}", text, "write true or false")
    yield from _optimiser(stage, made)
    for field, (kind, low, high) in NUMBERS.items():
        value = stage.trainer.get(field, getattr(made, field, None))
        number = isinstance(value, (int, kind)) and not isinstance(value, bool)
        if value is not None and not (number and low <= value <= high):
            what = "whole number" if kind is int else "number"
            above = "" if low == -math.inf else " above 0" if low == TINY else f" from {low:g}"
            text = f"{value!r} is no {what}{above}{'' if high == math.inf else f' to {high:g}'}"
            yield error("field-value", f"stages.{stage.name}.trainer.{field}", text, "give it such a number")


def _optimiser(stage: Stage, made: Any) -> Iterator[Finding]:
    """An optimiser whose package is not here, and settings that it would pass over."""
    from torch.utils.checkpoint import checkpoint
    from transformers import GenerationConfig, Trainer

    place = f"stages.{stage.name}.trainer"
    try:
        own = Trainer.get_optimizer_cls_and_kwargs(made)
        plain = copy.copy(made)
        plain.optim_args = None
        if made.optim_args and own == Trainer.get_optimizer_cls_and_kwargs(plain):
            text = f"{stage.trainer.get('optim', made.optim)} takes nothing of {made.optim_args!r}"
            yield error("field-value", f"{place}.optim_args", text, "leave it out, or name another optim")
    except ImportError as problem:
        text = f"{stage.trainer.get('optim')}: {' '.join(str(problem).split())[:200]}"
        yield error("field-value", f"{place}.optim", text, "install it, or take adamw_torch")
    except (ValueError, TypeError, AttributeError) as problem:
        if made.optim_args:
            text = f"{made.optim_args!r}: {' '.join(str(problem).split())[:200]}"
            yield error("field-value", f"{place}.optim_args", text, "write name=value, name=value")
    options = {
        "gradient_checkpointing_kwargs": inspect.signature(checkpoint).parameters,
        "generation_kwargs": GenerationConfig().to_dict(),
    }
    for field, known in options.items():
        for name in getattr(made, field, None) or {}:
            if name not in known:
                text = f"{field.removesuffix('_kwargs')} takes no {name}"
                yield error("field-value", f"{place}.{field}", text, "mend its name")


def _combinations(recipe: Recipe, stage: Stage) -> Iterator[Finding]:
    """Settings that are far from what works, or that exclude each other."""
    trainer, place = stage.trainer, f"stages.{stage.name}.trainer"
    rate, steps = trainer.get("learning_rate"), trainer.get("max_steps")
    top, trained = (FAST / 100, "whole weights") if stage.adapter == "none" else (FAST, "adapters")
    if isinstance(rate, (int, float)) and rate > top:
        text = f"a learning rate of {rate} is far above what {trained} bear: the loss would explode"
        yield warning("learning-rate", f"{place}.learning_rate", text, f"stay below {top:g}")
    if trainer.get("fp16") and trainer.get("bf16"):
        yield error("precision", place, "fp16 and bf16 are both on", "keep one")
    if isinstance(steps, int) and steps < 1 and steps != -1:
        text = f"max_steps {steps} is no limit: all epochs are trained"
        yield warning("max-steps", f"{place}.max_steps", text, "leave it out, or give the number of steps")
    flash = methods.has_flash_attention(recipe.model.attention)
    for name, code, text, fix in methods.refused_fields(stage, flash=flash):
        yield error(code, f"{place}.{name}", text, fix)
    try:
        methods.report_to(stage)
    except RecipeError as problem:
        at, _, text = str(problem).partition(": ")
        yield error("report-to", at, text, "install it, or take it out")
    yield from _preferences(recipe, stage)
    if trainer.get("use_vllm") and importlib.util.find_spec("vllm") is None:
        text, fix = "vllm is not installed here", "install it, or leave it out"
        yield error("engine", f"{place}.use_vllm", text, fix)
    answers = settings(stage).get("num_generations", 1)
    for batch, count in (("train", answers), ("eval", trainer.get("num_generations_eval") or answers)):
        size = settings(stage)[f"per_device_{batch}_batch_size"]
        if isinstance(size, int) and isinstance(count, int) and count > 0 and size % count:
            text = f"{size} is no multiple of the {count} answers to a prompt: they are torn apart"
            fix = f"set it to a multiple of {count}"
            yield error("batch", f"{place}.per_device_{batch}_batch_size", text, fix)


def _without_gpu(trainer: dict[str, Any], place: str) -> Iterator[Finding]:
    """Settings that are for a GPU."""
    for field in ("activation_offloading", "fp16"):
        if trainer.get(field):
            yield error("no-gpu", f"{place}.{field}", "needs a GPU, and none is here", "leave it out")
    if trainer.get("torch_compile"):
        text = "compiling for a CPU takes minutes before the first step, and again for rows of other lengths"
        yield warning("compile", f"{place}.torch_compile", text, "train on a GPU, or leave it out")
    if (optim := str(trainer.get("optim", ""))).startswith("paged"):
        text = f"{optim} needs a CUDA GPU, and none is here"
        yield info("paged-optimizer", f"{place}.optim", text, "train on a GPU, or take adamw_torch")


def _preferences(recipe: Recipe, stage: Stage) -> Iterator[Finding]:
    """What preference methods need of beta, batch and start."""
    trainer, place = stage.trainer, f"stages.{stage.name}.trainer"
    beta = trainer.get("beta") if not stage.spec.online else None
    if isinstance(beta, (int, float)) and beta <= 0:
        text = "beta of 0 or less takes the preference out of the loss"
        yield error("beta", f"{place}.beta", text, "0.1 is usual")
    if isinstance(beta, (int, float)) and beta > STEEP:
        text = f"beta of {beta} holds the model where it starts, and little is learned"
        yield warning("beta", f"{place}.beta", text, "0.1 is usual")
    rewards = trainer.get("reward_weights") or [*stage.rewards.values()]
    if rewards and not any(rewards):
        text = "all rewards weigh 0, and nothing is learned from them"
        yield error("rewards", f"stages.{stage.name}.rewards", text, "give one another weight, such as 1")
    alone = settings(stage)["per_device_train_batch_size"] == 1
    if stage.method == "kto" and alone and trainer.get("loss_type", "kto") == "kto":
        text = "KTO compares an answer with the others of its batch, and there are none"
        yield error("batch", f"{place}.per_device_train_batch_size", text, "set it to 2 or more")
    from_base = stage.method in ("dpo", "kto") and stage.start == "base"
    if from_base and any(other.method == "sft" for other in recipe.stages):
        text = f"{stage.method} starts from the base, though there is an SFT stage; the base is its reference"
        fix = "start from the SFT stage, if that is meant"
        yield warning("start", f"stages.{stage.name}.start", text, fix)


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def steps(stage: Stage, rows: int, processes: int = 1) -> dict[str, Any]:
    """How often a stage's trainer would step: rows, batch, steps, epochs; what is no number counts as 1."""

    def number(name: str, default: float = 1) -> float:
        value = settings(stage).get(name, default)
        return value if isinstance(value, (int, float)) and not isinstance(value, bool) else 1

    share = 0 if stage.heldout else stage.heldout_share
    train = rows - (max(1, round(share * rows)) if share and rows > 1 else 0)
    if stage.method == "kto":
        train *= 2
    batch = max(1, int(number("per_device_train_batch_size") * number("gradient_accumulation_steps")))
    batch *= processes
    if stage.spec.online:
        batch = max(1, batch // int(number("num_generations")))
    epochs, most = float(number("num_train_epochs")), int(number("max_steps", -1))
    count = most if most > 0 else round(-(-train // batch) * epochs)
    epochs = count * batch / train if most > 0 and train else epochs
    return {"rows": train, "batch": batch, "epochs": epochs, "steps": count}
