"""Pages are up to date, lead somewhere, load nothing from elsewhere, and their examples hold."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import jsonschema
import pytest
import yaml

from tests.docs.pages import PAGES, ROOT, blocks, name_of
from toolkit import recipe
from toolkit.cli import COMMANDS

SMALL = {
    "name": "small",
    "base": "some-model",
    "data": {name: {"source": f"{name}.jsonl"} for name in ("answers", "train", "test", "pairs")},
    "stages": [{"name": "sft", "method": "sft", "data": "train"}],
    "scoring": {"examples": "test"},
}
"""What a block that shows one part of a recipe is a part of."""


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATED = generator().pages()


@pytest.mark.parametrize("file", GENERATED, ids=lambda file: file.name)
def test_generated_pages_are_up_to_date_with_the_code(file: Path):
    assert file.read_text(encoding="utf-8") == GENERATED[file], "stale: run python docs/generate.py"
    if file.suffix == ".json":
        jsonschema.Draft202012Validator.check_schema(json.loads(GENERATED[file]))


def test_no_schema_is_left_from_a_command_that_is_gone():
    there = set((ROOT / "docs" / "reference").rglob("*.*"))
    assert there == set(GENERATED)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does."""
    pytest.importorskip("mkdocs")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_link_and_anchor_leads_somewhere(site: Path):
    assert {page.relative_to(ROOT / "docs").with_suffix(".html") for page in PAGES[1:]} <= {
        page.relative_to(site) for page in site.rglob("*.html")
    }


def test_the_site_loads_nothing_from_elsewhere(site: Path):
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.findall(r"<(?:script|img|iframe)[^>]*src=\"(?:https?:)?//[^\"]*\"", text), page
        assert not re.findall(r"<link[^>]*rel=\"(?!canonical)[^\"]*\"[^>]*href=\"(?:https?:)?//", text), page


def test_the_readmes_links_lead_to_files():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if not link.startswith("http"):
            assert (ROOT / link.partition("#")[0]).exists(), link


def test_every_command_is_in_the_readme():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [
        name for name in COMMANDS if f"`{name}`" not in text and f"adapter-arena {name}" not in text
    ] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_recipes_shown_are_recipes(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ADAPTER_ARENA_DATA", str(tmp_path))
    demo = shutil.copytree(Path("results/demo-example"), tmp_path / "results" / "demo")
    (demo / "adapters" / "sft" / "adapter_config.json").write_text("{}")
    for block in blocks(page, "yaml"):
        raw = yaml.safe_load(block)
        if not isinstance(raw, dict) or "dataset_path" in raw:  # a comment, CI's steps, a benchmark task
            continue
        file = tmp_path / "shown.yaml"
        file.write_text(block if {"extends", "base"} & raw.keys() else yaml.safe_dump(SMALL | raw))
        recipe.load(file)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=name_of)
def test_python_shown_runs(page: Path, workspace: Path):
    for block in blocks(page, "python"):
        with contextlib.redirect_stdout(io.StringIO()) as output:
            exec(compile(block, name_of(page), "exec"), {})
        assert output.getvalue()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_json_shown_is_json(page: Path):
    for block in blocks(page, "json", "jsonl"):
        for line in block.splitlines():
            json.loads(line)
