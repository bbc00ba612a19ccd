"""Templates that would stop the process are refused before they are rendered in it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from toolkit.cli import main
from toolkit.errors import DataError, ModelError
from toolkit.jinja_limits import find_overrun
from toolkit.judge.prompts import load_prompt
from toolkit.models.loading import load_tokenizer

ENDLESS = {
    "nested loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "a long range": "{% for i in range(10**9) %}x{% endfor %}",
    "a long text": "{{ 'x' * 10**9 }}",
    "a text that fits": "{{ 'x' * 10**7 }}",
    "a wide field": "{{ '%1000000000d'|format(1) }}",
    "a macro": "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
    "a tree of macros": "{% macro f(n) %}{% if n %}{{ f(n-1) ~ f(n-1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "a later turn": "{% if messages|length > 4 %}{% set l = [0] * 10**9 %}{% endif %}",
    "after a token": "{{ bos_token + 'x' * 10**9 }}",
}


@pytest.mark.matrix
@pytest.mark.parametrize("template", ENDLESS.values(), ids=ENDLESS)
def test_a_template_without_bounds_is_found_in_seconds(template: str):
    assert find_overrun(template)
    assert find_overrun({"default": "{{ 1 }}", "other": template})


def test_ordinary_templates_pass(tiny_model: Path):
    assert find_overrun((tiny_model / "chat_template.jinja").read_text()) is None
    assert find_overrun("{% generation %}{{ messages[0].content }}{% endgeneration %}") is None
    assert find_overrun("{{ raise_exception('no') }}") is None
    assert find_overrun(None) is None


def test_models_and_commands_refuse_one_in_one_line(tiny_model: Path, tmp_path: Path):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    (folder / "chat_template.jinja").write_text("{{ 'x' * 10**9 }}")
    with pytest.raises(ModelError, match="model: its chat template writes a text without bounds"):
        load_tokenizer(folder)
    (tmp_path / "q.jsonl").write_text('{"prompt": "hello"}\n')
    arguments = ["answer", str(folder), str(tmp_path / "q.jsonl"), "--out", str(tmp_path / "out.jsonl")]
    found = CliRunner().invoke(main, arguments)
    assert (found.exit_code, found.stderr.count("\n")) == (2, 1)
    assert "its chat template writes a text without bounds" in found.stderr


@pytest.mark.slow
def test_a_judge_prompt_without_bounds_is_refused(tmp_path: Path):
    file = tmp_path / "mine.yaml"
    user = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}{{ answer_1 }}"
    file.write_text(f"system: s\nuser: '{user}'\nletter: l\nwritten: w\n")
    with pytest.raises(DataError, match=r"mine\.yaml: user: the template takes more than 2 seconds"):
        load_prompt(file)
