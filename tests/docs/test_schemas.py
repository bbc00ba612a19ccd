"""The schemas fit the recipes that are shipped and the summaries that are written."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from tests.report.runs import write_run
from toolkit import io, recipe

SCHEMAS = Path(__file__).parents[2] / "docs" / "reference" / "schemas"
SUMMARY, RECIPE = SCHEMAS / "run.json", SCHEMAS / "recipe.json"


def validator(file: Path) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(io.read_json(file))


def test_a_written_summary_fits(tmp_path):
    summary = io.read_json(write_run(tmp_path / "run") / "summary.json")
    validator(SUMMARY).validate(summary)
    del summary["scores"][0]["n"]
    assert not validator(SUMMARY).is_valid(summary)


@pytest.mark.parametrize("file", sorted(recipe.PACKAGED.glob("*.yaml")), ids=lambda file: file.stem)
def test_packaged_recipes_fit(file):
    raw = recipe.read_yaml(file.read_text(encoding="utf-8"))
    validator(RECIPE).validate(raw)
    assert not validator(RECIPE).is_valid(raw | {"basee": "x"})
    assert not validator(RECIPE).is_valid({"base": "x"})
    assert validator(RECIPE).is_valid({"name": "x", "extends": "demo"})


def test_an_editor_gets_what_every_key_of_the_top_sections_means():
    definitions = io.read_json(RECIPE)["$defs"]
    assert "Relative files" in definitions["DataSource"]["properties"]["source"]["description"]
    assert yaml.safe_load(json.dumps(definitions["Stage"]["properties"]["start"]["default"])) == "base"
