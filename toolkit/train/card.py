"""The model card of a trained stage: `README.md` in its folder, with front matter the hub understands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from toolkit import io
from toolkit.models.loading import LINEAGE
from toolkit.recipe import Recipe, Stage
from toolkit.types import StageResult

RESULT = "stage.json"
"""File of a published folder with what training gave."""


def model_card(
    lineage: Mapping[str, Any], peft_type: str | None, recipe: Recipe, stage: Stage, result: StageResult
) -> str:
    """Markdown with YAML front matter: what it is, what it was trained on, how, and what came of it."""
    front: dict[str, Any] = {"tags": [stage.method, "adapter-arena"]}
    if not Path(lineage["base"]).exists():  # a folder here means nothing on the hub
        front = {"base_model": lineage["base"]} | front
    if peft_type is not None:
        front |= {"library_name": "peft"}
        front["tags"].append(peft_type.lower())
    else:
        front |= {"library_name": "transformers"}
    chain = " -> ".join(["base", *(part.name for part in recipe.chain(stage.name))])
    figures = {"train loss": result.train_loss, **result.heldout}
    settings = yaml.safe_dump(stage.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    lines = [
        "---",
        yaml.safe_dump(front, sort_keys=False).strip(),
        "---",
        f"# {recipe.name}/{stage.name}",
        "",
        f"{stage.method.upper()} of `{lineage['base']}` (weights `{lineage['base_fingerprint']}`), with "
        "adapter-arena.",
        f"Chain: {chain}. "
        + ("This folder holds the whole chain: load it on the original base." if lineage["parent"] else ""),
        "",
        f"Data: `{recipe.data[stage.data].source}`, seed {recipe.seed}.",
        "",
        "| figure | value |",
        "| --- | --- |",
        *(f"| {name.replace('_', ' ')} | {value} |" for name, value in figures.items()),
        f"| seconds | {result.seconds} |",
        f"| peak memory | {result.peak_memory_bytes / 2**30:.1f} GiB |",
        "",
        "```yaml",
        settings.strip(),
        "```",
        "",
    ]
    return "\n".join(lines)


def rename(folder: Path, recipe: Recipe, stage: Stage) -> None:
    """Put a stage's names of today into a folder that was published under others."""
    result = StageResult.model_validate(io.read_json(folder / RESULT, finite=False) | {"name": stage.name})
    io.write_json(folder / RESULT, result)
    for file in (folder / "delta" / LINEAGE, folder / LINEAGE):
        if file.exists():
            lineage = io.read_json(file)
            lineage |= {"stage": stage.name, "parent": stage.start if lineage["parent"] else None}
            io.write_json(file, lineage)
    config = folder / "adapter_config.json"
    peft_type = io.read_json(config)["peft_type"] if config.exists() else None
    io.write_text(folder / "README.md", model_card(lineage, peft_type, recipe, stage, result))
