"""Trainer callbacks: the training log with its sanity checks, and a clean stop on Ctrl-C or a full disk."""

import errno
import json
import logging
import math
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import TrainerCallback

from toolkit import distributed, io
from toolkit.errors import ToolkitError, TrainingError
from toolkit.progress import log_progress
from toolkit.train.base import activate_both
from toolkit.types import StageResult

logger = logging.getLogger(__name__)

DISK_FULL = {
    errno.ENOSPC: "no space left",
    errno.EDQUOT: "disk quota exceeded",
    errno.EFBIG: "file too large",
}


class InterruptCallback(TrainerCallback):  # type: ignore[misc]
    """Ctrl-C ends the step at hand and keeps a checkpoint of it; a second one ends at once."""

    def __init__(self) -> None:
        self.requested = False
        self._stepping = False

    @contextmanager
    def handle_sigint(self) -> Iterator[None]:
        """Handle signals inside the block, and raise at its end if one came.

        Not where several processes train together: they would have to stop after the same step.

        Raises:
            KeyboardInterrupt: a signal came; the work in the block is done.
        """
        if threading.current_thread() is not threading.main_thread() or distributed.count() > 1:
            yield
            return
        before = signal.signal(signal.SIGINT, self._on_sigint)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
        if self.requested:
            raise KeyboardInterrupt

    def _on_sigint(self, *_: Any) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        logger.info("interrupted: keeping a checkpoint after this step; once more to stop at once")

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._stepping = True

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.requested:
            control.should_save = control.should_training_stop = True

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._stepping = False

    def on_prediction_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.requested and not self._stepping:  # before and after training there is nothing to keep
            raise KeyboardInterrupt


class ParentBeside(TrainerCallback):  # type: ignore[misc]
    """The frozen parent is active again after transformers has loaded a checkpoint."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        activate_both(kwargs["model"])


class LastEvaluation(TrainerCallback):  # type: ignore[misc]
    """Evaluate the trained model before reporting callbacks (TensorBoard, MLflow, trackio) close."""

    def __init__(self, trainer: Any, interrupt: InterruptCallback) -> None:
        self.trainer, self.interrupt = trainer, interrupt

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.trainer.eval_dataset is not None and not self.interrupt.requested:
            self.trainer.evaluate()


@contextmanager
def report_full_disk(folder: Path) -> Iterator[None]:
    """Raise a one-line `TrainingError` where a write into `folder` failed for want of space."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        text = str(error)
        problem = DISK_FULL.get(error.errno or 0) if isinstance(error, OSError) else None
        if not isinstance(error, OSError):  # safetensors and PyTorch have errors of their own
            found = (words for code, words in DISK_FULL.items() if f"os error {code}" in text)
            torch_failed = "PytorchStreamWriter" in text or "inline_container" in text
            problem = next(found, "a checkpoint could not be written" if torch_failed else None)
        if problem is None:
            raise
        raise TrainingError(f"{folder}: {problem}; make room, then run again: it continues") from error


@contextmanager
def explain_refusal(stage: str, kind: type[ToolkitError]) -> Iterator[None]:
    """Raise what TRL and transformers refuse of a stage's fields in one line."""
    try:
        yield
    except ModuleNotFoundError:
        raise
    except (TypeError, ValueError, LookupError, AssertionError, ImportError, AttributeError) as error:
        text = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        raise kind(f"stages.{stage}.trainer: {text}; `adapter-arena check` names the field") from error


MIN_MARGIN = 1e-6
"""A mean margin below this at the start: rewards are relative to the start, where they say nothing."""


MESSAGE_FORMATS = {
    "loss": "loss {:.3f}",
    "reward": "reward {:.3f}",
    "rewards/accuracies": "accuracy {:.2f}",
    "kl": "KL {:.3f}",
    "learning_rate": "learning rate {:.1e}",
    "grad_norm": "gradient {:.2f}",
    "tokens_per_second": "{:.0f} tokens/s",
}
"""Formats of the logged values in a progress message."""


HELDOUT = {
    "eval_loss": "loss",
    "eval_rewards/accuracies": "accuracy",
    "eval_rewards/margins": "margin",
    "eval_ranking_accuracy": "ranking_accuracy",
    "eval_mean_token_accuracy": "token_accuracy",
    "eval_accuracy": "accuracy",
    "eval_calibration_error": "calibration_error",
    "eval_reward": "reward",
    "eval_kl": "kl",
}
"""Logged value -> name among a stage's figures on held-out rows."""


