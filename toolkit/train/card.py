"""The model card of a trained stage: `README.md` in its folder, with front matter the hub understands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from toolkit.recipe import Recipe, Stage
from toolkit.train.base import Base
from toolkit.types import StageResult


def model_card(base: Base, recipe: Recipe, stage: Stage, result: StageResult) -> str:
    """Markdown with YAML front matter: what it is, what it was trained on, how, and what came of it."""
    front: dict[str, Any] = {"tags": [stage.method, "adapter-arena"]}
    if not Path(base.name).exists():  # a folder here means nothing on the hub
        front = {"base_model": base.name} | front
    if base.adapter is not None:
        front |= {"library_name": "peft"}
        front["tags"].append(base.adapter.peft_type.value.lower())
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
        f"{stage.method.upper()} of `{base.name}` (weights `{base.fingerprint}`), with adapter-arena.",
        f"Chain: {chain}. "
        + ("This folder holds the whole chain: load it on the original base." if base.parent else ""),
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
