"""Which steps of a run are done, for which inputs: the `steps` of `manifest.json`.

A step is skipped when the fingerprint of its inputs is the one it was finished with and its outputs are
there. When the inputs changed since, its outputs are removed first; when they did not and the step was cut
short, it continues from what it left.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from toolkit import records
from toolkit.run.folder import RunFolder

logger = logging.getLogger(__name__)


class Ledger:
    """The manifest of a run folder, kept on disk at every change."""

    def __init__(self, folder: RunFolder) -> None:
        self.file = folder.manifest
        self.manifest: dict[str, Any] = records.read_json(self.file) if self.file.exists() else {}
        self.steps: dict[str, dict[str, Any]] = self.manifest.setdefault("steps", {})
        self.skipped: list[str] = []
        self.ran: list[str] = []

    def step(
        self,
        name: str,
        inputs: str,
        outputs: Sequence[Path],
        work: Callable[[], object],
        *,
        aside: Sequence[Path] = (),
    ) -> None:
        """Do `work` unless it is done already.

        Args:
            name: what the step is called in the manifest and in messages.
            inputs: fingerprint of everything the outputs depend on.
            outputs: files and folders the step writes; those of other inputs are removed first.
            work: writes the outputs; may find its own unfinished ones and continue them.
            aside: files it keeps only while it works (checkpoints).
        """
        entry = self.steps.get(name, {})
        same = entry.get("inputs") == inputs
        if same and entry.get("done") and all(path.exists() for path in outputs):
            logger.info("%s: done already, inputs unchanged", name)
            self.skipped.append(name)
            return
        if entry and not same:
            logger.info("%s: inputs changed, doing it again", name)
        if not same:
            for path in (*outputs, *aside):
                _remove(path)
            entry = {}
        logger.info("%s ...", name)
        before, started = float(entry.get("seconds", 0.0)), time.monotonic()
        self._note(name, inputs=inputs, done=False, seconds=before)
        try:
            work()
        finally:
            seconds = before + time.monotonic() - started
            self._note(name, inputs=inputs, done=False, seconds=seconds)
        self._note(name, inputs=inputs, done=True, seconds=seconds)
        self.ran.append(name)
        logger.info("%s: done in %.1f s", name, seconds)

    def record(self, **facts: Any) -> None:
        """Keep facts about the run (versions, hardware, data) in the manifest."""
        self.manifest.update(facts)
        records.write_json(self.file, self.manifest)

    @property
    def seconds(self) -> float:
        """Work in all steps, over all attempts."""
        return float(sum(step["seconds"] for step in self.steps.values()))

    def _note(self, name: str, *, inputs: str, done: bool, seconds: float) -> None:
        self.steps[name] = {"inputs": inputs, "done": done, "seconds": round(seconds, 2)}
        records.write_json(self.file, self.manifest)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
