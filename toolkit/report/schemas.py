"""JSON Schemas of what machines and editors read: `summary.json`, and recipes.

They lie beside the code as files. After a change of the records they are written again with

    python -c "from toolkit.report.schemas import write; write()"
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel

from toolkit import io
from toolkit.recipe import PACKAGED, Recipe
from toolkit.types import Summary

DIALECT = "https://json-schema.org/draft/2020-12/schema"

FILES: dict[Path, tuple[type[BaseModel], str]] = {
    Path(__file__).with_name("summary.schema.json"): (Summary, "adapter-arena summary.json"),
    PACKAGED / "recipe.schema.json": (Recipe, "adapter-arena recipe"),
}
"""File -> the record it describes, and its title."""


def schema(file: Path) -> dict[str, Any]:
    """What one of `FILES` should hold."""
    kind, title = FILES[file]
    found = kind.model_json_schema(mode="serialization" if kind is Summary else "validation")
    if kind is Recipe:  # one that extends another need not repeat what that one says
        found["anyOf"] = [{"required": ["extends"]}, {"required": found.pop("required")}]
    return {"$schema": DIALECT, **found, "title": title}


def write() -> None:
    """Write every schema file."""
    for file in FILES:
        io.write_json(file, schema(file))
