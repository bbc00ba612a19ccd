"""What runs on a model runs where the model is: on a pretended GPU as on the CPU, with the same figures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance
from peft import LoraConfig, get_peft_model

from tests.judge.example_battles import SHORT, battle
from tests.pretended_gpu import pretended_gpu
from toolkit.benchmarks.lm_eval_model import LoadedLM
from toolkit.data.formats import Text
from toolkit.generate import generate_completions, local
from toolkit.judge import judge_battles
from toolkit.judge.logprob import LogprobJudge
from toolkit.metrics.perplexity import measure_perplexity, measure_text_perplexity
from toolkit.models import Loaded, load_base
from toolkit.recipe import Generation, ModelOptions
from toolkit.types import Example, Message


@pytest.fixture
def tiny(tiny_model: Path) -> Loaded:
    return load_base(str(tiny_model), ModelOptions(device="cpu", dtype="float32", attention="eager"))


@pytest.fixture
def twin(tiny_model: Path) -> Iterator[Loaded]:
    """The same model on the other device."""
    loaded = load_base(str(tiny_model), ModelOptions(device="cpu", dtype="float32", attention="eager"))
    with pretended_gpu() as move:
        move(loaded.model)
        yield loaded


EXAMPLES = [
    Example(
        id=str(i), messages=(Message(role="user", content="hello " * (i + 1)),), reference="good " * i + "day"
    )
    for i in range(5)
]


def reply(loaded: Loaded, out: Path, **how: Any) -> list[str]:
    arguments = {"contestant": "c", "out": out, "store": out.with_suffix("")} | how  # none shares its answers
    return [each.completion for each in generate_completions(loaded, EXAMPLES, **arguments)]


def test_tensors_of_two_devices_do_not_meet(twin: Loaded):
    there = twin.model.get_input_embeddings().weight
    assert there.device == twin.model.device != torch.device("cpu")
    with pytest.raises(RuntimeError, match="two devices"):
        there + torch.ones(64)
    with pytest.raises(RuntimeError, match="two devices"):
        twin.model(input_ids=torch.tensor([[1, 2]]))


def test_nobody_else_sees_the_device(twin: Loaded):
    assert not torch.accelerator.is_available()
    assert load_base(str(twin.folder)).model.device == torch.device("cpu")


@pytest.mark.matrix
@pytest.mark.parametrize(
    "options",
    [
        Generation(max_new_tokens=6, batch_size=3),
        Generation(max_new_tokens=6, batch_size=2, temperature=0.8, top_p=0.9, stop=("e",)),
    ],
)
@pytest.mark.parametrize("system", ["", "Answer in one word. " * 8])
def test_answers(
    options: Generation,
    system: str,
    tiny: Loaded,
    twin: Loaded,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.delattr(local.LocalSource, "_sequential")
    prompt = (Message(role="system", content=system),) if system else ()
    here = reply(tiny, tmp_path / "here.jsonl", options=options, prompt=prompt)
    assert reply(twin, tmp_path / "there.jsonl", options=options, prompt=prompt) == here


def test_answers_sequential(tiny: Loaded, twin: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    options = Generation(max_new_tokens=6)
    here = reply(tiny, tmp_path / "here.jsonl", options=options)
    monkeypatch.setattr(local, "supports_custom_masks", lambda *_: False)
    assert reply(twin, tmp_path / "there.jsonl", options=options) == here


def test_perplexity(tiny: Loaded, twin: Loaded):
    texts = [Text(id=str(i), text="the cat sat on the mat. " * 9 * (i + 1)) for i in range(4)]
    prompt = (Message(role="system", content="Answer in one word. " * 8),)
    for options in ({}, {"window": 64, "stride": 16}):
        here, there = (
            measure_text_perplexity(loaded, texts, contestant="c", **options) for loaded in (tiny, twin)
        )
        assert sum(there[0].rows, ()) == pytest.approx(sum(here[0].rows, ()))
    for before in ((), prompt):
        here, there = (
            measure_perplexity(loaded, EXAMPLES, contestant="c", prompt=before) for loaded in (tiny, twin)
        )
        assert sum(there[0].rows, ()) == pytest.approx(sum(here[0].rows, ()))


@pytest.mark.parametrize("worked", ["", "one two three four five. " * 9])
def test_benchmarks(worked: str, tiny: Loaded, twin: Loaded):
    requested = [
        Instance("loglikelihood", {}, (f"{worked}question {i}", f" {ending}"), 0)
        for i in range(5)
        for ending in ("yes", "no", "on the mat")
    ]
    here, there = (LoadedLM(loaded).loglikelihood(requested) for loaded in (tiny, twin))
    assert [value for value, _ in there] == pytest.approx([value for value, _ in here], abs=1e-3)
    texts = [Instance("loglikelihood_rolling", {}, ("the cat sat " * 20,), 0)]
    requested = [Instance("generate_until", {}, (f"question {i}", {"max_gen_toks": 4}), 0) for i in range(3)]
    assert LoadedLM(twin).generate_until(requested) == LoadedLM(tiny).generate_until(requested)
    here, there = (LoadedLM(loaded).loglikelihood_rolling(texts) for loaded in (tiny, twin))
    assert there == pytest.approx(here, abs=1e-3)


@pytest.mark.parametrize("trees", [True, False])
def test_the_judge(trees: bool, tiny: Loaded, twin: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("toolkit.judge.logprob.supports_custom_masks", lambda *_: trees)
    battles = [battle(i // 2, f"answer {i} " * (i + 1), "other words " * (7 - i)) for i in range(6)]
    found = []
    for name, loaded in (("here", tiny), ("there", twin)):
        judge = LogprobJudge(loaded, SHORT)
        found.append(judge_battles(judge, battles, store=tmp_path / f"{name}.jsonl"))
    here, there = ([verdict.probability_a for verdict in verdicts] for verdicts in found)
    assert there == pytest.approx(here, abs=1e-5)


def test_adapters(tiny: Loaded, twin: Loaded, tmp_path: Path):
    for loaded in (tiny, twin):
        torch.manual_seed(5)
        config = LoraConfig(r=8, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
        loaded.model = get_peft_model(loaded.model, config, "sft").eval()
        loaded.adapters.append("sft")
        loaded.adapter_fingerprints["sft"] = "drawn by the same seed"
    here, there = (
        measure_perplexity(loaded, EXAMPLES, contestant="c", adapter="sft") for loaded in (tiny, twin)
    )
    assert sum(there[0].rows, ()) == pytest.approx(sum(here[0].rows, ()))
    options = Generation(max_new_tokens=6, batch_size=3)
    here = reply(tiny, tmp_path / "here.jsonl", options=options, adapter="sft")
    assert reply(twin, tmp_path / "there.jsonl", options=options, adapter="sft") == here
