"""Provenance tables: data, checks, versions, seeds, fingerprints, times."""

from __future__ import annotations

from typing import Any

from toolkit.report import formatting
from toolkit.report.load import RunView
from toolkit.report.tables import Cell, Table, facts
from toolkit.types import Finding


def command(view: RunView) -> str:
    """What to type to get the same run."""
    return str(view.manifest.get("command") or "adapter-arena run recipe.yaml")


def data_table(view: RunView) -> Table | None:
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
    rows = tuple(
        (
            Cell(name),
            Cell(source.source, tone="words"),
            Cell(", ".join(uses.get(name, ["not used"])), tone="words"),
            Cell(prints.get(name) or formatting.ABSENT, tone="code"),
        )
        for name, source in recipe.data.items()
    )
    return Table("Data sets", ("name", "source", "use", "fingerprint of its rows"), rows)


def findings_table(found: list[Finding]) -> Table | None:
    """Findings of `adapter-arena check`."""
    if not found:
        return None
    rows = tuple(
        (
            Cell(finding.severity, finding.code),
            Cell(finding.place, tone="words"),
            Cell(finding.message, tone="words"),
            Cell(finding.fix, tone="words"),
        )
        for finding in found
    )
    return Table("Findings of the check", ("severity", "place", "what", "what to do"), rows)


def provenance_tables(view: RunView) -> list[Table]:
    """Seed, hardware, versions, lineage of adapters, and the steps with their times and fingerprints."""
    manifest = view.manifest
    tables = [
        facts("Settings", _settings(view)),
        facts("Hardware", _hardware(manifest.get("hardware", {}))),
        facts("Versions", manifest.get("versions", {})),
        _lineage(view),
        _steps(manifest.get("steps", {})),
    ]
    return [table for table in tables if table and table.rows]


def _settings(view: RunView) -> dict[str, Any]:
    recipe, manifest = view.recipe, view.manifest
    found: dict[str, Any] = {"seed": manifest.get("seed", recipe.seed if recipe else None)}
    if recipe:
        found |= {"base": recipe.base, "dtype": recipe.model.dtype, "quantisation": recipe.model.quantization}
    if recipe and recipe.scoring:
        generation = recipe.scoring.generation
        manner = (
            "greedy"
            if generation.temperature == 0
            else f"temperature {generation.temperature:g}, top p {generation.top_p:g}"
        )
        found["answers"] = f"{manner}, at most {generation.max_new_tokens} new tokens"
    signatures = {m.metric: m.signature for own in view.measurements.values() for m in own if m.signature}
    found |= {f"{metric} signature": signature for metric, signature in signatures.items()}
    return {key: value for key, value in found.items() if value is not None}


def _hardware(found: dict[str, Any]) -> dict[str, Any]:
    named = {key.replace("_bytes", ""): value for key, value in found.items() if value is not None}
    if isinstance(found.get("memory_bytes"), (int, float)):
        named["memory"] = formatting.size(found["memory_bytes"])
    return named


def _lineage(view: RunView) -> Table | None:
    rows = tuple(
        (
            Cell(stage, "" if found.get("method") == stage else str(found.get("method", ""))),
            Cell(f"{found.get('parent') or found.get('base') or formatting.ABSENT}", tone="words"),
            Cell(
                f"{found.get('parent_fingerprint') or found.get('base_fingerprint') or formatting.ABSENT}",
                tone="code",
            ),
        )
        for stage, found in view.lineages.items()
        if found
    )
    return Table("What each stage was trained on", ("stage", "on", "its fingerprint"), rows) if rows else None


def _steps(steps: dict[str, dict[str, Any]]) -> Table:
    rows = tuple(
        (
            Cell(name),
            Cell(formatting.duration(float(step.get("seconds", 0.0)))),
            Cell(str(step.get("inputs", "")), tone="code"),
        )
        for name, step in steps.items()
    )
    return Table("Steps", ("step", "time", "fingerprint of its inputs"), rows)
