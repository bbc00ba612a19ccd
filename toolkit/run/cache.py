"""Cache of a run's steps: the `steps` of `manifest.json`.

A step is skipped when the fingerprint of its inputs is unchanged and its outputs have the size and hash
that it wrote. When the inputs changed, its outputs are removed first; a step that was cut short continues.
Outputs that another version of the run made from the same inputs are copied.
"""

import logging
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from toolkit import distributed, io
from toolkit.fingerprints import output_damage, output_record
from toolkit.models.bases import OURS
from toolkit.run.folder import RunFolder

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Step:
    """A part of a run that knows what it needs and what it leaves, and can be done in any process."""

    name: str  # what it is called in the manifest and in messages
    inputs: Callable[[], str]
    """Fingerprint of everything the outputs depend on; computed when the steps before are done."""
    work: Callable[[], object]  # writes the outputs; may find its own unfinished ones and continue them
    outputs: tuple[Path, ...] = ()  # files and folders it writes; those of other inputs are removed first
    temporary: tuple[Path, ...] = ()  # files it keeps only while it works (checkpoints)
    depends_on: tuple[str, ...] = ()  # names of the steps whose outputs it reads
    rename: Callable[[], None] | None = None
    """Puts its names into outputs of a step that had the same inputs under another name; `None`: cannot."""
    model: bool = False
    """Whether it computes with a model in this process: it has a GPU to itself, where there are any."""