class TrainingLog(TrainerCallback):  # type: ignore[misc]
    """Writes `training.jsonl`: a row for each step and each evaluation.

    A row has `step`, the trainer's logs (`loss`, `learning_rate`, `grad_norm`, ...), `tokens` so far,
    `tokens_per_second` since the last row, `seconds` over all attempts and the peak `memory_bytes`.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.rows: list[dict[str, Any]] = []
        self.selected_step: int | None = None
        """Of the checkpoint that is published and evaluated last, where it was chosen."""
        self._started = time.monotonic()
        self._before, self._tokens_before = 0.0, 0
        self._mark = (0, self._started)

    def restart(self) -> None:
        """Begin an empty log."""
        self.rows = []
        self._write()

    def rewind(self, step: int) -> None:
        """Go back to the rows up to `step`: training continues from there."""
        rows = [json.loads(line) for _, line in io.read_lines(self.file)]
        self.rows = [row for row in rows if row["step"] <= step]
        self._write()
        self._before = self.rows[-1]["seconds"] if self.rows else 0.0
        self._tokens_before = max((row.get("tokens", 0) for row in self.rows), default=0)

    def _write(self) -> None:
        if distributed.is_main():
            io.write_rows(self.file, self.rows)

    @property
    def seconds(self) -> float:
        return self._before + time.monotonic() - self._started

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        logs = {key: value for key, value in (logs or {}).items() if value is not None}
        if "train_runtime" in logs:  # the trainer's own closing summary repeats what is known
            return
        row = {"step": state.global_step}
        row |= {} if self.selected_step is None else {"selected_step": self.selected_step}
        row |= {key: value for key, value in logs.items() if not key.endswith("num_tokens")}
        row |= self._throughput(logs) | {"seconds": round(self.seconds, 3), "memory_bytes": peak_memory()}
        self.rows.append(row)
        if distributed.is_main():
            with self.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        # In fp16 steps with such gradients are skipped, and are no fault.
        for name in ("loss",) if args.fp16 else ("loss", "grad_norm"):
            if not math.isfinite(row.get(name, 0.0)):
                mend = "lower the learning rate, or train in float32 (`model.dtype`), then run again"
                raise TrainingError(f"{name} became {row[name]} at step {row['step']}; {mend}")
        if "loss" in row:
            parts = [words.format(row[name]) for name, words in MESSAGE_FORMATS.items() if name in row]
            note = ", ".join([*parts, f"{row['memory_bytes'] / 1e9:.1f} GB"])
            log_progress(logger, f"{self.file.parent.name}: step", state.global_step, state.max_steps, note)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._mark = (0, time.monotonic())

    def _throughput(self, logs: dict[str, Any]) -> dict[str, float]:
        """Tokens so far, and in a second since the row before; nothing where the trainer counts none."""
        tokens, now = logs.get("num_tokens"), time.monotonic()
        (before, since), self._mark = self._mark, (self._mark[0] if tokens is None else int(tokens), now)
        if tokens is None:
            return {}
        speed = (tokens - before) / max(now - since, 1e-9)
        return {"tokens": self._tokens_before + int(tokens), "tokens_per_second": round(speed, 1)}

    def check_learned(self, *, moved: bool) -> None:
        """Raise a `TrainingError` where no gradient came, the learning rate was 0, or no weight moved."""
        norms, rates = ([r[k] for r in self.rows if k in r] for k in ("grad_norm", "learning_rate"))
        if norms and max(norms) == 0:
            raise TrainingError("no gradient arrived in any step: trained weights are cut off from the loss")
        if rates and max(rates) == 0:
            raise TrainingError(
                "the learning rate was 0 in every step, so nothing was learned: look at `learning_rate`, "
                "`lr_scheduler_type` and `warmup_steps` of the stage's `trainer`"
            )
        if not moved:
            raise TrainingError("training ended, but no trained weight has moved")

    def result(self, name: str, method: str) -> StageResult:
        """The stage's figures; the loss is the mean over the last tenth of the steps."""
        losses = [row["loss"] for row in self.rows if "loss" in row]
        last = losses[-max(1, len(losses) // 10) :]
        return StageResult(
            name=name,
            method=method,
            seconds=round(self.seconds, 1),
            peak_memory_bytes=max((row["memory_bytes"] for row in self.rows), default=peak_memory()),
            train_loss=round(sum(last) / len(last), 4) if last else math.nan,
            heldout=self._heldout(),
            selected_step=self.selected_step,
        )

    def _heldout(self) -> dict[str, float]:
        evaluations = [row for row in self.rows if "eval_loss" in row]
        if not evaluations:
            return {}
        first, last = evaluations[0], evaluations[-1]
        figures = {new: round(last[old], 4) for old, new in HELDOUT.items() if old in last}
        if abs(first.get("eval_rewards/margins", 1.0)) < MIN_MARGIN:
            first = {old: value for old, value in first.items() if not old.startswith("eval_rewards/")}
        before = {f"{new}_before": round(first[old], 4) for old, new in HELDOUT.items() if old in first}
        return figures | before


def reset_peak_memory() -> None:
    """Begin to measure: what came before counts no more, where the system can forget it (CUDA, Linux)."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory() -> int:
    """Bytes since the reset: the GPU's peak where one is used, else the process's peak resident memory."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
