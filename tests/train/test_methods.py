"""Every method, on a tiny model: it learns from its rows, and what it publishes can be loaded."""

from __future__ import annotations

import json
import math
import mmap
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from toolkit import recipe as recipes
from toolkit.data.chat import answer_ids, prompt_ids
from toolkit.errors import DataError, RecipeError, TrainingError
from toolkit.models import load_base
from toolkit.models.logprobs import Span, sum_nll
from toolkit.models.rewards import RewardModel
from toolkit.recipe import ModelOptions, Recipe
from toolkit.report.charts import drawings
from toolkit.train import methods, train_stage
from toolkit.train.callbacks import peak_memory, reset_peak_memory
from toolkit.train.reward import calibration_error
from toolkit.types import Message, StageResult

WORDS = ["lamp", "fan", "bag", "cup", "hat", "pen", "box", "key", "jar", "mat", "rug", "toy"]
FP32 = ModelOptions(device="cpu", dtype="float32")
TRAINER = {"max_steps": 8, "per_device_train_batch_size": 4, "learning_rate": 0.01}

DATA: dict[str, list[dict[str, Any]]] = {
    "texts": [{"text": f"the {word} is a {word} " * 3} for word in WORDS],
    "answers": [{"prompt": f"my {word}", "completion": f"a {word}"} for word in WORDS],
    "pairs": [{"prompt": f"my {word}", "chosen": f"a {word}", "rejected": "no"} for word in WORDS],
    "rated": [
        {"prompt": f"my {word}", "completion": reply, "label": label}
        for word in WORDS
        for reply, label in ((f"a {word}", True), ("no", False))
    ],
}


def recipe_of(folder: Path, model: Path, stages: list[dict[str, Any]]) -> Recipe:
    for name, rows in DATA.items():
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    raw = {
        "name": "t",
        "base": str(model),
        "model": {"device": "cpu", "dtype": "float32"},
        "data": {name: {"source": f"{name}.jsonl"} for name in DATA},
        "stages": stages,
    }
    return recipes.parse(raw, folder / "r.yaml")


def stage(name: str, method: str, data: str, **more: Any) -> dict[str, Any]:
    trainer = TRAINER | more.pop("trainer", {})
    return {"name": name, "method": method, "data": data, "heldout_share": 0.25, "trainer": trainer} | more


def train(recipe: Recipe, run: Path) -> list[StageResult]:
    return [train_stage(recipe, part, run) for part in recipe.stages]


def norms(run: Path, name: str) -> list[float]:
    rows = map(json.loads, (run / "adapters" / name / "training.jsonl").read_text().splitlines())
    return [row["grad_norm"] for row in rows if "grad_norm" in row]


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("method", "data"),
    [
        ("text", "texts"),
        ("sft", "answers"),
        ("dpo", "pairs"),
        ("orpo", "pairs"),
        ("kto", "pairs"),
        ("kto", "rated"),
        ("reward", "pairs"),
    ],
)
@pytest.mark.parametrize("adapter", [{"r": 4}, "none"], ids=["lora", "full"])
def test_a_method_lowers_its_loss_on_rows_it_has_not_seen(
    method: str, data: str, adapter: Any, tmp_path: Path, tiny_model: Path
):
    trainer = {"learning_rate": 0.002} if adapter == "none" else {}
    recipe = recipe_of(tmp_path, tiny_model, [stage("s", method, data, adapter=adapter, trainer=trainer)])
    (result,) = train(recipe, tmp_path)
    assert result.heldout["loss"] < result.heldout["loss_before"]
    assert max(norms(tmp_path, "s")) > 0
    if adapter != "none" and method != "reward":
        load_base(str(tiny_model), FP32).attach("s", tmp_path / "adapters" / "s")


def requested(word: str) -> list[Message]:
    return [Message(role="user", content=f"my {word}")]


