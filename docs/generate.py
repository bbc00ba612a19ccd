"""Writes the reference pages from the code they describe: `python docs/generate.py`.

A test fails while a page on disk is not what this would write.
"""

from __future__ import annotations

import inspect
import json
import re
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from docs.outputs import OUTPUTS
from toolkit import io, recipe
from toolkit.cli import COMMANDS, main
from toolkit.recipe.schema import NameIn

REFERENCE = Path(__file__).parent / "reference"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
NOTE = "<!-- Written by docs/generate.py; do not edit. -->\n"

COMMANDS_INTRO = """\
# Commands

Results go to stdout, progress to stderr. Exit codes: 0 done, 1 the work failed, 2 the input is wrong, 130
interrupted (the same command continues). Every command has `--help`, and `--json` for machines, whose keys
are in [Machine output](output.md).

Shells complete commands and options; for bash (zsh and fish alike), once:

```sh
_ADAPTER_ARENA_COMPLETE=bash_source adapter-arena > ~/.adapter-arena-complete.bash
echo '. ~/.adapter-arena-complete.bash' >> ~/.bashrc
```
"""

RECIPE_INTRO = """\
# Recipe keys

A recipe is one YAML file. Its JSON Schema is [recipe.json](schemas/recipe.json): with the YAML language
server an editor completes and checks keys while you type. Names are letters, digits, `.`, `_`, `-`, at
most 64. An unknown key is an error, and the nearest known one is named; all mistakes are listed at once.
Files (data, judge prompts, task files, chat templates) are found beside the recipe that names them, model
folders from where the command is run. Any key can be changed from the command line:
`--set stages.0.trainer.max_steps=5`.
"""

MEASUREMENTS_INTRO = """\
# Measurements

What the scripts in `perf/` printed last, by topic (`perf/results/`), on machines with two CPU cores
each. Nothing was measured on a GPU.
"""

OUTPUT_INTRO = """\
# Machine output

What commands print with `--json`, each with its JSON Schema. Keys and metric names do not change without a
version bump. `summary.json` in a run folder is what `run` prints.
"""


def pages() -> dict[Path, str]:
    """File -> what it should hold."""
    found = {
        REFERENCE / "cli.md": commands(),
        REFERENCE / "recipe.md": recipe_keys(),
        REFERENCE / "output.md": outputs(),
        REFERENCE / "measurements.md": measurements(),
    }
    for name, kind in OUTPUTS.items():
        described = {"$schema": DIALECT, **kind.model_json_schema(mode="serialization")}
        described["title"] = f"adapter-arena {name} --json"
        found[schema_file(name)] = _json(described)
    found[REFERENCE / "schemas" / "recipe.json"] = _json(recipe_schema())
    return found


def recipe_schema() -> dict[str, Any]:
    """The schema of a recipe; one that extends another need not repeat what that one says."""
    found = {"$schema": DIALECT, **recipe.Recipe.model_json_schema(), "title": "adapter-arena recipe"}
    sources = {"additionalProperties": {"required": found["$defs"]["DataSource"].pop("required")}}
    whole = {"required": found.pop("required"), "properties": {"data": sources}}
    return found | {"anyOf": [{"required": ["extends"]}, whole]}


def measurements() -> str:
    """Recorded output of the scripts in perf/."""
    files = sorted((Path(__file__).parents[1] / "perf" / "results").glob("*.md"))
    return "\n".join([NOTE, MEASUREMENTS_INTRO, *(file.read_text(encoding="utf-8") for file in files)])


def schema_file(command: str) -> Path:
    """Where the schema of a command's output lies."""
    return REFERENCE / "schemas" / f"{command.replace(' ', '-').replace('--', '')}.json"


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def every_command() -> Iterator[tuple[str, click.Command]]:
    """Name, as typed, and command; of a group also every command in it."""
    context = click.Context(main, info_name="adapter-arena")
    for name in COMMANDS:
        command = main.get_command(context, name)
        assert command is not None
        yield name, command
        if isinstance(command, click.Group):
            yield from ((f"{name} {sub}", part) for sub, part in command.commands.items())


def commands() -> str:
    """Every command with its help, arguments and options."""
    parts = [NOTE, COMMANDS_INTRO]
    for name, command in every_command():
        parts.append(f"## {name}\n")
        parts += _described(name, command)
    return "\n".join(parts)


