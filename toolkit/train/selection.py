"""Selecting a stage's checkpoint by its answers (`select`): the best on an evaluation split is published.

Every n steps, and after the last, the model answers examples of `scoring.validation` as it will be scored.
The trainer's own state keeps the best value and its step, so that a resumed training makes the same choice.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import TrainerCallback

from toolkit import distributed
from toolkit.data import load_columns, load_examples
from toolkit.errors import RecipeError, TrainingError
from toolkit.generate.completions import generate_completions
from toolkit.generate.local import LocalSource
from toolkit.metric_info import metric_info
from toolkit.models import Loaded
from toolkit.models.loading import load_adapter_weights
from toolkit.recipe import Check, Generation, Recipe, Stage
from toolkit.train.base import Base
from toolkit.train.callbacks import InterruptCallback, TrainingLog

logger = logging.getLogger(__name__)

PREFIX = "validation/"  # before the metric's name among the columns of the training log


@dataclass
class _InTraining(Loaded):
    """The model that is being trained, as what generates completions."""

    trainer: Any = None

    @contextmanager
    def using(self, name: str | None) -> Iterator[Any]:
        """Answer as in training, without dropout; adapters stay as they are."""
        training = self.model.training
        self.model.eval()
        try:
            with torch.no_grad(), self.trainer.accelerator.autocast():
                yield self.model
        finally:
            self.model.train(training)


class _Unstored(LocalSource):
    """Its answers are of weights that change."""

    def settings(self, options: Generation) -> Mapping[str, Any] | None:
        return None


class CheckpointSelection(TrainerCallback):  # type: ignore[misc]
    """Scores the model while it trains, saves those checkpoints, and puts the best one back at the end."""

    def __init__(self, recipe: Recipe, stage: Stage, base: Base, folder: Path) -> None:
        """Load the examples; `folder` is of the stage's checkpoints.

        Raises:
            DataError: they cannot be read.
            RecipeError: the weights are shared between processes.
        """
        scoring, select = recipe.scoring, stage.select
        assert scoring is not None
        assert select is not None
        if distributed.share_weights():
            raise RecipeError(f"stages.{stage.name}.select: not with weights shared between processes (FSDP)")
        self.recipe, self.stage, self.base, self.folder = recipe, stage, base, folder
        self.scoring, self.select = scoring, select
        self.check, self.metric = scoring.tuning_metric
        data = recipe.data[scoring.validation or ""]
        self.examples = load_examples(data, seed=recipe.seed)[: select.examples]
        self.columns = load_columns(data) if isinstance(self.check, Check) else {}
        own = isinstance(self.check, Check) and self.check.lower_is_better
        self.sign = -1 if metric_info(self.metric, {self.metric} if own else ()).better < 0 else 1
        self.start: float | None = None

    def attach(self, trainer: Any, log: TrainingLog, interrupt: InterruptCallback) -> None:
        """Take part in a training."""
        self.trainer, self.log, self.interrupt = trainer, log, interrupt

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 0:
            self.start = self._evaluate(state, control)
        elif state.best_global_step and not self._best(state).is_dir():
            mend = f"remove {self.folder}, and the stage is trained from its beginning"
            raise TrainingError(f"{self._best(state)}: the best checkpoint so far is gone; {mend}")

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        every = self.select.every or -(-state.max_steps // 4)
        if state.global_step % every and state.global_step < state.max_steps:
            return
        value = self._evaluate(state, control)
        # of two alike the later one, as without a choice: it has learned from more rows
        if state.best_metric is None or self.sign * (value - state.best_metric) >= 0:
            state.best_metric, state.best_global_step = value, state.global_step
            state.best_model_checkpoint = str(self._best(state))  # which rotation keeps
        control.should_save = True
        if self.interrupt.requested:  # in the meantime
            control.should_training_stop = True

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.interrupt.requested:
            return
        best, title = state.best_global_step, metric_info(self.metric).title
        logger.info("%s: step %d is published, %s %.4g", self.stage.name, best, title, state.best_metric)
        if self.start is not None and self.sign * (state.best_metric - self.start) <= 0:
            text = "%s: no checkpoint answers `%s` better than the model it starts from did (%s %.4g)"
            logger.warning(text, self.stage.name, self.scoring.validation, title, self.start)
        self.log.selected_step = best
        if best == state.global_step:
            return
        if isinstance(self.trainer.model, PeftModel):
            load_adapter_weights(self.trainer.model, self._best(state))
        else:
            state.best_model_checkpoint = str(self._best(state))
            self.trainer._load_best_model()

    def _best(self, state: Any) -> Path:
        """By its step: the folder may have been moved since the state was written."""
        return self.folder / f"checkpoint-{state.best_global_step}"

    def _evaluate(self, state: Any, control: Any) -> float:
        """The metric of the model as it is, logged; in several processes that of the first, for all."""
        found = [self._measure(state.global_step) if distributed.is_main() else 0.0]
        if distributed.count() > 1:
            torch.distributed.broadcast_object_list(found)
        logged = control.should_log, control.should_save, control.should_evaluate
        logs = {f"{PREFIX}{self.metric}": found[0]}
        # not by the trainer's own log, which would empty its sums of the step
        self.trainer.callback_handler.on_log(self.trainer.args, state, control, logs)
        control.should_log, control.should_save, control.should_evaluate = logged
        return found[0]

    def _measure(self, step: int) -> float:
        from toolkit.metrics.registry import Encoding, measure_texts  # imports evaluate

        base, name = self.base, self.stage.name
        kept = (base.name, base.folder, self.trainer.model, base.tokenizer, base.hardware, base.fingerprint)
        loaded = _InTraining(*kept, base.quantization, trainer=self.trainer)
        answers = generate_completions(
            _Unstored(loaded),
            self.examples,
            contestant=name,
            options=self.scoring.generation,
            seed=self.recipe.seed,
            out=self.folder / "validation.jsonl",
        )
        encoding = Encoding.of(self.scoring)
        measured = measure_texts(answers, [self.check], encoding=encoding, rows=self.columns)
        value = next((each.value for each in measured if each.metric == self.metric), None)
        if value is None:
            where = f"stages.{name}.select: no {self.metric} on `{self.scoring.validation}`"
            raise RecipeError(f"{where}; give its rows references, or name another `scoring.primary`")
        logger.info("%s: step %d, %s %.4g on %d examples", name, step, self.metric, value, len(answers))
        return value
