"""Every method once on the packaged model: a gradient arrives, weights move, and figures are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from toolkit import recipe as recipes
from toolkit.train import train_stage
from toolkit.train.merge import merge

FEW = {"max_steps": 3, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 1}
ANSWERS = FEW | {"per_device_train_batch_size": 4, "max_completion_length": 12}


def stage(name: str, method: str, data: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "method": method, "data": data, "trainer": FEW, "heldout_share": 0.2} | more


CASES: dict[str, list[dict[str, Any]]] = {
    "text": [stage("text", "text", "texts")],
    "orpo": [stage("orpo", "orpo", "pairs")],
    "kto": [stage("kto", "kto", "pairs")],
    "full": [stage("full", "sft", "tickets", adapter="none")],
    "dora": [stage("dora", "sft", "tickets", adapter={"r": 4, "use_dora": True})],
    "ia3": [stage("ia3", "sft", "tickets", adapter={"type": "ia3"})],
    "rloo": [
        stage("good", "reward", "pairs"),
        stage("rloo", "rloo", "tickets", rewards={"good": 1.0}, trainer=ANSWERS),
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_method_trains_the_packaged_model(case: str, tmp_path: Path):
    texts = [{"text": f"The parcel of order {number} was late by {number} days."} for number in range(10)]
    (tmp_path / "texts.jsonl").write_text("\n".join(map(json.dumps, texts)))
    raw = {
        "name": "real",
        "base": "smollm2-135m-instruct",
        "data": {
            "texts": {"source": "texts.jsonl"},
            "tickets": {"source": "package:tickets/sft.jsonl", "limit": 10},
            "pairs": {"source": "package:tickets/pairs.jsonl", "limit": 10},
        },
        "stages": CASES[case],
    }
    recipe = recipes.parse(raw, tmp_path / "r.yaml")
    *_, last = (train_stage(recipe, part, tmp_path) for part in recipe.stages)
    log = (tmp_path / "adapters" / last.name / "training.jsonl").read_text().splitlines()
    norms = [row["grad_norm"] for row in map(json.loads, log) if "grad_norm" in row]
    assert len(norms) == FEW["max_steps"]
    assert max(norms) > 0
    figure = "reward" if case == "rloo" else "loss"
    assert {figure, f"{figure}_before"} <= last.heldout.keys()


@pytest.mark.slow
def test_qlora_trains_and_is_merged_into_the_dequantised_base(tmp_path: Path):
    raw = {
        "name": "real",
        "base": "smollm2-135m-instruct",
        "model": {"quantization": "nf4"},
        "data": {"tickets": {"source": "package:tickets/sft.jsonl", "limit": 16}},
        "stages": [stage("sft", "sft", "tickets", trainer=FEW | {"learning_rate": 1e-3})],
    }
    recipe = recipes.parse(raw, tmp_path / "r.yaml")
    result = train_stage(recipe, recipe.stages[0], tmp_path)
    assert result.heldout["loss"] < result.heldout["loss_before"]
    inside, outside = merge(recipe, recipe.stages[0], tmp_path, tmp_path / "merged")
    assert inside.top1_agreement > 0.9
    assert inside.kl < outside.kl