def _described(name: str, command: click.Command) -> list[str]:
    context = click.Context(command, info_name=f"adapter-arena {name}", show_default=True)
    text = inspect.cleandoc(command.help or "").replace("<", "&lt;")
    about, _, examples = text.partition("\b\n")
    usage = " ".join(command.collect_usage_pieces(context))
    parts = [f"```text\nadapter-arena {name} {usage}\n```\n", about.strip() + "\n"]
    if examples:
        lines = [line.strip() for line in examples.splitlines() if line.strip().startswith("adapter-arena")]
        parts.append("\n".join(["```sh", *lines, "```\n"]))
    options = [param for param in command.params if isinstance(param, click.Option)]
    rows = [record for param in options if (record := param.get_help_record(context))]
    if rows:
        parts.append("| option | |\n| --- | --- |")
        parts.append("\n".join(f"| `{_cell(option)}` | {_cell(about)} |" for option, about in rows) + "\n")
    return parts


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|").replace("<", "&lt;").strip()


def recipe_keys() -> str:
    """Every key of a recipe, section by section."""
    parts = [NOTE, RECIPE_INTRO]
    for section, place in _sections():
        parts.append(f"## {place} ({_words(section.__name__)})\n" if place else "## The recipe itself\n")
        if section.__doc__ and section.__doc__ != recipe.Section.__doc__:
            parts.append(inspect.cleandoc(section.__doc__) + "\n")
        parts += _table(section.model_fields)
    return "\n".join(parts)


def _sections() -> list[tuple[type[BaseModel], str]]:
    """Every section of a recipe once, with where it stands, in the order they are met."""
    found: dict[type[BaseModel], str] = {}

    def visit(section: type[BaseModel], place: str) -> None:
        if section in found:
            return
        found[section] = place
        for name, field in section.model_fields.items():
            for inner in _models(field.annotation):
                visit(inner, f"{place}.{name}".lstrip(".") + _many(field.annotation))

    visit(recipe.Recipe, "")
    return list(found.items())


def _many(annotation: Any) -> str:
    """What stands between a key and the section below it: a name of one's own, or a place in a list."""
    origin = get_origin(annotation)
    return ".NAME" if origin is dict else "[]" if origin in (tuple, list) else ""


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)


def _table(fields: Mapping[str, FieldInfo], *, defaults: bool = True) -> list[str]:
    titles = ["key", "type", *(["default"] if defaults else []), ""]
    rows = []
    for name, field in fields.items():
        if field.exclude and not defaults:  # an output that is never written
            continue
        cells = [f"`{name}`", _type(Annotated[field.annotation, *field.metadata, None])]
        cells += [_default(field)] if defaults else []
        rows.append(f"| {' | '.join([*cells, _cell(field.description or '')])} |")
    head = [f"| {' | '.join(titles)} |", f"|{' --- |' * len(titles)}"]
    return ["\n".join([*head, *rows]) + "\n"]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "*required*"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "its own"
    plain = list(value) if isinstance(value, tuple) else value
    return f"`{json.dumps(plain)}`"


def _type(annotation: Any) -> str:
    """A type in words of YAML."""
    origin, inner = get_origin(annotation), get_args(annotation)
    named = [part.names for part in inner if isinstance(part, NameIn)]
    if origin is Literal or named:
        return ", ".join(f"`{value}`" for value in (*named, inner)[0])
    if origin in (Annotated, Union, types.UnionType):
        parts = inner[:1] if origin is Annotated else inner
        return " or ".join(_type(part) for part in parts if part is not type(None))
    if origin in (dict, tuple, list):
        return f"mapping of names to {_type(inner[1])}" if origin is dict else f"list of {_type(inner[0])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _words(annotation.__name__)
    return {str: "text", int: "whole number", float: "number", bool: "true or false"}.get(
        annotation, "anything"
    )


def _words(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()


def outputs() -> str:
    """What every command prints with `--json`."""
    parts = [NOTE, OUTPUT_INTRO]
    shown: dict[type[BaseModel], None] = {}
    for name, kind in OUTPUTS.items():
        parts.append(f"## {name.replace('--', '')}\n\n[schema](schemas/{schema_file(name).name})\n")
        parts += _table(kind.model_fields, defaults=False)
        shown |= dict.fromkeys(
            inner for field in kind.model_fields.values() for inner in _models(field.annotation)
        )
    parts.append("## Parts\n")
    for kind in _closed(shown):
        parts.append(f"### {_words(kind.__name__)}\n")
        own = kind.__doc__ if "__doc__" in vars(kind) else None
        parts += [inspect.cleandoc(own) + "\n"] if own else []
        parts += _table(kind.model_fields, defaults=False)
    return "\n".join(parts)


def _closed(kinds: dict[type[BaseModel], None]) -> list[type[BaseModel]]:
    """The kinds and all kinds inside them."""
    waiting = list(kinds)
    for kind in waiting:
        inner = [part for field in kind.model_fields.values() for part in _models(field.annotation)]
        waiting += [part for part in dict.fromkeys(inner) if part not in waiting]
    return waiting


if __name__ == "__main__":
    for file, text in pages().items():
        io.write_text(file, text)
