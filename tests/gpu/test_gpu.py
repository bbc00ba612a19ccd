"""What the package does, on a GPU: training, chains, memory, generation, judging, likelihoods."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.gpu.conftest import DEVICE, ON_CPU
from tests.train.test_chains import _stop_after_three
from tests.train.test_methods import recipe_of, stage
from toolkit.generate import generate_completions
from toolkit.generate.local import LocalSource
from toolkit.judge.logprob import NextTokenReader
from toolkit.models import batch_size, load_base
from toolkit.models.logprobs import Span, sum_nll
from toolkit.models.prefix_tree import plain_logits, tree_logits
from toolkit.recipe import Generation, ModelOptions, Recipe
from toolkit.train import train_stage
from toolkit.train.callbacks import TrainingLog
from toolkit.train.dry_run import shape_of
from toolkit.train.memory import Machine, estimate
from toolkit.types import Example, Message, StageResult

Bases = Callable[[str], Path]

SHORT = {"max_steps": 3, "per_device_train_batch_size": 4, "learning_rate": 1e-4}
ONLINE = SHORT | {"num_generations": 4, "max_completion_length": 8}
DATA = {"sft": "answers", "text": "texts", "kto": "rated", "rloo": "answers", "grpo": "answers"}


def with_options(recipe: Recipe, options: ModelOptions, quantization: str = "none") -> Recipe:
    return recipe.model_copy(update={"model": options.model_copy(update={"quantization": quantization})})


def chain(folder: Path, base: Path, *, own: bool, **trainer: Any) -> Recipe:
    adapter, more = {"r": 16}, {"adapter": {"r": 16}} if own else {}
    return recipe_of(folder, base, [
        stage("sft", "sft", "answers", adapter=adapter, trainer=SHORT | trainer),
        stage("dpo", "dpo", "pairs", start="sft", trainer=SHORT | trainer, **more),
    ])  # fmt: skip


def train(recipe: Recipe, run: Path) -> list[StageResult]:
    return [train_stage(recipe, part, run) for part in recipe.stages]


def losses(run: Path, name: str) -> list[float]:
    rows = map(json.loads, (run / "adapters" / name / "training.jsonl").read_text().splitlines())
    return [row["loss"] for row in rows if "loss" in row]


def examples(count: int = 12) -> list[Example]:
    words = "the lamp of the hall is out again and nobody has been here since Monday".split()
    return [
        Example(id=str(i), messages=(Message(role="user", content=" ".join(words[: 1 + i % len(words)])),))
        for i in range(count)
    ]


@pytest.mark.parametrize("quantization", ["none", "nf4"])
@pytest.mark.parametrize("method", ["sft", "text", "dpo", "orpo", "kto", "reward", "rloo", "grpo"])
def test_every_method_trains(
    method: str, quantization: str, base_of: Bases, options: ModelOptions, tmp_path: Path
):
    """Three steps; each is published as it was trained, or an error."""
    data, online = DATA.get(method, "pairs"), method in ("rloo", "grpo")
    last = stage("s", method, data, trainer=ONLINE if online else SHORT)
    if online:
        last["rewards"] = {"helpful": 1.0}
    stages = [stage("helpful", "reward", "pairs", trainer=SHORT)] if online else []
    recipe = with_options(recipe_of(tmp_path, base_of("135M"), [*stages, last]), options, quantization)
    result = train(recipe, tmp_path)[-1]
    assert math.isfinite(result.train_loss)
    assert result.peak_memory_bytes > 0


@pytest.mark.parametrize("quantization", ["none", "nf4"])
@pytest.mark.parametrize("own", [False, True], ids=["continued", "own"])
def test_the_first_loss_of_a_chain_is_ln_2(
    own: bool, quantization: str, base_of: Bases, options: ModelOptions, tmp_path: Path
):
    recipe = with_options(chain(tmp_path, base_of("135M"), own=own), options, quantization)
    _, dpo = train(recipe, tmp_path)
    assert dpo.heldout["loss_before"] == pytest.approx(math.log(2), abs=1e-3)
    assert losses(tmp_path, "dpo")[0] == pytest.approx(math.log(2), abs=1e-3)


def test_a_training_that_was_cut_short_continues(
    base_of: Bases, options: ModelOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    recipe = with_options(chain(tmp_path, base_of("135M"), own=True, max_steps=4, save_steps=2), options)
    train(recipe, tmp_path / "whole")
    train_stage(recipe, recipe.stages[0], tmp_path / "cut")
    with monkeypatch.context() as broken:
        broken.setattr(TrainingLog, "on_step_end", _stop_after_three)
        with pytest.raises(ConnectionError):
            train_stage(recipe, recipe.stages[1], tmp_path / "cut")
    train_stage(recipe, recipe.stages[1], tmp_path / "cut")
    assert losses(tmp_path / "cut", "dpo") == pytest.approx(losses(tmp_path / "whole", "dpo"), abs=1e-2)


def test_the_same_training_twice_gives_the_same_losses(base_of: Bases, options: ModelOptions, tmp_path: Path):
    recipe = with_options(chain(tmp_path, base_of("135M"), own=False), options)
    for name in ("one", "two"):
        train(recipe, tmp_path / name)
    assert losses(tmp_path / "one", "dpo") == losses(tmp_path / "two", "dpo")


def test_peak_memory_is_of_the_stage(base_of: Bases, options: ModelOptions, tmp_path: Path):
    """A small stage after a large one does not show the large one's."""
    large = stage(
        "large", "sft", "answers", trainer=SHORT | {"per_device_train_batch_size": 9}, adapter={"r": 512}
    )
    small = stage(
        "small", "sft", "answers", trainer=SHORT | {"per_device_train_batch_size": 1}, adapter={"r": 1}
    )
    recipe = with_options(recipe_of(tmp_path, base_of("135M"), [large, small]), options)
    first, second = train(recipe, tmp_path)
    assert second.peak_memory_bytes < first.peak_memory_bytes or ON_CPU


