"""The command's frame: quick help, clear errors, completion, and no command without a module."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from toolkit.cli import COMMANDS, MODULES, main
from toolkit.cli.output import print_json, print_table
from toolkit.errors import DataError, TrainingError
from toolkit.types import Score

HEAVY = """
    torch transformers trl peft datasets evaluate lm_eval streamlit
    pandas numpy scipy sqlalchemy jinja2 pydantic
""".split()
ROOT = Path(__file__).parents[2]


def fresh(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command, under its own name, in an interpreter of its own."""
    code = "from toolkit.cli import main; main(prog_name='adapter-arena')"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
        cwd=ROOT,
    )


@pytest.mark.matrix
@pytest.mark.parametrize(
    "arguments", [[], *([name] for name in COMMANDS)], ids=lambda a: " ".join(a) or "all"
)
def test_help_imports_nothing_heavy(arguments):
    code = f"""
import json, sys
from click.testing import CliRunner
from toolkit.cli import main
result = CliRunner().invoke(main, {[*arguments, "--help"]!r})
assert result.exit_code == 0, result.output
print(json.dumps(sorted(set({HEAVY!r}) & set(sys.modules))))
"""
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert json.loads(found.stdout) == []


def test_help_lists_every_command():
    result = CliRunner().invoke(main, ["--help"])
    for name, line in COMMANDS.items():
        assert name in result.output
        assert line.split()[0] in result.output


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_module_and_a_summary(name):
    command = main.get_command(click.Context(main), name)
    assert isinstance(command, click.Command)
    assert command.name == name
    each = command.commands.values() if isinstance(command, click.Group) else [command]
    for one in each:
        assert one.help
        assert "\\b" not in one.help, "click's mark is the character backspace, not these two letters"


def test_every_command_written_is_offered():
    folder = Path(importlib.import_module("toolkit.cli").__file__).parent
    found = {
        file.stem: re.findall(r"^@click\.(?:command|group)\(\"(.*)\"", file.read_text(), re.MULTILINE)
        for file in folder.glob("*.py")
    }
    assert {name: set(each) for name, each in found.items() if each} == {
        name: set(each) for name, each in MODULES.items()
    }
    assert {name for each in found.values() for name in each} == set(COMMANDS)


@pytest.mark.parametrize(("typed", "meant"), [("reprot", "report"), ("rating", "ratings"), ("runn", "run")])
def test_a_mistyped_command_gets_the_nearest_name(typed, meant):
    result = CliRunner().invoke(main, [typed])
    assert result.exit_code == 2
    assert f"No such command '{typed}'; did you mean '{meant}'?" in result.output


def test_a_word_like_no_command_gets_that_message():
    result = CliRunner().invoke(main, ["zzzzzz"])
    assert result.exit_code == 2
    assert "No such command 'zzzzzz'." in result.output


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_can_complete_it(shell):
    script = fresh(_ADAPTER_ARENA_COMPLETE=f"{shell}_source")
    assert script.returncode == 0
    assert "complete" in script.stdout


def test_completion_offers_commands_and_options():
    from click.shell_completion import ShellComplete

    complete = ShellComplete(main, {}, "adapter-arena", "_ADAPTER_ARENA_COMPLETE")
    assert [item.value for item in complete.get_completions([], "r")] == [n for n in COMMANDS if n[0] == "r"]
    assert "--json" in [item.value for item in complete.get_completions(["report"], "--")]


def test_the_version_is_the_packages():
    from toolkit import __version__

    assert fresh("--version").stdout.strip() == f"adapter-arena, version {__version__}"


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (DataError("x.jsonl:3: wrong"), 2, "error: x.jsonl:3: wrong\n"),
        (TrainingError("no gradient"), 1, "error: no gradient\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_errors_are_one_line_and_an_exit_code(monkeypatch, error, code, message):
    module = importlib.import_module("toolkit.cli.runs")

    @click.command("report")
    def failing() -> None:
        raise error

    monkeypatch.setattr(module, "report_command", failing)
    result = CliRunner().invoke(main, ["report"])
    assert (result.exit_code, result.stderr, result.stdout) == (code, message, "")


def test_only_commands_that_continue_say_so(monkeypatch):
    module = importlib.import_module("toolkit.cli.recipes")

    @click.command("run")
    def stopped() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "run_command", stopped)
    message = CliRunner().invoke(main, ["run"]).stderr
    assert message == "interrupted; the same command continues where it stopped\n"


def test_json_output_holds_records(capsys):
    print_json({"scores": [Score(contestant="c", metric="m", value=0.5, n=2)]})
    assert json.loads(capsys.readouterr().out)["scores"][0]["value"] == 0.5
    with pytest.raises(TypeError, match="object is not JSON"):
        print_json(object())


def test_tables_are_aligned(capsys):
    print_table(["name", "n"], [["a", "1"], ["long name", "100"]])
    assert capsys.readouterr().out == "name         n\na            1\nlong name  100\n"
