"""What README and documentation tell a reader to type works.

Every `adapter-arena` line is parsed by the real command: its name, options, values and arguments. Beyond that
the rule is: commands that read and write files in seconds are run, page by page, in their order, and so are
those that ask the packaged model a few questions; those that train for minutes, open a server, or need the
hub, an endpoint or PostgreSQL are only parsed.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tests.docs.pages import PAGES, ROOT, Typed, blocks, name_of, typed
from toolkit.cli import COMMANDS, main

RUN = {
    "init", "doctor", "check", "metrics", "score", "leaderboard", "ratings", "agreement", "report", "votes",
    "preferences",
}  # fmt: skip
ASK = {"answer", "perplexity", "bench"}
ELSEWHERE = ("--endpoint", "postgresql", "MODEL", "chapter", "gsm8k", "votes forget")
"""Words of lines that need what is not here."""

LINES = {page: [line for line in typed(page) if line.words[0] == "adapter-arena"] for page in PAGES}
WITH_LINES = [page for page, lines in LINES.items() if lines]


def is_run(line: Typed) -> bool:
    if line.command == "judge":
        return "--estimate" in line.words and "MODEL" not in line.words
    return line.command in RUN and not any(word in line.line for word in ELSEWHERE)


def is_asked(line: Typed) -> bool:
    """Not with an adapter: the example run in the repository has no weights."""
    needs = (*ELSEWHERE, "--adapter")
    return line.command in ASK and not any(word in line.line for word in needs)


def arguments(line: Typed) -> list[str]:
    """Without the command's own name and what the shell does itself: redirection, names with a star."""
    words = list(line.words[1:])
    words = words[: words.index(">")] if ">" in words else words
    return [
        found for word in words for found in (sorted(map(str, Path().glob(word))) if "*" in word else [word])
    ]


def parse(words: list[str]) -> None:
    """As the command itself would, without running anything.

    Raises:
        click.ClickException: the command would refuse it.
    """
    context = click.Context(main, info_name="adapter-arena")
    name, command, rest = main.resolve_command(context, words)
    if isinstance(command, click.Group) and rest and rest[0] in command.commands:
        name, command, rest = command.resolve_command(context, rest)
    assert command is not None
    command.make_context(name, rest, parent=context)


@pytest.mark.parametrize("page", WITH_LINES, ids=name_of)
def test_every_line_is_one_that_the_command_takes(page: Path, workspace: Path):
    for line in LINES[page]:
        if not arguments(line):  # the shell asks for its completion
            continue
        try:
            parse(arguments(line))
        except click.ClickException as error:
            pytest.fail(f"{name_of(page)}: {line.line}: {error.format_message()}")


def carry_out(line: Typed) -> None:
    done = CliRunner().invoke(main, arguments(line), input="smollm2-135m-instruct\ntrain.jsonl\ntest.jsonl\n")
    finding = line.command in ("check", "doctor") and done.exit_code in (1, 2) and "error:" not in done.stderr
    assert done.exit_code == 0 or finding, f"{line.line}: {done.output}{done.exception}"


def lay_out_files(page: Path) -> None:
    """Blocks that say what file they are, and recipes that later lines of the page use."""
    for block in blocks(page, "yaml"):
        named = re.match(r"# ([\w-]+\.yaml)\n", block)
        if named:
            Path(named[1]).write_text(block)
        elif "name: demo-round-2" in block:
            Path("round-2.yaml").write_text(block)


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in WITH_LINES if any(map(is_run, LINES[p]))], ids=name_of)
def test_lines_that_take_seconds_are_run(page: Path, workspace: Path):
    lay_out_files(page)
    if not any("init mine.yaml" in line.line for line in LINES[page]):
        carry_out(Typed("", ("adapter-arena", "init", "mine.yaml")))
    for line in filter(is_run, LINES[page]):
        if line.command == "init":
            Path(arguments(line)[1]).unlink(missing_ok=True)
        carry_out(line)


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in WITH_LINES if any(map(is_asked, LINES[p]))], ids=name_of)
def test_lines_that_run_a_small_model_are_run(page: Path, workspace: Path):
    lay_out_files(page)
    (workspace / "my_choice.jsonl").write_text((ROOT / "toolkit/recipes/tickets/choice.jsonl").read_text())
    (
        workspace / "base.jsonl"
    ).unlink()  # what `answer` writes in these pages; it adds to no file of another model
    for line in filter(is_asked, LINES[page]):
        limits = {"--limit": "2"} | ({"--max-new-tokens": "8"} if line.command == "answer" else {})
        more = [word for limit in limits.items() if limit[0] not in line.words for word in limit]
        carry_out(Typed(line.line, (*line.words, *more)))


def test_other_lines_name_things_that_exist():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in [line for page in PAGES for line in typed(page) if line.words[0] != "adapter-arena"]:
        first, rest = line.words[0], line.words[1:]
        if first == "make":
            assert set(rest) <= targets, line.line
        elif first == "python":
            assert any(
                (ROOT / word).is_file() or (ROOT / f"{word.replace('.', '/')}.py").is_file() for word in rest
            )
        elif first == "pip":
            extras = re.findall(r"adapter-arena\[(\w+)\]", line.line)
            assert set(extras) <= set(project["optional-dependencies"]), line.line
        else:
            assert first in ("git", "cd", "echo"), line.line


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_in_the_text_exist_with_their_options(page: Path):
    context = click.Context(main)
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for name, rest in re.findall(r"`adapter-arena ([a-z]+)([^`]*)`", text):
        assert name in COMMANDS, f"{name_of(page)} names `adapter-arena {name}`"
        command = main.get_command(context, name)
        parts = command.commands.values() if isinstance(command, click.Group) else [command]
        known = {option for part in parts for param in part.params for option in param.opts}
        assert set(re.findall(r"--[a-z][a-z-]+", rest)) <= known, f"{name_of(page)}: {name}{rest}"