def test_dpo_logs_how_often_the_chosen_answer_is_the_likelier_one(tmp_path: Path, tiny_model: Path):
    """Before and after, against likelihoods taken another way; rewards say nothing before."""
    pairs = [{"prompt": f"my {w}", "chosen": f"a {w}", "rejected": f"a {w[::-1]}"} for w in WORDS]
    (tmp_path / "near.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    data = {"near": recipes.DataSource(source=str(tmp_path / "near.jsonl"))}
    made = recipe_of(tmp_path, tiny_model, [stage("s", "dpo", "pairs", heldout="pairs")])
    near = made.stages[0].model_copy(update={"data": "near", "heldout": "near"})
    (result,) = train(made.model_copy(update={"data": data, "stages": (near,)}), tmp_path)

    loaded = load_base(str(tiny_model), FP32)
    loaded.attach("s", tmp_path / "adapters" / "s")

    def ranked(adapter: str | None) -> float:
        spans = []
        for pair in pairs:
            for reply in (pair["chosen"], pair["rejected"]):
                prompt = requested(pair["prompt"].removeprefix("my "))
                answer = answer_ids(loaded.tokenizer, prompt, reply)
                spans.append(Span([*prompt_ids(loaded.tokenizer, prompt), *answer], len(answer)))
        with loaded.using(adapter) as model:
            each = sum_nll(model, spans)
        return sum(chosen < rejected for chosen, rejected in zip(each[::2], each[1::2], strict=True)) / len(
            pairs
        )

    figures = result.heldout
    assert 0 < figures["ranking_accuracy_before"] < 1
    assert figures["ranking_accuracy_before"] == pytest.approx(ranked(None), abs=1e-4)
    assert figures["ranking_accuracy"] == pytest.approx(ranked("s"), abs=1e-4)
    assert {"accuracy", "margin"} <= figures.keys()
    assert not {"accuracy_before", "margin_before"} & figures.keys()


def test_margins_of_pairs_are_what_a_reward_model_learns_by(tmp_path: Path, tiny_model: Path):
    """Before training the rewards are nearly alike: the loss is softplus(margin), where no margin is 0."""
    words = [{"prompt": f"my {w}", "chosen": f"a {w}", "rejected": f"a {w[::-1]}"} for w in WORDS]
    losses = []
    for name, margins in (("plain", [{}]), ("apart", [{"margin": 2}, {"margin": "3.5"}])):
        rows = [row | margins[place % len(margins)] for place, row in enumerate(words)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
        data = {"near": recipes.DataSource(source=str(tmp_path / f"{name}.jsonl"))}
        made = recipe_of(tmp_path, tiny_model, [stage("s", "reward", "pairs", heldout="pairs")])
        near = made.stages[0].model_copy(update={"data": "near", "heldout": "near"})
        (result,) = train(made.model_copy(update={"data": data, "stages": (near,)}), tmp_path / name)
        losses.append(result.heldout["loss_before"])
    softplus = [math.log1p(math.exp(margin)) for margin in (0, 2, 3.5)]
    assert losses[0] == pytest.approx(softplus[0], abs=0.1)
    assert losses[1] == pytest.approx((softplus[1] + softplus[2]) / 2, abs=0.3)


def test_a_reward_model_stands_on_a_trained_chain(tmp_path: Path, tiny_model: Path):
    stages = [
        stage("sft", "sft", "answers"),
        stage("helpful", "reward", "pairs", start="sft", adapter={"r": 16}),
    ]
    _, result = train(recipe_of(tmp_path, tiny_model, stages), tmp_path)
    assert result.heldout["accuracy"] == 1
    assert 0 <= result.heldout["calibration_error"] < 0.5
    model = RewardModel(tmp_path / "adapters" / "helpful", FP32)
    good, bad = model.rewards([model.encode(requested("urn"), reply) for reply in ("a urn", "no")])
    assert good is not None
    assert bad is not None
    assert good > bad
    sft, delta = tmp_path / "adapters" / "sft", tmp_path / "adapters" / "helpful" / "delta"
    writer = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), str(sft))
    stacked = AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=1, pad_token_id=2)
    stacked.model = writer.merge_and_unload().model
    stacked = PeftModel.from_pretrained(stacked, str(delta)).eval()
    with torch.inference_mode():
        reward = stacked(torch.tensor([model.encode(requested("urn"), "a urn")])).logits.item()
    assert reward == pytest.approx(good, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["rloo", "grpo"])
