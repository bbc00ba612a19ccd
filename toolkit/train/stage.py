"""Training one stage of a recipe, from its data to a published folder."""

import json
import logging
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from peft.helpers import disable_input_dtype_casting
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import PrinterCallback, ProgressCallback, set_seed
from transformers.integrations import TensorBoardCallback

from toolkit import distributed, io
from toolkit.data import Row, load_rows, split_heldout
from toolkit.errors import DataError, ModelError, RecipeError, TrainingError
from toolkit.models import bases
from toolkit.recipe import Recipe, Stage
from toolkit.train import callbacks, dry_run, publish
from toolkit.train.base import prepare_base, subtracts_from_base
from toolkit.train.callbacks import InterruptCallback, TrainingLog, explain_refusal, report_full_disk
from toolkit.train.memory import needs_checkpointing, this_machine
from toolkit.train.methods import build_trainer, validate_rows
from toolkit.train.publish import RESULT, model_card
from toolkit.train.selection import CheckpointSelection
from toolkit.train.verify import TrainedLogits, verify
from toolkit.types import StageResult

logger = logging.getLogger(__name__)

UNVERIFIED = "published"  # folder among a stage's checkpoints: the model to publish, until it is verified


def train_stage(recipe: Recipe, stage: Stage, run: Path) -> StageResult:
    """Train one stage; continue it when an earlier attempt was cut short.

    Writes `adapters/<stage>/` whole, and `checkpoints/<stage>/` until then.

    Returns:
        Seconds over all attempts, peak memory, loss, and figures on held-out rows.

    Raises:
        DataError: rows do not fit the method.
        RecipeError: the stage could not start, or not be published as what was trained.
        ModelError: base or parent cannot be loaded.
        TrainingError: the loss is not a number, nothing was learned, what would be published is not what was
            trained, or the disk is full.
    """
    distributed.wait()  # what is outdated is gone
    published, working = run / "adapters" / stage.name, run / "checkpoints" / stage.name
    if (published / RESULT).exists():
        return StageResult.model_validate(io.read_json(published / RESULT, finite=False))
    dry_run.refuse(recipe, [stage])
    if distributed.count() > 1:
        logger.info("stage %s in %d processes", stage.name, distributed.count())
    with report_full_disk(run):
        check, result = _train(recipe, stage, run)  # the trainer is let go at its end
        if distributed.is_main():
            check()
            published.parent.mkdir(exist_ok=True)
            (working / UNVERIFIED).rename(published)
            shutil.rmtree(working, ignore_errors=True)
    distributed.wait()
    return result


def _train(recipe: Recipe, stage: Stage, run: Path) -> tuple[Callable[[], float], StageResult]:
    """Train, write the unverified model among the checkpoints; return its verification and the result."""
    working = run / "checkpoints" / stage.name
    unverified = working / UNVERIFIED
    callbacks.reset_peak_memory()
    train, heldout = load_stage_rows(recipe, stage)
    validate_rows(stage, train + heldout)
    set_seed(int(stage.trainer.get("seed", recipe.seed)))
    base = prepare_base(recipe, stage, run)
    log = TrainingLog(working / "training.jsonl")
    trainer_args = {"output_dir": str(working), "seed": recipe.seed, "project": recipe.name}
    checkpointing = needs_checkpointing(recipe, stage, base.model, this_machine(), None)
    trainer_args["gradient_checkpointing"] = checkpointing
    trainer_args["run_name"] = f"{recipe.name}/{stage.name}"  # in Weights & Biases, MLflow, trackio
    with report_full_disk(working), explain_refusal(stage.name, RecipeError):
        trainer = build_trainer(stage)(base, stage, train, heldout, trainer_args)
    base.start(trainer.model)
    # what PEFT subtracted from the base (PiSSA, OLoRA)
    initial_weights = publish.copy_adapter(trainer.model) if subtracts_from_base(base.adapter) else {}
    _set_callbacks(trainer, log, run / "tensorboard" / stage.name, parent_beside=base.parent_beside)
    # what adapters read is not cast to their own type: under autocast it would be cast back
    layers = [module for module in trainer.model.modules() if isinstance(module, BaseTunerLayer)]
    casting = all(hasattr(layer, "cast_input_dtype_enabled") for layer in layers)  # IA3 casts nothing
    autocast = trainer.args.bf16 or trainer.args.fp16
    with disable_input_dtype_casting(trainer.model, active=autocast and casting):
        selection = CheckpointSelection(recipe, stage, base, working) if stage.select else None
        trainer.args.eval_on_start = bool(heldout)  # by ourselves before, several processes would train apart
        with explain_refusal(stage.name, TrainingError):
            learned = _fit(trainer, working, log, initial_weights, selection)
    reads = trainer.model_wrapped if distributed.share_weights() else trainer.model
    reads = trainer.accelerator.unwrap_model(reads, keep_fp32_wrapper=False)  # without accelerate's autocast
    expected = TrainedLogits.of(reads, base.tokenizer, [*heldout, *train])
    result = log.result(stage.name, stage.method)
    if distributed.is_main():
        peft_type = base.adapter.peft_type.value if base.adapter is not None else None
        card = model_card(publish.lineage(base, stage), peft_type, recipe, stage, result)
        shutil.rmtree(unverified, ignore_errors=True)
        publish.publish(learned, base, stage, unverified)
        io.write_json(unverified / RESULT, result)
        io.write_text(unverified / "README.md", card)
        shutil.copy(log.file, unverified / "training.jsonl")
        expected.write(unverified)
    plain = distributed.is_main() and not (base.on_parent or learned.initial_weights)
    weights = learned.adapter() if plain else {}
    return partial(verify, expected, unverified, replace(base, model=None), weights), result


