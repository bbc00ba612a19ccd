"""Which steps of a run are done, for which inputs: the `steps` of `manifest.json`.

A step is skipped when the fingerprint of its inputs is the one it was finished with and its outputs are
there. When the inputs changed since, its outputs are removed first; when they did not and the step was cut
short, it continues from what it left.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit import processes, records
from toolkit.run.folder import RunFolder

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Step:
    """A part of a run that knows what it needs and what it leaves, and can be done in any process."""

    name: str
    """What it is called in the manifest and in messages."""
    inputs: Callable[[], str]
    """Fingerprint of everything the outputs depend on; asked for when the steps before are done."""
    work: Callable[[], object]
    """Writes the outputs; may find its own unfinished ones and continue them."""
    outputs: tuple[Path, ...] = ()
    """Files and folders it writes; those of other inputs are removed first."""
    aside: tuple[Path, ...] = ()
    """Files it keeps only while it works (checkpoints)."""
    after: tuple[str, ...] = ()
    """Names of the steps whose outputs it reads."""
    model: bool = False
    """Whether it computes with a model in this process: it has a GPU to itself, where there are any."""


class Ledger:
    """The manifest of a run folder, kept on disk at every change."""

    def __init__(self, folder: RunFolder) -> None:
        self.file = folder.manifest
        self.manifest: dict[str, Any] = records.read_json(self.file) if self.file.exists() else {}
        self.steps: dict[str, dict[str, Any]] = self.manifest.setdefault("steps", {})
        self.skipped: list[str] = []

    def do(self, step: Step) -> None:
        """Do a step here and now, unless it is done already."""
        if not self.begin(step):
            return
        started = time.monotonic()
        try:
            step.work()
        except BaseException:
            with suppress(OSError):  # on a full disk, what stopped the work is what to tell
                self.spend(step, time.monotonic() - started)
            raise
        self.finish(step, time.monotonic() - started)

    def begin(self, step: Step) -> bool:
        """Note that a step is being done, and clear away what other inputs left; `False`: it is done."""
        entry, inputs = self.steps.get(step.name, {}), step.inputs()
        same = entry.get("inputs") == inputs
        if same and entry.get("done") and all(path.exists() for path in step.outputs):
            logger.info("%s: done already, inputs unchanged", step.name)
            self.skipped.append(step.name)
            return False
        if entry and not same:
            logger.info("%s: inputs changed, doing it again", step.name)
        if not same:
            for path in (*step.outputs, *step.aside) if processes.is_main() else ():
                _remove(path)
        logger.info("%s ...", step.name)
        self.steps[step.name] = {
            "inputs": inputs,
            "done": False,
            "seconds": entry.get("seconds", 0.0) if same else 0.0,
        }
        self._save()
        return True

    def spend(self, step: Step, seconds: float) -> None:
        """Note that a step has taken so long, and is not done yet."""
        entry = self.steps[step.name]
        entry["seconds"] = round(entry["seconds"] + seconds, 2)
        self._save()

    def finish(self, step: Step, seconds: float) -> None:
        """Note that a step is done, after so much further work."""
        self.steps[step.name]["done"] = True
        self.spend(step, seconds)
        logger.info("%s: done in %.1f s", step.name, self.steps[step.name]["seconds"])

    def record(self, **facts: Any) -> None:
        """Keep facts about the run (versions, hardware, data) in the manifest."""
        self.manifest.update(facts)
        self._save()

    @property
    def seconds(self) -> float:
        """Work in all steps, over all attempts."""
        return float(sum(step["seconds"] for step in self.steps.values()))

    def _save(self) -> None:
        if processes.is_main():
            records.write_json(self.file, self.manifest)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