def test_online_methods_learn_what_reward_models_like(method: str, tmp_path: Path, tiny_model: Path):
    online = {"num_generations": 8, "max_completion_length": 8, "per_device_train_batch_size": 16}
    online |= {"learning_rate": 0.005, "max_steps": 30, "beta": 0.01, "num_generations_eval": 8}
    stages = [
        stage("helpful", "reward", "pairs"),
        stage("safe", "reward", "pairs"),
        stage(
            "rl", method, "answers", rewards={"helpful": 1.0, "safe": 0.5}, trainer=online, heldout_share=0.4
        ),
    ]
    recipe = recipe_of(tmp_path, tiny_model, stages)
    # A random model answers; with this seed the reward doubles, so that rounding does not decide.
    *_, result = train(recipe.model_copy(update={"seed": 2}), tmp_path)
    assert result.heldout["reward"] > result.heldout["reward_before"] + 1
    assert max(norms(tmp_path, "rl")) > 0
    rows = map(json.loads, (tmp_path / "adapters" / "rl" / "training.jsonl").read_text().splitlines())
    logged = next(row for row in rows if "rewards/helpful/mean" in row)
    assert logged["reward"] == pytest.approx(
        logged["rewards/helpful/mean"] + 0.5 * logged["rewards/safe/mean"], abs=1e-4
    )


@pytest.mark.slow
def test_the_reference_of_online_training_is_never_the_wrong_model(tmp_path: Path, tiny_model: Path):
    stages = [
        stage("sft", "sft", "answers"),
        stage("helpful", "reward", "pairs"),
        stage("rl", "rloo", "answers", start="sft", rewards={"helpful": 1}, adapter="none"),
    ]
    *_, result = train(recipe_of(tmp_path, tiny_model, stages), tmp_path)
    assert result.heldout["kl_before"] == pytest.approx(0, abs=1e-5)


def test_the_reference_of_dpo_is_never_the_wrong_model(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
):
    stages = [stage("sft", "sft", "answers"), stage("dpo", "dpo", "pairs", start="sft", adapter="none")]
    recipe = recipe_of(tmp_path, tiny_model, stages)
    train_stage(recipe, recipe.stages[0], tmp_path)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(RecipeError, match="takes the bare base as the reference, not sft"):
        train_stage(recipe, recipe.stages[1], tmp_path)


def test_rewards_belong_to_online_methods(tmp_path: Path, tiny_model: Path):
    for broken, message in (
        (stage("rl", "rloo", "answers"), "rloo needs `rewards`"),
        (stage("s", "sft", "answers", rewards={"x": 1}), "`rewards` are for rloo and grpo"),
    ):
        with pytest.raises(RecipeError, match=message):
            recipe_of(tmp_path, tiny_model, [broken])
    with pytest.raises(RecipeError, match="no earlier stage is named `r`"):
        recipe_of(
            tmp_path, tiny_model, [stage("r", "reward", "pairs"), stage("s", "sft", "answers", start="r")]
        )


def test_methods_refuse_rows_of_another_kind(tmp_path: Path, tiny_model: Path):
    for method, data in (("text", "answers"), ("orpo", "answers"), ("kto", "answers"), ("reward", "rated")):
        with pytest.raises(DataError, match=f"{method} needs"):
            train(recipe_of(tmp_path, tiny_model, [stage("s", method, data)]), tmp_path)


def test_calibration_error_is_zero_when_confidence_is_accuracy():
    confidence = 0.75
    margin = math.log(confidence / (1 - confidence))
    assert calibration_error(torch.tensor([margin] * 3 + [-margin])) == pytest.approx(0, abs=1e-6)
    assert calibration_error(torch.tensor([-margin] * 4)) == pytest.approx(confidence, abs=1e-6)


def test_curves_reach_tensorboard_and_stay(tmp_path: Path, tiny_model: Path):
    recipe = recipe_of(
        tmp_path, tiny_model, [stage("s", "sft", "answers", trainer={"report_to": "tensorboard"})]
    )
    train(recipe, tmp_path)
    (events,) = (tmp_path / "tensorboard" / "s").rglob("events.out.tfevents.*")
    written = events.read_bytes()
    for tag in (b"train/loss", b"train/grad_norm", b"train/learning_rate"):
        assert written.count(tag) == 8
    assert written.count(b"eval/loss") == 2  # before and after


def test_reporting_to_what_is_not_installed_is_refused(tmp_path: Path, tiny_model: Path):
    recipe = recipe_of(
        tmp_path, tiny_model, [stage("s", "sft", "answers", trainer={"report_to": "comet_ml"})]
    )
    with pytest.raises(RecipeError, match=r"stages.s.trainer.report_to: comet_ml is not installed here"):
        train(recipe, tmp_path)


@pytest.mark.parametrize("scheduler", ["linear", "cosine", "constant_with_warmup"])
def test_a_training_of_one_step_learns_in_it(scheduler: str, tmp_path: Path, tiny_model: Path):
    once = {"max_steps": 1, "lr_scheduler_type": scheduler, "report_to": None}
    (result,) = train(recipe_of(tmp_path, tiny_model, [stage("s", "sft", "answers", trainer=once)]), tmp_path)
    assert result.heldout["loss"] < result.heldout["loss_before"]


