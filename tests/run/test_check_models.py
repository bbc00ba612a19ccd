"""`check` finds models and encoders that could not be loaded when it is their turn."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import BertConfig, T5Config

from toolkit.data import load_rows
from toolkit.errors import DataError, ModelError
from toolkit.recipe import load
from toolkit.run.checks import check, error
from toolkit.run.checks.config import _attention
from toolkit.train import train_stage


@pytest.fixture
def encoder(tiny_model: Path, tmp_path: Path) -> Path:
    """A folder with an encoder's configuration."""
    folder = Path(shutil.copytree(tiny_model, tmp_path / "encoder"))
    BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2).save_pretrained(folder)
    return folder


def findings(recipe: Path, **changes: Any) -> dict[str, str]:
    """Place -> message of the errors on models."""
    recipe.write_text(yaml.safe_dump(yaml.safe_load(recipe.read_text()) | changes))
    found = check(load(recipe)).findings
    codes = ("model", "encoder", "vocabulary", "base-not-checked")
    return {each.place: each.message for each in found if each.severity == "error" and each.code in codes}


def test_models_that_are_there_are_no_findings(small_recipe: Path):
    assert findings(small_recipe) == {}


def test_an_encoder_is_no_base_no_contestant_and_no_judge(small_recipe: Path, encoder: Path):
    assert "an encoder (bert)" in findings(small_recipe, base=str(encoder))["base"]
    contestants = {"base": {}, "other": {"model": str(encoder)}}
    found = findings(small_recipe, stages=[], contestants=contestants, judge={"model": str(encoder)})
    assert found.keys() >= {"contestants.other.model", "judge.model"}
    T5Config(d_model=32, num_layers=1).save_pretrained(encoder)  # whose type has no decoder of its own
    assert "an encoder-decoder model (t5)" in findings(small_recipe, base=str(encoder))["base"]


def test_models_that_are_not_there(small_recipe: Path):
    contestants = {"base": {}, "other": {"model": "/nowhere/model"}}
    scoring = yaml.safe_load(small_recipe.read_text())["scoring"]
    scoring |= {"metrics": ["bertscore"], "bertscore_model": "nothing"}
    found = findings(small_recipe, stages=[], contestants=contestants, scoring=scoring, judge=None)
    assert "no such model" in found["contestants.other.model"]
    assert "no such encoder" in found["scoring.bertscore_model"]


def test_a_tokenizer_larger_than_the_embedding(small_recipe: Path, tiny_model: Path, tmp_path: Path):
    from toolkit.models.loading import load_tokenizer

    own = Path(shutil.copytree(tiny_model, tmp_path / "own"))
    tokenizer = load_tokenizer(own)
    tokenizer.add_tokens([f"<new{n}>" for n in range(400)])
    tokenizer.save_pretrained(own)
    assert "its tokenizer has token ids up to" in findings(small_recipe, base=str(own))["base"]
    recipe = load(small_recipe)
    with pytest.raises(ModelError, match="its tokenizer has token ids up to"):
        train_stage(recipe, recipe.stages[0], tmp_path / "run")
    contestants = {"base": {}, "other": {"model": str(own)}}
    changed = {
        "base": str(tiny_model),
        "stages": [],
        "contestants": contestants,
        "judge": {"model": str(own)},
    }
    assert findings(small_recipe, **changed).keys() == {"contestants.other.model", "judge.model"}


@pytest.mark.parametrize(
    ("attention", "message"),
    [
        ("sdpa", None),
        ("flex_attention", None),
        ("foo", "transformers has no attention foo"),
        ("kernels-community/flash-attn2", "needs a CUDA GPU"),
        ("flash_attention_2", "needs a CUDA GPU"),
    ],
)
def test_attention_is_known_and_has_what_it_needs(attention: str, message: str | None):
    found = [each.message for each in _attention(attention, False, error, False) if each.code == "attention"]
    assert (message in found[0]) if message else not found


def test_flex_attention_trains_on_no_cpu():
    (found,) = _attention("flex_attention", False, error, True)
    assert found.message == "flex_attention needs a CUDA GPU, not found here"


def test_what_this_machine_cannot_do_is_found_before(small_recipe: Path):
    raw = yaml.safe_load(small_recipe.read_text())
    raw["model"]["dtype"], raw["stages"][0]["trainer"]["fsdp"] = "float16", "full_shard"
    raw["scoring"]["generation"]["engine_command"] = "no-such-engine serve"
    small_recipe.write_text(yaml.safe_dump(raw))
    found = {each.place for each in check(load(small_recipe)).findings if each.severity == "error"}
    assert {"model.dtype", "stages.sft.trainer.fsdp", "scoring.generation.engine"} <= found
    raw["data"]["sft"]["split"] = "test"
    small_recipe.write_text(yaml.safe_dump(raw))
    with pytest.raises(DataError, match="a file has no subset and no split"):
        load_rows(load(small_recipe).data["sft"])
