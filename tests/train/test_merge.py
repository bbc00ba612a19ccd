"""Merged models: what transformers loads is what was trained, and the card says how nearly."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from peft import PeftModel
from peft.tuners.lora import Linear as LoraLinear
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.train.test_methods import recipe_of, stage, train
from toolkit.cli import main
from toolkit.errors import DataError, ModelError
from toolkit.models import load_base, loading
from toolkit.recipe import Recipe
from toolkit.run import train as train_in
from toolkit.train import train_stage
from toolkit.train.merge import merge


@pytest.fixture
def chain(tmp_path: Path, tiny_model: Path) -> Recipe:
    stages = [stage("sft", "sft", "answers"), stage("dpo", "dpo", "pairs", start="sft")]
    return recipe_of(tmp_path, tiny_model, [*stages, stage("helpful", "reward", "pairs")])


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.inference_mode():
        return model.eval()(torch.arange(3, 60)[None]).logits.float()


@pytest.mark.slow
def test_a_merged_chain_is_the_trained_model(chain: Recipe, tmp_path: Path, tiny_model: Path):
    train(chain, tmp_path)
    (drift,) = merge(chain, chain.stage("dpo"), tmp_path, tmp_path / "merged", dtype="float32")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    trained = PeftModel.from_pretrained(base, str(tmp_path / "adapters" / "dpo"))
    assert (logits(merged) - logits(trained)).abs().max() < 1e-3
    assert drift.kl == pytest.approx(0, abs=1e-5)
    assert drift.top1_agreement == 1
    assert AutoTokenizer.from_pretrained(tmp_path / "merged").chat_template
    with pytest.raises(DataError, match="is there already"):
        merge(chain, chain.stage("dpo"), tmp_path, tmp_path / "merged")
    with pytest.raises(ModelError, match="a reward model writes no text"):
        merge(chain, chain.stage("helpful"), tmp_path, tmp_path / "other")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_what_was_trained_in_4_bit_is_merged_into_the_dequantised_base(tmp_path: Path, tiny_model: Path):
    # an evaluation in the middle of training: after it bitsandbytes 0.50 on a CPU would give no gradient
    trainer = {"eval_strategy": "steps", "eval_steps": 3}
    recipe = recipe_of(tmp_path, tiny_model, [stage("sft", "sft", "answers", trainer=trainer)])
    model = recipe.model.model_copy(update={"quantization": "nf4"})
    recipe = recipe.model_copy(update={"model": model})
    train(recipe, tmp_path)
    rows = map(json.loads, (tmp_path / "adapters" / "sft" / "training.jsonl").read_text().splitlines())
    assert all(row["grad_norm"] > 0 for row in rows if "grad_norm" in row)
    inside, outside = merge(recipe, recipe.stages[0], tmp_path, tmp_path / "merged", dtype="float32")
    assert (inside.into, outside.into) == ("dequantized", "original")
    assert inside.kl < outside.kl
    assert inside.top1_agreement >= outside.top1_agreement
    card = (tmp_path / "merged" / "README.md").read_text()
    assert "dequantised base (these weights)" in card
    assert "original base" in card
    assert str(tmp_path.parent) not in card
    assert all(part in card for part in ("AutoModelForCausalLM", "Intended use", "Licence", "learning_rate"))
    config = json.loads((tmp_path / "merged" / "config.json").read_text())
    assert "quantization_config" not in config
    assert torch.isfinite(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "merged"))).all()


@pytest.mark.slow
def test_a_stage_on_one_trained_in_4_bit_stands_on_what_was_trained(chain: Recipe, tmp_path: Path):
    recipe = chain.model_copy(update={"model": chain.model.model_copy(update={"quantization": "nf4"})})
    _, dpo = (train_stage(recipe, recipe.stage(name), tmp_path) for name in ("sft", "dpo"))
    assert dpo.heldout["loss_before"] == pytest.approx(math.log(2), abs=1e-3)
    assert dpo.heldout["loss"] < dpo.heldout["loss_before"]
    loaded = load_base(recipe.base, recipe.model)
    loaded.attach("dpo", tmp_path / "adapters" / "dpo")
    merge(recipe, recipe.stage("dpo"), tmp_path, tmp_path / "merged", dtype="float32")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    with loaded.using("dpo") as model:
        assert (logits(model).argmax(-1) == logits(merged).argmax(-1)).float().mean() > 0.9


def test_train_does_what_a_stage_needs_and_merge_takes_the_run(chain: Recipe, tmp_path: Path):
    assert [result.name for result in train_in(chain, tmp_path / "runs", ["dpo"])] == ["sft", "dpo"]
    run = tmp_path / "runs" / chain.name
    wrong = CliRunner().invoke(main, ["merge", str(run), "dpoo", "--out", str(tmp_path / "m")])
    assert wrong.exit_code == 2
    assert "did you mean `dpo`?" in wrong.output
    done = CliRunner().invoke(main, ["merge", str(run), "dpo", "--out", str(tmp_path / "m"), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["drift"][0]["into"] == "original"
    untrained = CliRunner().invoke(main, ["merge", str(run), "helpful", "--out", str(tmp_path / "n")])
    assert untrained.exit_code != 0
    assert not (run / "adapters" / "helpful").exists()


@pytest.mark.matrix
@pytest.mark.parametrize("quantization", ["none", "nf4", "int8"])
def test_a_merge_holds_one_layer_in_fp32(
    quantization: str, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
):
    """On the CPU; and every layer is the sum in fp32 of what was trained on, cast once."""
    small = AutoModelForCausalLM.from_pretrained(tiny_model).to(torch.bfloat16)
    small.save_pretrained(tmp_path / "base")
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(tmp_path / "base")
    recipe = recipe_of(tmp_path, tmp_path / "base", [stage("sft", "sft", "answers")])
    model = recipe.model.model_copy(update={"quantization": quantization})
    recipe = recipe.model_copy(update={"model": model})
    train(recipe, tmp_path)
    held: list[int] = []
    merge_layer, merge_all = LoraLinear.merge, loading.merge_adapter

    def watched(model: PeftModel, *args: Any) -> Any:
        def counted(self: LoraLinear, *args: Any, **kwargs: Any) -> None:
            weights = [w for name, w in model.named_parameters() if ".lora_" not in name]
            held.append(sum(weight.nbytes for weight in weights if weight.dtype == torch.float32))
            merge_layer(self, *args, **kwargs)

        monkeypatch.setattr(LoraLinear, "merge", counted)
        return merge_all(model, *args)

    monkeypatch.setattr(loading, "merge_adapter", watched)
    drift = merge(recipe, recipe.stages[0], tmp_path, tmp_path / "merged")[0]
    assert 0 < max(held) <= 64 * 128 * 4  # bytes of the largest layer
    assert drift.kl < 0.01
    if quantization == "none":
        name = "model.layers.0.self_attn.q_proj"
        adapter = load_file(tmp_path / "adapters" / "sft" / "adapter_model.safetensors")
        first, second = (adapter[f"base_model.model.{name}.lora_{each}.weight"] for each in "BA")
        added = small.get_submodule(name).weight.detach().float() + 2 * first @ second
        merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
        assert torch.equal(merged.get_submodule(name).weight, added.bfloat16())
