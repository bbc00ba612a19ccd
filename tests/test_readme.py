"""What the README and the packaged recipes say is true."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from toolkit import recipe
from toolkit.cli import COMMANDS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language: str, page: Path) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("name", sorted(file.stem for file in recipe.PACKAGED.glob("*.yaml")))
def test_every_packaged_recipe_parses(name, monkeypatch, tmp_path):
    monkeypatch.setenv("ADAPTER_ARENA_DATA", str(tmp_path))
    assert recipe.load(name).name == name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_shown_exists_with_its_options(page):
    for command, rest in re.findall(r"adapter-arena ([a-z]+)([^\n`|]*)", page.read_text(encoding="utf-8")):
        assert command in COMMANDS, f"{page.name} shows `adapter-arena {command}`"
        options = re.findall(r"--[a-z][a-z-]+", rest.split(" #")[0])
        if options:
            text = help_of(command)
            assert all(option in text for option in options), f"{page.name}: {command} {rest}"


def test_every_command_is_in_the_readme_and_has_help():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for command in COMMANDS:
        assert f"`{command}`" in readme or f"adapter-arena {command}" in readme, (
            f"README says nothing of {command}"
        )


def test_the_readmes_own_recipe_parses(tmp_path):
    (text,) = blocks("yaml", ROOT / "README.md")
    found = recipe.parse(yaml.safe_load(text), tmp_path / "mine.yaml")
    assert [stage.name for stage in found.chain("dpo")] == ["sft", "dpo"]


def help_of(command: str) -> str:
    asked = [sys.executable, "-m", "toolkit.cli", command, "--help"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout
