"""Options that several commands share (recipes, endpoints, models), and checks of combinations."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from toolkit.errors import InputError

if TYPE_CHECKING:
    from toolkit.models import Loaded
    from toolkit.recipe import Endpoint, Recipe

PATH = click.Path(path_type=Path)


def choice(name: str, *choices: str, help: str | None = None) -> Callable[..., Any]:  # noqa: A002 - as click
    """An option that is one of several words; the first is the default."""
    return click.option(name, type=click.Choice(choices), default=choices[0], show_default=True, help=help)


results_folder = click.option("--out", type=PATH, default="results", help="Folder of runs.")
SET_HELP = "Change a key of the recipe: stages.0.trainer.max_steps=5."
set_keys = click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help=SET_HELP)

ENDPOINT_OPTIONS = (
    click.option("--endpoint", metavar="URL", help="Base URL of the server, up to /v1; default: local."),
    click.option("--key-env", metavar="NAME", help="Environment variable that holds the server's API key."),
    click.option("--parameters", metavar="MAPPING", help="Further fields of every request: '{top_k: 5}'."),
    click.option("--timeout", type=click.FloatRange(0, min_open=True), help="Seconds for one request."),
    click.option("--concurrency", type=click.IntRange(1, 512), help="Requests under way at a time."),
    click.option("--price", nargs=2, type=float, help="Dollars for a million tokens in, and out."),
    click.option("--budget-usd", type=float, help="Dollars to spend at most; needs --price."),
)
ENDPOINT_FIELDS = ("key_env", "parameters", "timeout", "concurrency", "budget_usd")
"""Fields of an endpoint that mean nothing without one; a price may be that of any judge."""

MODEL_OPTIONS = (
    click.option("--adapter", type=PATH, help="Adapter folder to put on the model."),
    click.option("--name", help="Contestant's name; left out, that of the adapter or model."),
    click.option("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps."),
    choice("--dtype", "auto", "float32", "bfloat16", "float16"),
    click.option(
        "--attention",
        default="auto",
        help="eager, sdpa, flash_attention_2 ..., or a kernel of the hub; auto: transformers' choice.",
    ),
    choice("--quantization", "none", "nf4", "int8"),
    click.option("--use-kernels", is_flag=True, help="Take the hub's kernels; needs the package `kernels`."),
    click.option("--revision", help="Commit or tag of a hub model."),
    click.option(
        "--template", help="Chat template: a Jinja file, or the model (hub id, folder) that has it."
    ),
    click.option("--template-kwargs", metavar="JSON", help='Variables of it: {"enable_thinking": false}.'),
)
"""A recipe's `model` section as options; `tests/cli` compares the two."""


