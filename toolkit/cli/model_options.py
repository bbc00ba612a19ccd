"""The options of every command that puts a question to a model, and the model they name."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from toolkit.errors import InputError

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
        "--attention",
        default="auto",
        show_default=True,
        help="eager, sdpa, flash_attention_2 ..., or a kernel of the hub; auto: transformers' choice.",
    ),
    click.option(
        "--quantization", type=click.Choice(["none", "nf4", "int8"]), default="none", show_default=True
    ),
    click.option("--use-kernels", is_flag=True, help="Take the hub's kernels; needs the package `kernels`."),
    click.option("--revision", help="Commit or tag of a hub model."),
    click.option(
        "--template", help="Chat template: a Jinja file, or the model (hub id, folder) that has it."
    ),
    click.option("--template-kwargs", metavar="JSON", help='Variables of it: {"enable_thinking": false}.'),
)
"""A recipe's `model` section as options; `tests/cli` compares the two."""


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
    template: str | None,
    template_kwargs: str | None,
    **options: Any,
) -> Chosen:
    """Load a model (hub id, folder, GGUF file or packaged name) and attach its adapter.

    Args:
        model: what to load.
        adapter: folder of an adapter to put on it.
        name: of the contestant; left out, that of the adapter or model.
        template: `chat_template` of a recipe's `model` section.
        template_kwargs: `chat_template_kwargs` of it, a JSON object.
        options: its further fields.

    Raises:
        ModelError: there is no such model or adapter, or they do not belong together.
        InputError: the template's variables are no JSON object.
    """
    from toolkit.models import load_base
    from toolkit.recipe import ModelOptions

    variables = _json_object("--template-kwargs", template_kwargs) if template_kwargs is not None else {}
    loaded = load_base(model, ModelOptions(chat_template=template, chat_template_kwargs=variables, **options))
    called = name or (adapter.resolve().name if adapter else Path(model).name.removesuffix(".gguf"))
    if adapter is None:
        return Chosen(loaded, called, None)
    loaded.attach(called, adapter)
    return Chosen(loaded, called, called)


def options_of_run(out: Path, options: dict[str, Any]) -> dict[str, Any]:
    """The options for results that go into a run: what is left at its default is as in the run's recipe."""
    from toolkit.recipe import load
    from toolkit.run.folder import find_run

    run = find_run(out.resolve())
    if run is None:
        return options
    model = load(run.recipe).model
    own = {"template": model.chat_template, "dtype": model.dtype, "quantization": model.quantization}
    if model.chat_template_kwargs:
        own["template_kwargs"] = json.dumps(model.chat_template_kwargs)
    return options | {name: value for name, value in own.items() if options[name] in (None, "auto", "none")}


def _json_object(option: str, text: str) -> dict[str, Any]:
    from toolkit.io import parse_json

    value = parse_json(text, option)
    if not isinstance(value, dict):
        raise InputError(f'{option}: give a JSON object, such as {{"enable_thinking": false}}')
    return value