class StepCache:
    """The manifest of a run folder, kept on disk at every change."""

    def __init__(self, folder: RunFolder, versions: Sequence[RunFolder] = ()) -> None:
        """Read the manifest; `versions` are other versions of the run, whose outputs may be copied."""
        self.folder, self.file = folder, folder.manifest
        self.manifest = folder.read_manifest()
        self.steps: dict[str, dict[str, Any]] = self.manifest.setdefault("steps", {})
        self.versions = versions
        self.skipped: list[str] = []
        self.executed: list[str] = []

    def do(self, step: Step) -> None:
        """Do a step here and now, unless it is done already."""
        if not self.begin(step):
            return
        started = time.monotonic()
        try:
            step.work()
        except BaseException:
            with suppress(OSError):  # on a full disk, what stopped the work is what to report
                self.spend(step, time.monotonic() - started)
            raise
        self.finish(step, time.monotonic() - started)

    def begin(self, step: Step) -> bool:
        """Note that a step is being done, and clear away what other inputs left; `False`: it is done."""
        entry, inputs = self.steps.get(step.name, {}), step.inputs()
        same = entry.get("inputs") == inputs
        damage = _damage(self.folder, step.outputs, entry) if same and entry.get("done") else ""
        if damage and self._restore(step, entry):
            logger.warning("%s: %s; put back", step.name, damage)
            damage = ""
        if same and entry.get("done") and not damage:
            logger.info("%s: done already, inputs unchanged", step.name)
            self.skipped.append(step.name)
            return False
        if damage:
            logger.warning("%s: %s; doing it again", step.name, damage)
        elif entry and not same:
            logger.info("%s: inputs changed, doing it again", step.name)
        if distributed.is_main():
            for path in (() if same and not damage else step.outputs) + (() if same else step.temporary):
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
        if self._take_over(step, inputs):
            return False
        logger.info("%s ...", step.name)
        seconds = entry.get("seconds", 0.0) if same and not damage else 0.0
        self.steps[step.name] = {"inputs": inputs, "done": False, "seconds": seconds}
        self._save()
        return True

    def spend(self, step: Step, seconds: float) -> None:
        """Note that a step has taken so long, and is not done yet."""
        entry = self.steps[step.name]
        entry["seconds"] = round(entry["seconds"] + seconds, 2)
        self._save()

    def finish(self, step: Step, seconds: float) -> None:
        """Note that a step is done, after so much further work, with what it wrote."""
        if distributed.is_main():
            self.steps[step.name] |= self._written(step)
        self.steps[step.name]["done"] = True
        self.executed.append(step.name)
        self.spend(step, seconds)
        logger.info("%s: done in %.1f s", step.name, self.steps[step.name]["seconds"])

    def _written(self, step: Step) -> dict[str, Any]:
        """Sizes and hashes of a step's outputs, and the small files that describe them, to be put back."""
        files = [file for path in step.outputs for file in path.rglob("*") if file.name in OURS]
        there = [path for path in step.outputs if path.exists()]
        texts = {_name(file, self.folder): file.read_text(encoding="utf-8") for file in files}
        return {"outputs": {_name(path, self.folder): output_record(path) for path in there}, "texts": texts}

    def _restore(self, step: Step, entry: dict[str, Any]) -> bool:
        """Put the files back that describe an output; whether nothing else was changed."""
        texts = entry.get("texts", {}) if distributed.count() == 1 else {}
        for name, text in texts.items():
            if (self.folder.path / name).parent.is_dir():
                io.write_text(self.folder.path / name, text)
        return bool(texts) and not _damage(self.folder, step.outputs, entry)

    def intact(self, *paths: Path) -> bool:
        """Whether files and folders are as the steps that wrote them left them."""
        current = {_name(path.resolve(), self.folder): path for path in paths}
        recorded = [item for entry in self.steps.values() for item in entry.get("outputs", {}).items()]
        return not any(output_damage(current[name], record) for name, record in recorded if name in current)

    def accept(self, *paths: Path) -> None:
        """Take files as they are now: a command has rewritten outputs of finished steps on purpose."""
        for entry in self.steps.values():
            for path in paths:
                name = _name(path.resolve(), self.folder)
                if name in entry.get("outputs", {}) and path.exists():
                    entry["outputs"][name] = output_record(path)
        self._save()

    def record(self, **facts: Any) -> None:
        """Keep facts about the run (versions, hardware, data) in the manifest."""
        self.manifest.update(facts)
        self._save()

    @property
    def seconds(self) -> float:
        """Work in all steps, over all attempts."""
        return float(sum(step["seconds"] for step in self.steps.values()))

    @property
    def outputs(self) -> dict[str, str]:
        """Hashes of what the finished steps wrote, but for the report's own files."""
        entries = [entry.get("outputs", {}) for step, entry in self.steps.items() if step != "report"]
        return {name: record["sha256"] for outputs in entries for name, record in outputs.items()}

    def _take_over(self, step: Step, inputs: str) -> bool:
        """Copy what another version of the run, or a step of another name, has made from the same inputs."""
        for folder, name, entry in self._candidates(step) if step.outputs else ():
            if entry.get("inputs") != inputs or not entry.get("done"):
                continue
            earlier = tuple(folder.path / each for each in entry.get("outputs", ()))
            if len(earlier) != len(step.outputs) or _damage(folder, earlier, entry):
                continue
            if distributed.is_main():
                for source, path in zip(earlier, step.outputs, strict=True):
                    _copy(source, path)
                if name != step.name and step.rename:
                    step.rename()
            distributed.wait()
            self.steps[step.name] = entry | self._written(step)
            self.skipped.append(step.name)
            self._save()
            logger.info("%s: taken from %s of %s, inputs unchanged", step.name, name, folder.path)
            return True
        return False

    def _candidates(self, step: Step) -> Iterator[tuple[RunFolder, str, dict[str, Any]]]:
        kind = step.name.partition(" ")[0]
        for folder, steps in ((self.folder, self.steps), *self._other_steps):
            for name, entry in steps.items():
                renamed = name != step.name and step.rename and name.partition(" ")[0] == kind
                if renamed or (name == step.name and folder is not self.folder):
                    yield folder, name, entry

    @cached_property
    def _other_steps(self) -> list[tuple[RunFolder, dict[str, dict[str, Any]]]]:
        return [(version, StepCache(version).steps) for version in self.versions]

    def _save(self) -> None:
        if distributed.is_main():
            io.write_json(self.file, self.manifest)


def _damage(folder: RunFolder, outputs: Sequence[Path], entry: dict[str, Any]) -> str:
    """What is no longer as the step wrote it; empty: nothing."""
    for path in outputs:
        name = _name(path, folder)
        if damage := output_damage(path, entry.get("outputs", {}).get(name)):
            return f"{name} {damage}"
    return ""


def _name(path: Path, folder: RunFolder) -> str:
    return path.relative_to(folder.path).as_posix()


def _copy(source: Path, path: Path) -> None:
    if source.is_dir():
        with io.new_folder(path) as beside:
            shutil.copytree(source, beside, dirs_exist_ok=True)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.copy")
        shutil.copyfile(source, beside)
        beside.replace(path)