def add_options(*options: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator that adds click options to a command, in their order."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def require_finite(_context: click.Context, _option: click.Parameter, value: float) -> float:
    """Refuse NaN, which is within every range."""
    if value != value:  # noqa: PLR0124
        raise click.BadParameter("nan is no number")
    return value


def refuse(option: str, *names: str) -> None:
    """Refuse options that cannot be combined with `option`."""
    for other in _set_options(names):
        raise click.UsageError(f"{option} and {other} do not go together")


def need(option: str, *names: str) -> None:
    """Refuse options that require `option`."""
    for other in _set_options(names):
        raise click.UsageError(f"{other} requires {option}")


def _set_options(names: tuple[str, ...]) -> list[str]:
    """Which of these options are set on the command line, as written there."""
    context = click.get_current_context()
    return [
        param.opts[0]
        for param in context.command.params
        if param.name in names and context.get_parameter_source(param.name) is ParameterSource.COMMANDLINE
    ]


def split_assignment(text: str, option: str, form: str) -> tuple[str, str]:
    """`KEY=VALUE` as a pair; `form` says in an error how to write it."""
    key, equals, value = text.partition("=")
    if not equals:
        raise click.BadParameter(f"{text}: write it as {form}", param_hint=option)
    return key, value


def load_recipe(recipe: str | Path, changes: tuple[str, ...] = ()) -> Recipe:
    """Load a recipe with `--set KEY=VALUE` put in; values are read as YAML."""
    from yaml import YAMLError

    from toolkit.recipe import load, read_yaml

    overrides: dict[str, object] = {}
    for change in changes:
        key, value = split_assignment(change, "--set", "KEY=VALUE")
        try:
            overrides[key] = read_yaml(value)
        except YAMLError as error:
            problem = getattr(error, "problem", None) or "not a YAML value"
            raise click.BadParameter(f"{change}: {problem}", param_hint="--set") from None
    return load(recipe, overrides)


def take_fields(options: dict[str, Any], *, remote: bool) -> dict[str, Any]:
    """Take the options that are set as fields of an endpoint; an error where none is used (`remote`)."""
    from toolkit.recipe import read_yaml

    if not remote:
        need("--endpoint", *ENDPOINT_FIELDS)
    fields = {name: options.pop(name) for name in (*ENDPOINT_FIELDS, "price")}
    fields = {name: value for name, value in fields.items() if value is not None}
    if "parameters" in fields:
        try:
            fields["parameters"] = read_yaml(fields["parameters"])
        except Exception as error:  # noqa: BLE001 - whatever its readers raise, it is no mapping
            raise InputError(f"--parameters: {' '.join(str(error).split())}") from None
        if not isinstance(fields["parameters"], dict):
            raise InputError("--parameters: write a mapping, such as '{top_k: 5, max_tokens: null}'")
    return fields


def build_endpoint(url: str, model: str, fields: dict[str, Any]) -> Endpoint:
    """The endpoint that the options describe; an `InputError` where one of them does not fit."""
    from pydantic import ValidationError

    from toolkit.recipe import Endpoint

    try:
        return Endpoint(url=url, model=model, **fields)
    except ValidationError as error:
        problem = error.errors()[0]
        field = str(problem["loc"][0]) if problem["loc"] else "url"
        option = "--endpoint" if field == "url" else f"--{field.replace('_', '-')}"
        raise InputError(f"{option}: {problem['msg'].removeprefix('Value error, ')}") from None


@dataclass(frozen=True)
class Chosen:
    """A model that is loaded, and which of its adapters to switch on."""

    loaded: Loaded
    name: str
    adapter: str | None

    @property
    def contestant(self) -> dict[str, Any]:
        """The keywords by which measuring functions take a contestant."""
        return {"contestant": self.name, "adapter": self.adapter}


def open_model(
    model: str,
    *,
    adapter: Path | None,
    name: str | None,
    template: str | None,
    template_kwargs: str | None,
    **options: Any,
) -> Chosen:
    """Load a model and attach its adapter; the options are fields of a recipe's `model` section."""
    from toolkit.io import parse_json
    from toolkit.models import load_base
    from toolkit.recipe import ModelOptions

    variables = {} if template_kwargs is None else parse_json(template_kwargs, "--template-kwargs")
    if not isinstance(variables, dict):
        raise InputError('--template-kwargs: give a JSON object, such as {"enable_thinking": false}')
    loaded = load_base(model, ModelOptions(chat_template=template, chat_template_kwargs=variables, **options))
    name = name or (adapter.resolve().name if adapter else Path(model).name.removesuffix(".gguf"))
    if adapter:
        loaded.attach(name, adapter)
    return Chosen(loaded, name, name if adapter else None)


def options_of_run(out: Path, options: dict[str, Any]) -> dict[str, Any]:
    """The options for results that go into a run: what is left at its default is as in the run's recipe."""
    from toolkit.run.folder import find_run

    run = find_run(out.resolve())
    if run is None:
        return options
    model = load_recipe(run.recipe).model
    own = {"template": model.chat_template, "dtype": model.dtype, "quantization": model.quantization}
    if model.chat_template_kwargs:
        own["template_kwargs"] = json.dumps(model.chat_template_kwargs)
    return options | {name: value for name, value in own.items() if options[name] in (None, "auto", "none")}
