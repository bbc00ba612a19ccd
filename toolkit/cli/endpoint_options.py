"""The options of commands that may ask a server, as a recipe's `endpoint` section has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from toolkit.cli.option_checks import need

if TYPE_CHECKING:
    from toolkit.recipe import Endpoint

OPTIONS = (
    click.option("--endpoint", metavar="URL", help="Server of the model, up to /v1; left out, it is local."),
    click.option("--key-env", metavar="NAME", help="Environment variable that holds the server's API key."),
    click.option("--parameters", metavar="MAPPING", help="Further fields of every request: '{top_k: 5}'."),
    click.option("--timeout", type=click.FloatRange(0, min_open=True), help="Seconds for one request."),
    click.option("--concurrency", type=click.IntRange(1, 512), help="Requests under way at a time."),
    click.option("--price", nargs=2, type=float, help="Dollars for a million tokens in, and out."),
    click.option("--budget-usd", type=float, help="Dollars to spend at most; needs --price."),
)
NAMES = ("key_env", "parameters", "timeout", "concurrency", "budget_usd")
"""Fields of an endpoint that mean nothing without one; a price may be that of any judge."""


def endpoint_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command; it hands what it gets to `take_fields`."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def take_fields(options: dict[str, Any], *, remote: bool) -> dict[str, Any]:
    """Take the endpoint's options out of a command's, as fields of an endpoint; those not given are left out.

    Args:
        options: what the command got.
        remote: whether an endpoint is asked; if not, its options are an error.

    Raises:
        InputError: `--parameters` is no mapping.
    """
    from toolkit.errors import InputError
    from toolkit.recipe import read_yaml

    if not remote:
        need("--endpoint", *NAMES)
    fields = {name: options.pop(name) for name in (*NAMES, "price")}
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
    """The endpoint that the options describe.

    Raises:
        InputError: one of them does not fit.
    """
    from pydantic import ValidationError

    from toolkit.errors import InputError
    from toolkit.recipe import Endpoint

    try:
        return Endpoint(url=url, model=model, **fields)
    except ValidationError as error:
        problem = error.errors()[0]
        option = (
            "-".join(["-", *map(str, problem["loc"][:1])]).replace("_", "-").replace("--url", "--endpoint")
        )
        words = problem["msg"].removeprefix("Value error, ")
        raise InputError(f"{option if problem['loc'] else '--endpoint'}: {words}") from None
