"""The options of every command that puts a question to a model, and the model they name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from toolkit.models import Loaded

PATH = click.Path(path_type=Path)

OPTIONS = (
    click.option("--adapter", type=PATH, help="Adapter folder to put on the model."),
    click.option("--name", help="Contestant's name; left out, that of the adapter or model."),
    click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, mps."),
    click.option(
        "--dtype",
        type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
        default="auto",
        show_default=True,
    ),
    click.option(
        "--quantization", type=click.Choice(["none", "nf4", "int8"]), default="none", show_default=True
    ),
)


@dataclass(frozen=True)
class Chosen:
    """A model that is loaded, and which of its adapters to switch on."""

    loaded: Loaded
    name: str
    adapter: str | None


def model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command; it hands what it gets to `open_model`."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def open_model(
    model: str,
    *,
    adapter: Path | None,
    name: str | None,
    device: str,
    dtype: Any,
    quantization: Any,
) -> Chosen:
    """Load a model (hub id, folder, GGUF file or packaged name) and attach its adapter.

    Raises:
        ModelError: there is no such model or adapter, or they do not belong together.
    """
    from toolkit.models import load_base
    from toolkit.recipe import ModelOptions

    loaded = load_base(model, ModelOptions(device=device, dtype=dtype, quantization=quantization))
    called = name or (adapter.resolve().name if adapter else Path(model).stem)
    if adapter is None:
        return Chosen(loaded, called, None)
    loaded.attach(called, adapter)
    return Chosen(loaded, called, called)