@pytest.mark.parametrize("quantization", ["nf4", "none"])
def test_the_chapter_fits_at_7b(quantization: str, base_of: Bases, options: ModelOptions, tmp_path: Path):
    """QLoRA in 16 GB, LoRA in 24 GB, under a cap: SFT, then DPO with an adapter of its own; as estimated."""
    cap = {"nf4": 16e9, "none": 24e9}[quantization]
    chapter = {
        "per_device_train_batch_size": 2,
        "max_steps": 2,
        "max_length": 512,
        "gradient_checkpointing": True,
    }
    recipe = with_options(chain(tmp_path, base_of("7B"), own=True, **chapter), options, quantization)
    if not ON_CPU:
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, cap / total))
    try:
        results = train(recipe, tmp_path)
    finally:
        if not ON_CPU:
            torch.cuda.set_per_process_memory_fraction(1.0)
    for part, result in zip(recipe.stages, results, strict=True):
        expected = estimate(recipe, part, shape_of(recipe), Machine("cap", cap), None)
        assert result.peak_memory_bytes < min(cap, expected) or ON_CPU


def test_completions_are_those_of_plain_generate(base_of: Bases, tmp_path: Path):
    loaded = load_base(str(base_of("135M")), ModelOptions(device=DEVICE, dtype="float32"))
    options = Generation(max_new_tokens=16)
    found = generate_completions(
        loaded, examples(), contestant="c", options=options, out=tmp_path / "c.jsonl"
    )
    source = LocalSource(loaded)
    for example, completion in zip(examples(), found, strict=True):
        ids = torch.tensor([source.rendered(_request(example))], device=loaded.model.device)
        made = loaded.model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=16, do_sample=False
        )
        text = loaded.tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True)
        assert completion.completion == text


def _request(example: Example) -> Any:
    from toolkit.generate import Request

    return Request(example.id, example.messages, 0)


@pytest.mark.skipif(ON_CPU, reason="a cap on a GPU's memory")
def test_a_batch_that_does_not_fit_is_halved(
    base_of: Bases, options: ModelOptions, tmp_path: Path, caplog: Any
):
    loaded = load_base(str(base_of("1.1B")), options)
    free = Generation(max_new_tokens=64, batch_size=8)
    whole = generate_completions(
        loaded, examples(64), contestant="c", options=free, out=tmp_path / "a" / "c.jsonl"
    )
    used = torch.cuda.memory_allocated() + 0.7e9
    torch.cuda.set_per_process_memory_fraction(used / torch.cuda.get_device_properties(0).total_memory)
    try:
        wide = free.model_copy(update={"batch_size": 512})
        out = tmp_path / "b" / "c.jsonl"
        found = generate_completions(loaded, examples(512), contestant="c", options=wide, out=out)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert len(found) == 512
    assert "out of memory" in caplog.text
    assert len(whole) == 64


def test_a_judge_reads_in_packs_what_it_reads_alone(base_of: Bases):
    loaded = load_base(str(base_of("135M")), ModelOptions(device=DEVICE, dtype="float32"))
    reader = NextTokenReader(loaded, ("A", "B"))
    prompts = [reader.encode(reader.text(each.messages)) for each in examples()]
    with loaded.using(None) as model:
        for members, rows in tree_logits(model, prompts, set(range(len(prompts)))):
            for member, row in zip(members, rows, strict=True):
                alone = plain_logits(model, prompts[member])[0]
                packed = reader._reading(row, 0).shares
                assert packed == pytest.approx(reader._reading(alone, 0).shares, abs=1e-3)


def test_likelihoods_are_those_of_the_models_own_loss(base_of: Bases):
    loaded = load_base(str(base_of("135M")), ModelOptions(device=DEVICE, dtype="float32"))
    texts = [loaded.tokenizer("the lamp of the hall is out " * (1 + i))["input_ids"] for i in range(6)]
    found = sum_nll(loaded.model, [Span(ids, len(ids) - 1) for ids in texts])
    for ids, nats in zip(texts, found, strict=True):
        batch = torch.tensor([ids], device=loaded.model.device)
        with torch.inference_mode():
            loss = float(loaded.model(batch, labels=batch).loss)
        assert nats == pytest.approx(loss * (len(ids) - 1), rel=1e-4)
    assert batch_size.tokens(loaded.model) >= 512
