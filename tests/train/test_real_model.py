"""Every method once on the packaged model: gradients arrive, weights move, held-out figures are written.

One chain takes the whole model. Of the others, the first layers are enough: real weights, tokenizer and
template, for a quarter of the time.
"""

from __future__ import annotations

import json
import math
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.train.test_resume import command, killing, same
from toolkit import recipe as recipes
from toolkit.models import bases
from toolkit.recipe import Recipe, adapter_base
from toolkit.run import train
from toolkit.train import train_stage
from toolkit.train.merge import merge
from toolkit.train.verify import TrainedLogits, divergence

PACKAGED = "smollm2-135m-instruct"
FEW = {"max_steps": 2, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 1}
ANSWERS = FEW | {"per_device_train_batch_size": 4, "num_generations": 2, "max_completion_length": 8}

THINGS = ["lamp", "kettle", "chair", "radio", "bag", "toaster", "clock", "mirror", "stool", "wallet"]
ROWS: dict[str, list[dict[str, Any]]] = {
    "texts": [{"text": f"The {thing} of order {number} was late."} for number, thing in enumerate(THINGS)],
    "tickets": [{"prompt": f"my {thing} broke", "completion": f"Product: {thing}"} for thing in THINGS],
    "pairs": [
        {"prompt": f"my {thing} broke", "chosen": f"Product: {thing}", "rejected": f"A {thing}?"}
        for thing in THINGS
    ],
}
"""Short ones: what is shown here does not depend on them, and most of the time goes by the token."""


def stage(name: str, method: str, data: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "method": method, "data": data, "trainer": FEW, "heldout_share": 0.2} | more


CASES: dict[str, list[dict[str, Any]]] = {
    "text": [stage("text", "text", "texts")],
    "orpo": [stage("orpo", "orpo", "pairs")],
    "kto": [stage("kto", "kto", "pairs")],
    "full": [stage("full", "sft", "tickets", adapter="none")],
    "dora": [stage("dora", "sft", "tickets", adapter={"r": 4, "use_dora": True})],
    "rloo": [
        stage("good", "reward", "pairs"),
        stage("rloo", "rloo", "tickets", rewards={"good": 1.0}, trainer=ANSWERS),
    ],
}


LAYERS = 4


@pytest.fixture(scope="module")
def first_layers(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model folder with the first layers of the packaged model."""
    folder = tmp_path_factory.mktemp("first-layers")
    whole = bases.resolve_base(PACKAGED)
    model = AutoModelForCausalLM.from_pretrained(whole, dtype=torch.float32, num_hidden_layers=LAYERS)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(whole).save_pretrained(folder)
    return str(folder)


def recipe_on(base: str, folder: Path, *stages: dict[str, Any], **model: Any) -> Recipe:
    for name, rows in ROWS.items():
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    raw = {
        "name": "t",
        "base": base,
        "model": model,
        "data": {name: {"source": f"{name}.jsonl"} for name in ROWS},
        "stages": list(stages),
    }
    return recipes.parse(raw, folder / "r.yaml")


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_method_trains_the_packaged_model(case: str, tmp_path: Path, first_layers: str):
    recipe = recipe_on(first_layers, tmp_path, *CASES[case])
    *_, last = (train_stage(recipe, part, tmp_path) for part in recipe.stages)
    log = (tmp_path / "adapters" / last.name / "training.jsonl").read_text().splitlines()
    norms = [row["grad_norm"] for row in map(json.loads, log) if "grad_norm" in row]
    assert len(norms) == FEW["max_steps"]
    assert max(norms) > 0
    figure = "reward" if case == "rloo" else "loss"
    assert {figure, f"{figure}_before"} <= last.heldout.keys()


RSLORA = {"r": 4, "use_rslora": True}
CHAINS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, str]]] = {
    "nf4": ({"r": 4}, {}, {"quantization": "nf4", "dtype": "bfloat16"}),
    "rsLoRA, own": (RSLORA, {"adapter": RSLORA}, {"dtype": "bfloat16"}),
}
"""The adapter of SFT, what DPO names of its own, and the model's options."""


@pytest.mark.slow
@pytest.mark.parametrize("case", CHAINS)
def test_a_chain_of_the_packaged_model_is_published_as_it_was_trained(
    case: str, tmp_path: Path, first_layers: str
):
    adapter, own, options = CHAINS[case]
    steep = FEW | {"learning_rate": 1e-3}
    recipe = recipe_on(
        first_layers if "quantization" in options else PACKAGED,
        tmp_path,
        stage("sft", "sft", "tickets", adapter=adapter, trainer=steep),
        stage("dpo", "dpo", "pairs", start="sft", trainer=steep, **own),
        **options,
    )
    _, dpo = (train_stage(recipe, part, tmp_path) for part in recipe.stages)  # verified, or an error
    assert dpo.heldout["loss_before"] == pytest.approx(math.log(2), abs=1e-4)
    assert dpo.heldout["loss"] < dpo.heldout["loss_before"]
    if "quantization" in options:
        return  # in other weights than it was trained on, rounding is most of the difference
    folder = tmp_path / "adapters" / "dpo"
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (
        config["base_model_name_or_path"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    )  # PEFT loads it anywhere
    card = ModelCard.load(folder / "README.md")
    assert card.data.base_model == config["base_model_name_or_path"]
    assert adapter_base(folder) == PACKAGED
    expected = TrainedLogits.read(folder)
    assert expected is not None
    base = AutoModelForCausalLM.from_pretrained(bases.resolve_base(recipe.base), dtype=torch.float32)
    bare = divergence(expected.logits, expected.again(base))
    plain = PeftModel.from_pretrained(base, str(folder))
    assert divergence(expected.logits, expected.again(plain)) < bare / 2


@pytest.mark.slow
def test_qlora_trains_and_is_merged_into_the_dequantised_base(tmp_path: Path, first_layers: str):
    steep = FEW | {"learning_rate": 1e-3}
    sft = stage("sft", "sft", "tickets", trainer=steep)
    # In float32, since 4 bit computed in bfloat16 is further from the same weights than the merging is.
    recipe = recipe_on(first_layers, tmp_path, sft, quantization="nf4", dtype="float32")
    result = train_stage(recipe, recipe.stages[0], tmp_path)
    assert result.heldout["loss"] < result.heldout["loss_before"]
    inside, outside = merge(recipe, recipe.stages[0], tmp_path, tmp_path / "merged")
    assert inside.top1_agreement > 0.9
    assert inside.kl < outside.kl


@pytest.mark.slow
def test_killed_training_of_the_packaged_model_continues(tmp_path: Path, first_layers: str):
    """SFT; the other methods continue on tiny models."""
    steps = FEW | {"max_steps": 3, "save_steps": 1}
    recipe = recipe_on(first_layers, tmp_path, stage("s", "sft", "tickets", trainer=steps), dtype="float32")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train(recipe, whole)
    code, output = command(recipe, broken, killing, 2)
    assert code == -signal.SIGKILL, output
    train(recipe, broken)
    same(whole, broken, steps=3, close=1e-5)