def test_a_learning_rate_that_was_always_0_is_named(tmp_path: Path, tiny_model: Path):
    still = stage("s", "sft", "answers", trainer={"learning_rate": 0.0, "max_steps": 1})
    with pytest.raises(TrainingError, match="the learning rate was 0 in every step"):
        train(recipe_of(tmp_path, tiny_model, [still]), tmp_path)


@pytest.mark.matrix
@pytest.mark.parametrize(
    "adapter",
    [
        {"type": "adalora", "r": 4, "target_r": 2, "total_step": 8, "tinit": 1, "tfinal": 2},
        {"type": "adaption_prompt", "adapter_len": 4, "adapter_layers": 2},
        {"type": "prompt", "num_virtual_tokens": 4},
        {"type": "prefix", "num_virtual_tokens": 4},
        {"type": "ia3"},
        {"r": 4, "use_dora": True},
    ],
    ids=lambda adapter: adapter.get("type", "dora"),
)
def test_other_kinds_of_adapter_learn(adapter: dict[str, Any], tmp_path: Path, tiny_model: Path):
    trainer = {"learning_rate": 0.03, "max_steps": 8}
    recipe = recipe_of(tmp_path, tiny_model, [stage("s", "sft", "answers", adapter=adapter, trainer=trainer)])
    (result,) = train(recipe, tmp_path)
    assert result.heldout["loss"] < result.heldout["loss_before"]
    assert max(norms(tmp_path, "s")) > 0
    load_base(str(tiny_model), FP32).attach("s", tmp_path / "adapters" / "s")


def test_the_log_has_speed_and_memory_of_every_step(tmp_path: Path, tiny_model: Path):
    train(recipe_of(tmp_path, tiny_model, [stage("s", "orpo", "pairs")]), tmp_path)
    lines = (tmp_path / "adapters" / "s" / "training.jsonl").read_text().splitlines()
    steps = [row for row in map(json.loads, lines) if "loss" in row]
    message = {"step", "loss", "learning_rate", "grad_norm", "tokens", "tokens_per_second", "memory_bytes"}
    assert all(message <= row.keys() for row in steps)
    assert [row["tokens"] for row in steps] == sorted({row["tokens"] for row in steps})
    titles = [title for part in drawings(steps) for title, *_ in part]
    assert {"Loss", "Gradient norm", "Learning rate", "Tokens per second", "Peak memory, GB"} <= set(titles)
    assert "Preference accuracy" in titles


@pytest.mark.slow
def test_packed_rows_keep_apart_and_without_flash_attention_are_refused(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
):
    """With one on a GPU; here sdpa, whose mask keeps apart what the positions say are several rows."""
    packed = {"packing": True, "max_length": 128, "per_device_eval_batch_size": 16}
    refused = recipe_of(tmp_path, tiny_model, [stage("s", "sft", "answers", trainer=packed)])
    with pytest.raises(RecipeError, match=r"trainer.packing: without flash attention .* see each other"):
        train(refused, tmp_path)
    monkeypatch.setattr(methods, "has_flash_attention", lambda attention: attention == "sdpa")
    found = {}
    for name, trainer in (("packed", packed), ("padding_free", {"per_device_eval_batch_size": 16})):
        recipe = recipe_of(tmp_path, tiny_model, [stage("s", "sft", "answers", trainer=trainer)])
        sdpa = recipe.model.model_copy(update={"attention": "sdpa"})
        (found[name],) = train(recipe.model_copy(update={"model": sdpa}), tmp_path / name)
    monkeypatch.undo()
    (plain,) = train(recipe, tmp_path / "plain")
    for result in found.values():
        assert result.heldout["loss_before"] == pytest.approx(plain.heldout["loss_before"], abs=1e-3)
        assert result.heldout["loss"] < result.heldout["loss_before"]
    assert found["packed"].train_loss != found["padding_free"].train_loss


def test_peak_memory_is_measured_from_its_reset():
    """Of a stage, not of all that the process did before."""
    with mmap.mmap(-1, 1_000_000_000) as held:  # given back to the system at once, unlike a tensor's
        held.write(b"1" * 1_000_000_000)
    before = peak_memory()
    reset_peak_memory()
    assert peak_memory() < before - 100e6
