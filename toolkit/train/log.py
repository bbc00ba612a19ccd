"""The log of a training stage: one JSON line a step, live messages, and the checks that it really learns."""

from __future__ import annotations

import json
import logging
import math
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from toolkit import records
from toolkit.errors import TrainingError
from toolkit.progress import tell
from toolkit.types import StageResult

logger = logging.getLogger(__name__)

RELATIVE = 1e-6
"""A mean margin below this at the start: rewards are relative to the start, where they say nothing."""


class TrainingLog(TrainerCallback):  # type: ignore[misc]
    """Keeps `training.jsonl`: step, loss, learning_rate, grad_norm, tokens, seconds, memory_bytes."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.rows: list[dict[str, Any]] = []
        self._started = time.monotonic()
        self._before = 0.0

    def restart(self) -> None:
        """Begin an empty log."""
        self.rows, self._before = [], 0.0
        records.write_text(self.file, "")

    def rewind(self, step: int) -> None:
        """Go back to the rows up to `step`: training continues from there."""
        rows = [json.loads(line) for _, line in records.read_lines(self.file)]
        self.rows = [row for row in rows if row["step"] <= step]
        records.write_text(self.file, "".join(json.dumps(row) + "\n" for row in self.rows))
        self._before = self.rows[-1]["seconds"] if self.rows else 0.0

    @property
    def seconds(self) -> float:
        return self._before + time.monotonic() - self._started

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        logs = logs or {}
        if "train_runtime" in logs:  # the trainer's own closing summary repeats what is known
            return
        row = {
            "step": state.global_step,
            **logs,
            "seconds": round(self.seconds, 3),
            "memory_bytes": peak_memory(),
        }
        row["tokens"] = state.num_input_tokens_seen or None
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps({key: value for key, value in row.items() if value is not None}) + "\n")
        self.rows.append(row)
        loss = logs.get("loss")
        if loss is not None and not math.isfinite(loss):
            raise TrainingError(
                f"the loss became {loss} at step {state.global_step}; lower the learning rate, or train "
                "in float32 (`model.dtype`), then run again"
            )
        if loss is not None:
            tell(
                logger,
                f"{self.file.parent.name}: step",
                state.global_step,
                state.max_steps,
                f"loss {loss:.3f}",
            )

    def check_learned(self, *, moved: bool) -> None:
        """Refuse a training that did nothing.

        Raises:
            TrainingError: no gradient ever arrived, or no weight moved.
        """
        norms = [row["grad_norm"] for row in self.rows if row.get("grad_norm") is not None]
        if norms and max(norms) == 0:
            raise TrainingError(
                "no gradient arrived in any step: the trained weights are cut off from the loss"
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
        )

    def _heldout(self) -> dict[str, float]:
        evaluations = [row for row in self.rows if "eval_loss" in row]
        if not evaluations:
            return {}
        names = {
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
        first, last = evaluations[0], evaluations[-1]
        figures = {new: round(last[old], 4) for old, new in names.items() if old in last}
        if abs(first.get("eval_rewards/margins", 1.0)) < RELATIVE:
            first = {old: value for old, value in first.items() if not old.startswith("eval_rewards/")}
        return figures | {f"{new}_before": round(first[old], 4) for old, new in names.items() if old in first}


def peak_memory() -> int:
    """Bytes: the GPU's peak where one is used, else the process's peak resident memory."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
