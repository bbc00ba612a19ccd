"""Training on a tiny model: what is published, what it fits, what it is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from tests.train.test_methods import recipe_of, stage, train
from toolkit import recipe as recipes
from toolkit.errors import DataError, ModelError, RecipeError, ToolkitError, TrainingError
from toolkit.models import load_base
from toolkit.recipe import LoraOptions, ModelOptions, Recipe
from toolkit.train import train_stage
from toolkit.train.publish import _name_base
from toolkit.train.stage import newest_complete

FP32 = ModelOptions(device="cpu", dtype="float32")
LOWER = {"target_modules": ["q_proj", "up_proj"], "layers_to_transform": [0]}
UPPER = {"target_modules": ["q_proj", "up_proj"], "layers_to_transform": 1}


@pytest.fixture
def recipe(tmp_path: Path, tiny_model: Path) -> Recipe:
    words = ["lamp", "fan", "bag", "cup", "hat", "pen", "box", "key"]
    sft = [{"prompt": f"my {word}", "completion": f"a {word}"} for word in words]
    pairs = [{"prompt": f"my {word}", "chosen": f"a {word}", "rejected": "no"} for word in words]
    for name, rows in {"sft": sft, "pairs": pairs}.items():
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    trainer = {"max_steps": 4, "per_device_train_batch_size": 4, "learning_rate": 0.01}
    raw = {
        "name": "t",
        "base": str(tiny_model),
        "model": {"device": "cpu", "dtype": "float32"},
        "data": {"sft": {"source": "sft.jsonl"}, "pairs": {"source": "pairs.jsonl"}},
        "stages": [
            {"name": "sft", "method": "sft", "data": "sft", "trainer": trainer},
            {
                "name": "dpo",
                "method": "dpo",
                "start": "sft",
                "data": "pairs",
                "trainer": trainer,
                "adapter": {},
            },
        ],
    }
    return recipes.parse(raw, tmp_path / "r.yaml")


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.inference_mode():
        return model.eval()(torch.arange(3, 60)[None]).logits


@pytest.mark.matrix
@pytest.mark.parametrize("below", [{}, LOWER], ids=["all", "lower"])
@pytest.mark.parametrize("above", [{}, UPPER], ids=["all", "upper"])
def test_a_published_adapter_stands_on_its_own(
    recipe: Recipe, tmp_path: Path, tiny_model: Path, below: dict, above: dict
):
    """The joined folder on the original base = merge SFT, put the delta on, merge again; in plain PEFT."""
    adapters = [LoraOptions(r=4, **layers) for layers in (below, above)]
    stages = [
        stage.model_copy(update={"adapter": adapter})
        for stage, adapter in zip(recipe.stages, adapters, strict=True)
    ]
    recipe = recipe.model_copy(update={"stages": tuple(stages)})
    first, second = (train_stage(recipe, stage, tmp_path) for stage in recipe.stages)
    assert first.heldout["loss"] < first.heldout["loss_before"]
    assert second.heldout["loss_before"] == pytest.approx(
        0.6931, abs=1e-3
    )  # the reference is SFT, not the base

    def base() -> torch.nn.Module:
        return AutoModelForCausalLM.from_pretrained(tiny_model)

    joined = PeftModel.from_pretrained(base(), str(tmp_path / "adapters" / "dpo"))
    merged = PeftModel.from_pretrained(base(), str(tmp_path / "adapters" / "sft")).merge_and_unload()
    sft_only = logits(merged).clone()
    stacked = PeftModel.from_pretrained(
        merged, str(tmp_path / "adapters" / "dpo" / "delta")
    ).merge_and_unload()
    assert (logits(joined) - logits(stacked)).abs().max() < 1e-3
    assert (logits(joined) - sft_only).abs().max() > 1e-3

    card = (tmp_path / "adapters" / "dpo" / "README.md").read_text()
    assert "library_name: peft" in card
    usage = card.split("```python\n")[1].split("```")[0]
    loaded: dict[str, Any] = {}
    exec(usage.replace("THIS-FOLDER", str(tmp_path / "adapters" / "dpo")), loaded)
    assert torch.equal(logits(loaded["model"]), logits(joined))
    assert str(tmp_path) not in (tmp_path / "adapters" / "dpo" / "adapter_config.json").read_text()
    assert not (tmp_path / "checkpoints" / "dpo").exists()


def test_an_adapter_is_refused_on_other_weights(recipe: Recipe, tmp_path: Path, tiny_model: Path):
    for each in recipe.stages:
        train_stage(recipe, each, tmp_path)
    other = AutoModelForCausalLM.from_pretrained(tiny_model)
    with torch.no_grad():
        other.model.layers[0].mlp.up_proj.weight.mul_(1.01)
    other.save_pretrained(tmp_path / "other")
    for file in tiny_model.glob("*token*"):
        (tmp_path / "other" / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ModelError, match="was trained on"):
        load_base(str(tmp_path / "other"), FP32).attach("sft", tmp_path / "adapters" / "sft")
    with pytest.raises(ModelError, match="bare delta"):
        load_base(str(tiny_model), FP32).attach("dpo", tmp_path / "adapters" / "dpo" / "delta")


def test_switching_adapters_leaves_the_base_as_it_was(recipe: Recipe, tmp_path: Path, tiny_model: Path):
    train_stage(recipe, recipe.stages[0], tmp_path)
    loaded = load_base(str(tiny_model), FP32)
    before = logits(loaded.model)
    loaded.attach("sft", tmp_path / "adapters" / "sft")
    with loaded.using("sft") as model:
        assert not torch.equal(logits(model), before)
    with loaded.using(None) as model:
        assert torch.equal(logits(model), before)


def test_wrong_rows_and_unknown_fields_are_refused(recipe: Recipe, tmp_path: Path):
    sft = recipe.stages[0]
    with pytest.raises(DataError, match="sft needs conversation rows"):
        train_stage(recipe, sft.model_copy(update={"data": "pairs"}), tmp_path)
    wrong = sft.model_copy(update={"trainer": {"learning_rat": 1}})
    with pytest.raises(RecipeError, match="did you mean `learning_rate`"):
        train_stage(recipe, wrong, tmp_path)


def test_a_torn_newest_checkpoint_is_passed_over(tmp_path: Path):
    for step, size in ((2, 80), (4, 79)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "trainer_state.json").write_text("{}")
        for name in ("optimizer.pt", "scheduler.pt"):
            torch.save({}, folder / name)
        header = b'{"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}'.ljust(56)
        weights = len(header).to_bytes(8, "little") + header + bytes(16)
        (folder / "adapter_model.safetensors").write_bytes(weights[:size])
    assert newest_complete(tmp_path) == tmp_path / "checkpoint-2"
    assert not (tmp_path / "checkpoint-4").exists()


@pytest.mark.parametrize(
    ("base", "named"),
    [("mine", "{here}/mine"), ("smollm2-135m-instruct", "HuggingFaceTB/SmolLM2-135M-Instruct")],
)
def test_an_adapter_names_its_base_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base: str, named: str
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    config = tmp_path / "adapter_config.json"
    config.write_text('{"target_modules": ["v", "q"]}')
    _name_base(config, base)
    found = json.loads(config.read_text())
    assert found["base_model_name_or_path"] == named.format(here=tmp_path.resolve())


@pytest.mark.parametrize(
    ("trainer", "error", "problem"),
    [
        ({"max_steps": "2"}, RecipeError, "TypeError"),
        ({"lr_scheduler_type": "warmup_stable_decay"}, TrainingError, "num_decay_steps"),
    ],
)
def test_what_trl_refuses_is_one_line(
    tmp_path: Path, tiny_model: Path, trainer: dict[str, Any], error: type[ToolkitError], problem: str
):
    recipe = recipe_of(tmp_path, tiny_model, [stage("a", "sft", "answers", trainer=trainer)])
    with pytest.raises(error, match=rf"stages\.a\.trainer: .*{problem}.*check` names the field"):
        train(recipe, tmp_path / "run")


def test_a_share_that_leaves_no_row_to_train_on_is_refused(tmp_path: Path, tiny_model: Path):
    recipe = recipe_of(tmp_path, tiny_model, [stage("a", "sft", "answers") | {"heldout_share": 0.99}])
    with pytest.raises(DataError, match="no row is left to train on"):
        train(recipe, tmp_path / "run")
