"""Chains of adapters of every kind: published as they were trained, or refused before training."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from tests.tiny_types import tiny_of
from tests.train.test_methods import FP32, recipe_of, stage
from toolkit.errors import ModelError, RecipeError, TrainingError
from toolkit.models import load_base
from toolkit.models.loading import load_adapter
from toolkit.recipe import Recipe
from toolkit.train import publish, train_stage, verify
from toolkit.train.base import Base
from toolkit.train.callbacks import TrainingLog
from toolkit.train.dry_run import refuse
from toolkit.train.merge import merge
from toolkit.train.preference import ReferenceModel, StartIsReference

pytestmark = pytest.mark.slow

KINDS: dict[str, dict[str, Any]] = {
    "LoRA": {"r": 4},
    "rsLoRA": {"r": 4, "use_rslora": True},
    "ranks by layer": {"r": 4, "rank_pattern": {"q_proj": 8}, "alpha_pattern": {"up_proj": 3}},
    "PiSSA": {"r": 4, "init_lora_weights": "pissa"},
    "PiSSA, rsLoRA, ranks": {
        "r": 4,
        "init_lora_weights": "pissa_niter_4",
        "use_rslora": True,
        "rank_pattern": {"q_proj": 8},
    },
    "OLoRA": {"r": 4, "init_lora_weights": "olora"},
    "DoRA": {"r": 4, "use_dora": True},
    "LoRA on embeddings": {"r": 4, "target_modules": ["embed_tokens", "q_proj"]},
    "embeddings whole": {"r": 4, "modules_to_save": ["embed_tokens"]},
    "output layer whole": {"r": 4, "modules_to_save": ["lm_head"]},
    "token indices": {"r": 4, "trainable_token_indices": [40, 41, 70]},
    "bias of LoRA": {"r": 4, "lora_bias": True},
    "IA3": {"type": "ia3"},
    "AdaLoRA": {"type": "adalora", "r": 4, "target_r": 2, "total_step": 8, "tinit": 1, "tfinal": 2},
    "VeRA": {"type": "vera", "r": 8},
    "LLaMA-Adapter": {"type": "adaption_prompt", "adapter_len": 4, "adapter_layers": 2},
    "prompt tuning": {"type": "prompt", "num_virtual_tokens": 4},
    "prefix tuning": {"type": "prefix", "num_virtual_tokens": 4},
}

JOINED = {
    "LoRA", "rsLoRA", "ranks by layer", "PiSSA", "PiSSA, rsLoRA, ranks", "OLoRA", "LoRA on embeddings"
}  # fmt: skip
"""Kinds of which a new one on a frozen parent can be published; all others can be continued only."""

SHORT = {"max_steps": 4, "learning_rate": 0.01, "per_device_train_batch_size": 4}


def chain(folder: Path, model: Path, adapter: dict[str, Any], *, own: bool, **more: Any) -> Recipe:
    stages = [
        stage("sft", "sft", "answers", adapter=adapter, trainer=SHORT),
        stage(
            "dpo", "dpo", "pairs", start="sft", trainer=SHORT, **({"adapter": adapter} if own else {}), **more
        ),
    ]
    return recipe_of(folder, model, stages)


def read(model: Any, expected: verify.TrainedLogits) -> float:
    """The largest difference of a model's logits from the trained one's."""
    return max(
        float((a - b).abs().max()) for a, b in zip(expected.logits, expected.again(model), strict=True)
    )


@pytest.mark.parametrize("own", [False, True], ids=["continued", "own"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_chain_is_what_was_trained_or_refused(kind: str, own: bool, tmp_path: Path, tiny_model: Path):
    recipe = chain(tmp_path, tiny_model, KINDS[kind], own=own)
    if own and kind not in JOINED:
        with pytest.raises(RecipeError, match="leave out `adapter:` to continue the parent's"):
            refuse(recipe, recipe.stages)
        return
    refuse(recipe, recipe.stages)
    _, dpo = (train_stage(recipe, part, tmp_path) for part in recipe.stages)
    assert dpo.heldout["loss_before"] == pytest.approx(math.log(2), abs=1e-4)
    assert dpo.heldout["loss"] != pytest.approx(dpo.heldout["loss_before"], abs=1e-4)  # it was trained
    loaded = load_base(str(tiny_model), FP32)
    whole = {}
    for name in ("sft", "dpo"):
        folder = tmp_path / "adapters" / name
        expected = verify.TrainedLogits.read(folder)
        assert expected is not None
        base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
        whole[name] = read(base, expected)
        plain = PeftModel.from_pretrained(base, str(folder))
        assert read(plain, expected) < 1e-3 < whole[name]  # logits are up to 20, and move by 0.1 and more
        weights = load_file(folder / "adapter_model.safetensors").values()
        assert {weight.dtype for weight in weights} == {torch.float32}
        loaded.attach(name, folder)
        with loaded.using(name) as model:
            assert read(model, expected) < 1e-3
    with loaded.using(None) as model:  # the base is what it was
        assert read(model, expected) == pytest.approx(whole["dpo"], abs=1e-6)


@pytest.mark.parametrize("method", ["dpo", "kto", "rloo", "grpo"])
@pytest.mark.parametrize("kind", ["LoRA", "IA3", "output layer whole", "VeRA"])
def test_policy_and_reference_agree_at_the_start(method: str, kind: str, tmp_path: Path, tiny_model: Path):
    """Also where the reference is read at every step, not beforehand."""
    more: dict[str, Any] = {"trainer": SHORT | {"max_steps": 2, "logging_steps": 1}}
    if method in ("rloo", "grpo"):
        more["rewards"] = {"helpful": 1.0}
        more["trainer"] |= {"num_generations": 4, "max_completion_length": 6, "num_generations_eval": 2}
        more["trainer"] |= {"beta": 0.05}
    elif method == "dpo":
        more["trainer"] |= {"precompute_ref_log_probs": False}
    data = {"dpo": "pairs", "kto": "rated"}.get(method, "answers")
    recipe = recipe_of(
        tmp_path,
        tiny_model,
        [
            stage("sft", "sft", "answers", adapter=KINDS[kind], trainer=SHORT),
            stage("helpful", "reward", "pairs", trainer=SHORT),
            stage("next", method, data, start="sft", **more),
        ],
    )
    *_, result = (train_stage(recipe, part, tmp_path) for part in recipe.stages)
    rows = [json.loads(line) for line in (tmp_path / "adapters/next/training.jsonl").read_text().splitlines()]
    if method in ("rloo", "grpo"):
        assert result.heldout["kl_before"] == pytest.approx(0, abs=1e-5)
    else:
        expected = {"dpo": math.log(2), "kto": 0.5}[method]
        assert next(row["loss"] for row in rows if "loss" in row) == pytest.approx(expected, abs=1e-5)
        assert result.heldout["loss"] < expected


def test_the_reference_stays_where_it_was_while_the_model_moves(tiny_model: Path):
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    config = LoraConfig(r=4, target_modules="all-linear", lora_dropout=0.5, modules_to_save=["lm_head"])
    model = get_peft_model(base, config).eval()
    ids = torch.arange(3, 40)[None]
    reference, before = ReferenceModel(model), model(ids).logits.detach()
    model.train()
    optimizer = torch.optim.SGD([w for w in model.parameters() if w.requires_grad], lr=0.1)
    model(ids, labels=ids).loss.backward()
    optimizer.step()
    with torch.no_grad():
        assert torch.equal(reference(ids).logits, before)
        assert model.training
        assert not torch.equal(model.eval()(ids).logits, before)


def test_what_is_published_wrong_is_an_error_with_its_size(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
):
    recipe = chain(tmp_path, tiny_model, {"r": 4}, own=True)
    train_stage(recipe, recipe.stages[0], tmp_path)
    right = publish._write

    def wrong(folder: Path, weights: dict[str, Any], config: Any) -> None:
        right(folder, {name: weight.bfloat16().float() for name, weight in weights.items()}, config)

    with monkeypatch.context() as patched:
        patched.setattr(publish, "_write", wrong)
        with pytest.raises(TrainingError, match=r"is not what was trained: logits differ by [\d.e-]+, and "):
            train_stage(recipe, recipe.stages[1], tmp_path)
    assert not (tmp_path / "adapters" / "dpo").exists()
    train_stage(recipe, recipe.stages[1], tmp_path)  # the training itself was not lost
    whole = recipe_of(tmp_path, tiny_model, [stage("all", "sft", "answers", adapter="none", trainer=SHORT)])
    save = publish.Learned.save

    def other(self: publish.Learned, folder: Path) -> None:
        save(self, folder)
        weights = load_file(folder / "model.safetensors")
        weights["model.norm.weight"] = weights["model.norm.weight"] * 1.001
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    monkeypatch.setattr(publish.Learned, "save", other)
    with pytest.raises(TrainingError, match="is not what was trained"):
        train_stage(whole, whole.stages[0], tmp_path)


@pytest.mark.parametrize(
    ("adapter", "message"),
    [
        ({"target_modules": ["q_proj", "k_prj"]}, r"adapter.target_modules: k_prj is not in this model"),
        (
            {"target_modules": ["q_proj"], "layers_to_transform": [0, 2]},
            r"layers_to_transform: number 2 \(there are 2",
        ),
        (
            {"target_parameters": ["mlp.experts.gate_up_proj"]},
            "target_parameters: mlp.experts.gate_up_proj is not",
        ),
        ({"modules_to_save": ["lm_heads"]}, "modules_to_save: lm_heads is not"),
        ({"trainable_token_indices": [5, 999]}, r"trainable_token_indices: number 999"),
        ({"rank_pattern": {"qq_proj": 3}}, "rank_pattern: qq_proj is not"),
        ({"target_modules": ["q_proj", "lm_head"]}, "on the output layer is passed over"),
        ({"bias": "all"}, "bias: all changes the base's own weights"),
        ({"bias": "lora_only"}, "bias: lora_only changes the base's own weights"),
        ({"init_lora_weights": "eva", "eva_config": {}}, "init_lora_weights: eva wants to see data"),
        ({"kasa_config": {}}, "kasa_config"),
        ({"layer_replication": [[0, 2], [1, 2]]}, "layer_replication changes the base's own weights"),
        ({"init_lora_weights": False}, "init_lora_weights: false starts from noise"),
        ({"init_lora_weights": "corda"}, "init_lora_weights: corda changes the base's own weights"),
        (
            {"init_lora_weights": "loftq", "loftq_config": {"loftq_bits": 4}},
            "init_lora_weights: loftq changes",
        ),
        ({"init_lora_weights": "orthogonal", "r": 3}, "LoRA rank to be even"),
        ({"init_lora_weights": "kaiming"}, "init_lora_weights: kaiming"),
        ({"type": "adalora"}, "total_step"),
        ({"type": "ia3", "target_modules": ["nope"]}, "nope"),
        ({"layers_to_transform": [0]}, "cannot be used when `target_modules` is a str"),
    ],
)
def test_what_could_not_start_is_found_before(
    adapter: dict[str, Any], message: str, tmp_path: Path, tiny_model: Path
):
    recipe = recipe_of(tmp_path, tiny_model, [stage("s", "sft", "answers", adapter=adapter)])
    with pytest.raises(RecipeError, match=message) as caught:
        train_stage(recipe, recipe.stages[0], tmp_path)
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "checkpoints").exists()


def test_pissa_in_4_bit_and_a_moving_reference_are_refused(tmp_path: Path, tiny_model: Path):
    recipe = chain(tmp_path, tiny_model, KINDS["PiSSA"], own=False)
    quantized = recipe.model_copy(update={"model": recipe.model.model_copy(update={"quantization": "nf4"})})
    with pytest.raises(RecipeError, match="changes weights that nf4 has rounded"):
        refuse(quantized, quantized.stages)
    moving = recipe_of(tmp_path, tiny_model, [stage("d", "dpo", "pairs", trainer={"sync_ref_model": True})])
    with pytest.raises(RecipeError, match="sync_ref_model"):
        refuse(moving, moving.stages)


@pytest.mark.parametrize("own", [False, True], ids=["continued", "own"])
def test_a_chain_in_4_bit_keeps_its_base_and_its_reference_is_the_published_parent(
    own: bool, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
):
    """No base in fp32; the first loss is ln 2; resumed training is as unbroken."""
    recipe = chain(tmp_path, tiny_model, {"r": 4}, own=own)
    recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"quantization": "nf4"})})
    recipe = recipe.model_copy(update={"stages": tuple(
        part.model_copy(update={"trainer": part.trainer | {"save_steps": 2, "learning_rate": 0.05}})
        for part in recipe.stages
    )})  # fmt: skip
    seen: list[tuple[set[str], set[torch.dtype]]] = []
    references: list[Any] = []
    start, precompute = Base.start, StartIsReference._precompute_ref_logps

    def watched(self: Base, model: Any) -> None:
        start(self, model)
        kinds = {type(module).__name__ for module in model.modules()}
        seen.append((kinds, {weight.dtype for weight in model.parameters() if weight.requires_grad}))

    def kept(self: Any, *args: Any) -> Any:
        references.append(precompute(self, *args))
        return references[-1]

    monkeypatch.setattr(Base, "start", watched)
    monkeypatch.setattr(StartIsReference, "_precompute_ref_logps", kept)
    sft, dpo = recipe.stages
    train_stage(recipe, sft, tmp_path)
    other = tmp_path / "other"
    (other / "adapters").mkdir(parents=True)
    (other / "adapters" / "sft").symlink_to(tmp_path / "adapters" / "sft")
    result = train_stage(recipe, dpo, tmp_path)
    assert all("Linear4bit" in kinds and types == {torch.float32} for kinds, types in seen)
    assert result.heldout["loss_before"] == pytest.approx(math.log(2), abs=1e-3)
    assert result.heldout["loss"] < result.heldout["loss_before"]
    log = (tmp_path / "adapters" / "dpo" / "training.jsonl").read_text().splitlines()
    assert min(row["grad_norm"] for row in map(json.loads, log) if "grad_norm" in row) > 0

    loaded = load_base(recipe.base, recipe.model)
    loaded.attach("sft", tmp_path / "adapters" / "sft")
    with loaded.using("sft") as model, torch.no_grad():
        for row in references[0]:
            for side in ("chosen", "rejected"):
                ids = torch.tensor([row["prompt_ids"] + row[f"{side}_ids"]])
                chances = model(ids).logits[0, :-1].float().log_softmax(-1)
                each = chances.gather(-1, ids[0, 1:, None])[-len(row[f"{side}_ids"]) :]
                assert row[f"ref_{side}_logps"] == pytest.approx(float(each.sum()), abs=2e-3)

    with monkeypatch.context() as broken:
        broken.setattr(TrainingLog, "on_step_end", _stop_after_three)
        with pytest.raises(ConnectionError):
            train_stage(recipe, dpo, other)
    assert train_stage(recipe, dpo, other).heldout == pytest.approx(result.heldout, abs=1e-4)


def _stop_after_three(self: Any, args: Any, state: Any, control: Any, **_: Any) -> None:
    if state.global_step == 3:
        raise ConnectionError


@pytest.mark.parametrize("kind", ["LoRA", "PiSSA", "whole", "nf4"])
def test_what_trains_in_bf16_is_verified_as_exactly(kind: str, tmp_path: Path, tiny_model: Path):
    recipe = chain(tmp_path, tiny_model, KINDS.get(kind, {"r": 4}), own=True)
    if kind == "whole":
        recipe = recipe_of(
            tmp_path, tiny_model, [stage("s", "sft", "answers", adapter="none", trainer=SHORT)]
        )
    options = {"dtype": "bfloat16", "quantization": "nf4" if kind == "nf4" else "none"}
    recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update=options)})
    for part in recipe.stages:
        train_stage(recipe, part, tmp_path)  # raises where logits differ by more than 1e-4


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_a_reward_model_trains_on_a_base_in_16_or_4_bit(quantization: str, tmp_path: Path, tiny_model: Path):
    recipe = recipe_of(tmp_path, tiny_model, [stage("s", "reward", "pairs")])
    options = {"dtype": "bfloat16", "quantization": quantization}
    recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update=options)})
    result = train_stage(recipe, recipe.stages[0], tmp_path)
    assert result.heldout["loss"] < result.heldout["loss_before"]


def test_in_4_bit_what_is_published_is_compared_by_its_tensors(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
):
    """A change of 0.2% moves predictions less than rounding does."""
    recipe = chain(tmp_path, tiny_model, {"r": 4}, own=False)
    recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"quantization": "nf4"})})
    save = publish.Learned.save

    def rounded(self: publish.Learned, folder: Path) -> None:
        save(self, folder)
        file = folder / "adapter_model.safetensors"
        weights = {name: weight.bfloat16().float() for name, weight in load_file(file).items()}
        save_file(weights, file, metadata={"format": "pt"})

    monkeypatch.setattr(publish.Learned, "save", rounded)
    with pytest.raises(TrainingError, match=r"is not what was trained: \d+ of 28 tensors differ, such as "):
        train_stage(recipe, recipe.stages[0], tmp_path)


def test_a_third_stage_continues_the_second_and_a_whole_one_is_a_base(tmp_path: Path, tiny_model: Path):
    stages = [
        stage("all", "sft", "answers", adapter="none", trainer=SHORT | {"learning_rate": 0.002}),
        stage("lora", "sft", "answers", start="all", trainer=SHORT),
        stage("dpo", "dpo", "pairs", start="lora", trainer=SHORT),
        stage("own", "kto", "pairs", start="dpo", trainer=SHORT, adapter={"r": 2, "use_rslora": True}),
        stage("good", "reward", "pairs", start="dpo", trainer=SHORT),
    ]
    recipe = recipe_of(tmp_path, tiny_model, stages)
    assert [recipe.continues(part.name) for part in recipe.stages] == [False, False, True, False, True]
    results = {part.name: train_stage(recipe, part, tmp_path) for part in recipe.stages}
    assert results["dpo"].heldout["loss_before"] == pytest.approx(math.log(2), abs=1e-4)
    config = json.loads((tmp_path / "adapters" / "own" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (18, 18)
    assert config["target_modules"] == sorted(config["target_modules"])  # else it differs by process
    assert (tmp_path / "adapters" / "own" / "delta").is_dir()
    assert not (tmp_path / "adapters" / "dpo" / "delta").exists()


def test_adapters_that_peft_cannot_hold_together_take_turns(tmp_path: Path, tiny_model: Path):
    kinds = ("IA3", "LoRA", "VeRA", "DoRA", "prompt tuning")
    stages = [
        stage(f"s{n}", "sft", "answers", adapter=KINDS[kind], trainer=SHORT) for n, kind in enumerate(kinds)
    ]
    recipe = recipe_of(tmp_path, tiny_model, stages)
    loaded = load_base(str(tiny_model), FP32)
    for part in recipe.stages:
        train_stage(recipe, part, tmp_path)
        loaded.attach(part.name, tmp_path / "adapters" / part.name)
    for part in (*recipe.stages, *recipe.stages[:2]):
        expected = verify.TrainedLogits.read(tmp_path / "adapters" / part.name)
        assert expected is not None
        with loaded.using(part.name) as model:
            assert read(model, expected) < 1e-4


def tiny_folder(kind: str, tiny_model: Path, folder: Path, **fields: Any) -> Path:
    """A model of another type with the tokenizer of the tiny one."""
    tiny_of(kind, vocab_size=259, eos_token_id=0, bos_token_id=1, pad_token_id=2, **fields).save_pretrained(
        folder
    )
    for file in [*tiny_model.glob("*token*"), *tiny_model.glob("*.jinja")]:
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


EXPERTS = {"r": 2, "target_modules": ["q_proj"], "target_parameters": ["mlp.experts.gate_up_proj"]}


@pytest.mark.filterwarnings("ignore:The following .*_pattern keys:RuntimeWarning")  # PEFT's own
def test_experts_are_continued_and_never_joined(tmp_path: Path, tiny_model: Path):
    few = {"num_local_experts": 4, "num_experts_per_tok": 2}
    base = tiny_folder("mixtral", tiny_model, tmp_path / "base", **few)
    recipe = chain(tmp_path, base, EXPERTS, own=False)
    for part in recipe.stages:
        train_stage(recipe, part, tmp_path)
    for adapter in (
        EXPERTS,
        {"r": 4},
    ):  # all linear layers of a mixture of experts: PEFT takes the experts too
        own = chain(tmp_path, base, adapter, own=True)
        with pytest.raises(RecipeError, match=r"experts.* cannot be joined exactly"):
            refuse(own, own.stages)


@pytest.mark.parametrize(
    ("adapter", "message"),
    [
        ({"modules_to_save": ["embed_tokens"]}, None),
        ({"modules_to_save": ["lm_head"]}, None),
        ({"target_modules": ["embed_tokens", "q_proj"]}, None),
        ({"trainable_token_indices": [40, 41]}, "the output layer is passed over"),
    ],
)
def test_tied_embeddings_are_merged_apart(
    adapter: dict[str, Any], message: str | None, tmp_path: Path, tiny_model: Path
):
    base = tiny_folder("qwen3", tiny_model, tmp_path / "base", tie_word_embeddings=True)
    recipe = chain(tmp_path, base, {"r": 4} | adapter, own=False)
    if message:
        with pytest.raises(RecipeError, match=message):
            refuse(recipe, recipe.stages)
        return
    for part in recipe.stages:
        train_stage(recipe, part, tmp_path)
    (drift,) = merge(recipe, recipe.stage("dpo"), tmp_path, tmp_path / "merged", dtype="float32")
    assert drift.kl == pytest.approx(0, abs=1e-5)
    written = json.loads((tmp_path / "merged" / "config.json").read_text())
    assert written["tie_word_embeddings"] is False


def broken(folder: Path, change: str) -> None:
    file = folder / "adapter_model.safetensors"
    weights = load_file(file)
    first = min(weights)
    if change == "pickle":
        file.rename(folder / "adapter_model.bin")
        return
    if change == "torn":
        file.write_bytes(file.read_bytes()[:-10])
        return
    if change == "half":
        weights = dict(list(weights.items())[::2])
    elif change == "nan":
        weights[first][0, 0] = math.nan
    elif change == "shape":
        weights[first] = weights[first][:, :-1].contiguous()
    elif change == "more":
        weights[first.replace("layers.0", "layers.7")] = weights[first].clone()
    else:
        config = json.loads((folder / "adapter_config.json").read_text())
        (folder / "adapter_config.json").write_text(json.dumps(config | {"init_lora_weights": change}))
    save_file(weights, file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("pickle", "only adapter_model.bin, a pickle"),
        ("torn", "cannot be read"),
        ("half", "weights are missing"),
        ("nan", "no numbers"),
        ("shape", "size mismatch"),
        ("more", "not of this model"),
        ("pissa", "changes the base's own weights"),
    ],
)
def test_a_broken_adapter_is_one_line(change: str, message: str, tmp_path: Path, tiny_model: Path):
    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(tmp_path)
    broken(tmp_path, change)
    with pytest.raises(ModelError, match=message) as caught:
        load_adapter(AutoModelForCausalLM.from_pretrained(tiny_model), tmp_path)
    assert len(str(caught.value).splitlines()) == 1