def _set_callbacks(trainer: Any, log: TrainingLog, tensorboard: Path, *, parent_beside: bool) -> None:
    for kind in (PrinterCallback, ProgressCallback):  # they write to stdout
        trainer.remove_callback(kind)
    trainer.add_callback(log)
    if parent_beside:
        trainer.add_callback(callbacks.ParentBeside())
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, TensorBoardCallback) and callback.logging_dir is None:
            callback.logging_dir = str(tensorboard)  # else with the checkpoints, and gone


def load_stage_rows(recipe: Recipe, stage: Stage) -> tuple[list[Row], list[Row]]:
    """The rows a stage trains on, and those it is measured on."""
    rows = load_rows(recipe.data[stage.data], seed=recipe.seed).rows
    if stage.heldout is not None:
        return rows, load_rows(recipe.data[stage.heldout], seed=recipe.seed).rows
    train, heldout = split_heldout(rows, stage.heldout_share, recipe.seed)
    if not train:
        raise DataError(f"stages.{stage.name}: no row is left to train on; lower heldout_share, or add rows")
    return train, heldout


def _fit(
    trainer: Any,
    working: Path,
    log: TrainingLog,
    initial_weights: dict[str, Any],
    selection: CheckpointSelection | None,
) -> publish.Learned:
    with distributed.main_first():
        checkpoint = newest_complete(working)
    before = sample_trained_weights(trainer.model)
    _disable_warmup_of_single_step(trainer)
    interrupt = InterruptCallback()
    if selection:
        selection.attach(trainer, log, interrupt)
    last = callbacks.LastEvaluation(trainer, interrupt)
    trainer.callback_handler.callbacks[:0] = [interrupt, *([selection] if selection else []), last]
    with interrupt.handle_sigint():
        if checkpoint is None:
            log.restart()
        else:
            trainer.args.eval_on_start = False
            logger.info("continuing from %s", checkpoint.name)
            log.rewind(step_of(checkpoint))
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    learned = publish.Learned.of(trainer, initial_weights)
    if distributed.is_main():
        earlier = log.selected_step not in (None, trainer.state.global_step)  # perhaps one of the warm-up
        log.check_learned(moved=checkpoint is not None or earlier or learned.differs(before))
    return learned


def _disable_warmup_of_single_step(trainer: Any) -> None:
    """Take the warm-up from a training of one step: it would be all of it, at a learning rate of 0."""
    create = trainer.create_scheduler

    def create_scheduler(num_training_steps: int, optimizer: Any = None) -> Any:
        if num_training_steps == 1:
            trainer.args.warmup_steps = 0
        return create(num_training_steps, optimizer)

    trainer.create_scheduler = create_scheduler


def sample_trained_weights(model: Any) -> dict[str, Any]:
    """A copy of some nine trainable tensors: enough to see whether training moved them."""
    trainable = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
    stride = len(trainable) // 8 | 1  # odd: LoRA's A and B alternate, and A stands still until B has moved
    return {name: weight.detach().clone() for name, weight in trainable[::stride]}


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def newest_complete(folder: Path) -> Path | None:
    """The checkpoint to continue from; torn ones, left by a crash while saving, are removed."""
    for checkpoint in sorted(folder.glob("checkpoint-*"), key=step_of, reverse=True):
        if is_complete(checkpoint):
            return checkpoint
        if distributed.is_main():
            shutil.rmtree(checkpoint)
    return None


def is_complete(checkpoint: Path) -> bool:
    """Whether all files for a resume are there; sharded runs store `optimizer.bin` or folders of shards."""
    weights = list(checkpoint.glob("*.safetensors"))
    archives = [file for kind in ("*.pt*", "*.bin") for file in checkpoint.glob(kind)]
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
        for file in weights:
            bases.check_whole(file)
    except (ValueError, OSError, ModelError):
        return False
    if not (checkpoint / "scheduler.pt").is_file() or not all(map(zipfile.is_zipfile, archives)):
        return False
    shards = any(part.is_dir() for part in checkpoint.iterdir())
    return shards or (bool(weights) and any(file.stem == "optimizer" for file in archives))
