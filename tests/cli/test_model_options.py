"""Commands that load a model take what a recipe's `model` section takes."""

from __future__ import annotations

from toolkit.cli.inference import answer_command, bench_command, perplexity_command
from toolkit.recipe import ModelOptions

RENAMED = {"chat_template": "template", "chat_template_kwargs": "template_kwargs"}


def test_every_field_is_an_option():
    fields = {RENAMED.get(name, name) for name in ModelOptions.model_fields}
    for command in (answer_command, bench_command, perplexity_command):
        assert fields <= {option.name for option in command.params}
