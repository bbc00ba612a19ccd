"""The first and the last resort: a recipe from three answers, and what this machine has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from toolkit import recipe as recipes
from toolkit.cli import main
from toolkit.run import doctor

ROWS = {
    "sft": {"prompt": "my lamp", "completion": "a lamp"},
    "dpo": {"prompt": "my lamp", "chosen": "a lamp", "rejected": "no"},
    "kto": {"prompt": "my lamp", "completion": "a lamp", "label": True},
    "text": {"text": "a lamp"},
}


@pytest.mark.parametrize("method", ROWS)
def test_three_answers_make_a_recipe_that_checks(method: str, tmp_path: Path, tiny_model: Path):
    other = {"prompt": "an urn, please", "completion": "an urn"}
    opposite = ROWS[method] | ({"label": False} if method == "kto" else {})
    (tmp_path / "train.jsonl").write_text(f"{json.dumps(ROWS[method])}\n{json.dumps(opposite)}\n")
    (tmp_path / "test.jsonl").write_text(json.dumps(other))
    answers = f"{tiny_model}\ntrain.jsonl\ntest.jsonl\n"
    file = tmp_path / "mine.yaml"
    done = CliRunner().invoke(main, ["init", str(file)], input=answers)
    assert done.exit_code == 0, done.output
    recipe = recipes.load(file)
    assert recipe.stages[0].method == method
    assert recipe.scoring is not None
    checked = CliRunner().invoke(main, ["check", str(file)])
    assert checked.exit_code == 0, checked.output
    again = CliRunner().invoke(main, ["init", str(file)], input=answers)
    assert again.exit_code == 2
    assert "is there already" in again.output


def test_a_bad_answer_writes_nothing(tmp_path: Path):
    file = tmp_path / "mine.yaml"
    gone = CliRunner().invoke(main, ["init", str(file)], input="x/y\ngone.jsonl\n\n")
    assert gone.exit_code == 2
    assert "no such data file" in gone.output
    assert not file.exists()


def test_doctor_reports_what_is_used_and_why():
    shown = CliRunner().invoke(main, ["doctor", "--json"])
    lines = {line["what"]: line for line in json.loads(shown.stdout)["lines"]}
    assert "torch" in lines["packages"]["found"]
    assert lines["smollm2-135m-instruct"]["state"] in ("ok", "missing")
    assert shown.exit_code == any(line["state"] == "missing" for line in lines.values())
    assert "GPU" in CliRunner().invoke(main, ["doctor"]).output


def test_doctor_names_what_is_missing_and_the_command(monkeypatch: pytest.MonkeyPatch):
    needed = ["nowhere-at-all>=2", "torch<0.1", 'x; extra == "y"']
    monkeypatch.setattr(doctor.metadata, "requires", lambda _: needed)
    lines = doctor.examine()
    wrong = {line.what: line for line in lines if line.state == "missing"}
    assert wrong["nowhere-at-all"].fix == 'pip install "nowhere-at-all>=2"'
    assert "is installed, <0.1 is needed" in wrong["torch"].found
    assert CliRunner().invoke(main, ["doctor"]).exit_code == 1
