"""Content fingerprints: SHA-256 of files and folders, computed once per file version.

The hash of a large file is remembered under its device, inode, size, mtime and ctime, as git's index does, so
that gigabytes of weights are read once and not at every command.
"""

import ast
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from toolkit import io

REMEMBERED_BYTES = 2**20  # smaller files are hashed every time: that is as quick as looking them up

SETTLED_SECONDS = 2.0
"""A file changed more recently may change again within the same time stamp, so its hash is not remembered."""

MOST_ENTRIES = 20_000

HUB_BLOB = re.compile(r"[0-9a-f]{64}")


def cache_folder() -> Path:
    """Folder of converted models and remembered hashes: `$ADAPTER_ARENA_CACHE`, else the user's cache."""
    chosen = os.environ.get("ADAPTER_ARENA_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "adapter-arena"


def file_hash(path: Path) -> str:
    """SHA-256 of a file's content, 64 hex digits; a blob of the hub's cache is named by its own."""
    real = path.resolve()
    if HUB_BLOB.fullmatch(real.name) and real.parent.name == "blobs":
        return real.name
    stat = real.stat()
    if stat.st_size < REMEMBERED_BYTES:
        return hashlib.sha256(real.read_bytes()).hexdigest()
    version = f"{stat.st_dev}-{stat.st_ino}-{stat.st_size}-{stat.st_mtime_ns}-{stat.st_ctime_ns}"
    remembered = _remembered(cache_folder() / "hashes.json")
    if version not in remembered:
        with real.open("rb") as data:
            found = hashlib.file_digest(data, "sha256").hexdigest()
        if time.time() - max(stat.st_mtime, stat.st_ctime) < SETTLED_SECONDS:
            return found
        remembered[version] = found
        _remember(cache_folder() / "hashes.json", remembered)
    return remembered[version]


def folder_hash(folder: Path, belongs: Callable[[Path], bool] = lambda file: True) -> str:
    """SHA-256 of names and contents in a folder, 64 hex digits; of files that `belongs`, not hidden."""
    return files_hash(folder, (file for file in _files(folder) if belongs(file)))


def files_hash(folder: Path, files: Iterable[Path]) -> str:
    """SHA-256 over the names and contents of some files, given relative to `folder`."""
    sha = hashlib.sha256()
    for file in sorted(files):
        sha.update(f"{file.as_posix()}\0{file_hash(folder / file)}\n".encode())
    return sha.hexdigest()


MANIFEST_DAMAGED = "manifest.json is damaged, and nothing can be verified"
"""The one change of `changed_outputs` that running the recipe again does not mend."""


def changed_outputs(run: Path) -> list[str]:
    """What finished steps wrote into a run folder, adapters apart, and is gone or changed: one line each."""
    manifest, recipe, finished = (run / name for name in ("manifest.json", "recipe.yaml", "ratings.json"))
    if not manifest.exists():
        return ["manifest.json is gone, and nothing can be verified"] if finished.exists() else []
    found = []
    try:
        if not isinstance(yaml.safe_load(recipe.read_text(encoding="utf-8")), dict):
            raise ValueError("empty")
    except (OSError, ValueError, yaml.YAMLError):
        found += ["recipe.yaml is gone or damaged"] if recipe.exists() or finished.exists() else []
    try:
        for step, entry in json.loads(manifest.read_text(encoding="utf-8"))["steps"].items():
            kept = entry.get("done") and step.partition(" ")[0] not in ("train", "report")
            for name, written in entry.get("outputs", {}).items() if kept else ():
                if damage := output_damage(run / name, written):
                    found.append(f"{name} {damage}")
    except (OSError, ValueError, AttributeError, TypeError, KeyError):
        found.append(MANIFEST_DAMAGED)
    return found


def output_damage(path: Path, written: Mapping[str, Any] | None) -> str:
    """How a step's output differs from its record in the manifest; empty: not at all."""
    if not path.exists():
        return "is gone"
    if written is None:
        return "cannot be verified"
    return "" if output_record(path) == written else "was changed after it was written"


def output_record(path: Path) -> dict[str, Any]:
    """Size and SHA-256 of a step's output, a file or a folder, as the manifest holds them."""
    if path.is_dir():
        size = sum((path / file).stat().st_size for file in _files(path) if _is_output(file))
        return {"size": size, "sha256": folder_hash(path, _is_output)}
    return {"size": path.stat().st_size, "sha256": file_hash(path)}


def _is_output(file: Path) -> bool:
    """Model cards are not verified: they are rewritten with the scores of the finished run."""
    return file != Path("README.md")


def _files(folder: Path) -> Iterable[Path]:
    for file in folder.rglob("*"):
        inside = file.relative_to(folder)
        if file.is_file() and not any(part.startswith(".") for part in inside.parts):
            yield inside


@cache
def _remembered(file: Path) -> dict[str, str]:
    with suppress(OSError, ValueError):
        known = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(known, dict):
            return known
    return {}


def _remember(file: Path, known: dict[str, str]) -> None:
    """Keep the newest entries; where the cache cannot be written, files are hashed again next time."""
    with suppress(OSError):
        io.write_text(file, json.dumps(dict(list(known.items())[-MOST_ENTRIES:])))


def python_files(file: Path, seen: frozenset[Path] = frozenset()) -> list[Path]:
    """A Python file, and those beside it that it imports from, and so on."""
    if file in seen or not file.is_file():
        return []
    found = [file]
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, RecursionError):
        return found  # an error where it is run
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            names |= {node.module} if node.module else {alias.name for alias in node.names}
            names |= {f"{node.module}.{alias.name}" for alias in node.names if node.module}
    for name in sorted(names):
        place = file.parent / name.replace(".", "/")
        for module in (place.with_suffix(".py"), place / "__init__.py"):
            found += python_files(module, seen.union(found))
    return found
