"""Provenance tables: data, checks, versions, seeds, fingerprints, times."""

from __future__ import annotations

from typing import Any

from toolkit.report.formatting import ABSENT, duration, size
from toolkit.report.load import RunView
from toolkit.report.tables import Cell, Table, facts, words
from toolkit.types import Finding


def data_sets(view: RunView) -> Table | None:
    """Data sets with their use and the fingerprint of their rows."""
    recipe, prints = view.recipe, view.manifest.get("data", {})
    if recipe is None or not recipe.data:
        return None
    uses: dict[str, list[str]] = {}
    for stage in recipe.stages:
        uses.setdefault(stage.data, []).append(f"trains {stage.name}")
        if stage.heldout:
            uses.setdefault(stage.heldout, []).append(f"held out from {stage.name}")
    if recipe.scoring:
        uses.setdefault(recipe.scoring.examples, []).append("the examples scored")
        prints = {recipe.scoring.examples: prints.get("examples"), **prints}
    rows = [
        (
            name,
            words(source.source),
            words(", ".join(uses.get(name, ["not used"]))),
            Cell(prints.get(name) or ABSENT, tone="code"),
        )
        for name, source in recipe.data.items()
    ]
    return Table.of("Data sets", ("name", "source", "use", "fingerprint of its rows"), rows)


def findings(found: list[Finding]) -> Table | None:
    """Findings of `adapter-arena check`."""
    rows = [(Cell(f.severity, f.code), words(f.place), words(f.message), words(f.fix)) for f in found]
    header = ("severity", "place", "what", "what to do")
    return Table.of("Findings of the check", header, rows) if rows else None


def provenance(view: RunView) -> list[Table]:
    """Seed, hardware, versions, lineage of adapters, and the steps with their times and fingerprints."""
    manifest, hardware = view.manifest, view.manifest.get("hardware", {})
    named = {key.replace("_bytes", ""): value for key, value in hardware.items() if value is not None}
    if isinstance(hardware.get("memory_bytes"), int | float):
        named["memory"] = size(hardware["memory_bytes"])
    lineage, steps = [], []
    for stage, found in view.lineages.items():
        if found:
            method = "" if found.get("method") == stage else str(found.get("method", ""))
            parent = found.get("parent") or found.get("base") or ABSENT
            mark = found.get("parent_fingerprint") or found.get("base_fingerprint") or ABSENT
            lineage.append((Cell(stage, method), words(parent), Cell(str(mark), tone="code")))
    for name, step in manifest.get("steps", {}).items():
        seconds = duration(float(step.get("seconds", 0.0)))
        steps.append((name, seconds, Cell(str(step.get("inputs", "")), tone="code")))
    tables = [
        facts("Settings", _settings(view)),
        facts("Hardware", named),
        facts("Versions", manifest.get("versions", {})),
        Table.of("What each stage was trained on", ("stage", "on", "its fingerprint"), lineage),
        Table.of("Steps", ("step", "time", "fingerprint of its inputs"), steps),
    ]
    return [table for table in tables if table.rows]


def _settings(view: RunView) -> dict[str, Any]:
    recipe, manifest = view.recipe, view.manifest
    found: dict[str, Any] = {"seed": manifest.get("seed", recipe.seed if recipe else None)}
    if recipe:
        found |= {"base": recipe.base, "dtype": recipe.model.dtype, "quantisation": recipe.model.quantization}
    if recipe and recipe.scoring:
        used = recipe.scoring.generation
        sampled = f"temperature {used.temperature:g}, top p {used.top_p:g}" if used.temperature else "greedy"
        found["answers"] = f"{sampled}, at most {used.max_new_tokens} new tokens"
    measured = (m for own in view.measurements.values() for m in own)
    found |= {f"{m.metric} signature": m.signature for m in measured if m.signature}
    return {key: value for key, value in found.items() if value is not None}
