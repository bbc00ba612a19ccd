"""Trainer fields that TRL and transformers refuse only once they train: found by a step on a tiny model."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest
from transformers import AutoTokenizer

from toolkit import recipe as recipes
from toolkit.data import Preference
from toolkit.models import bases
from toolkit.run.checks.memory import first_steps
from toolkit.run.checks.rows import Seen
from toolkit.types import Finding, Message


def tried(
    fields: Mapping[str, Any] = MappingProxyType({}), *, heldout_share: float = 0.05, **trainer: Any
) -> list[Finding]:
    stage = {"name": "dpo", "method": "dpo", "data": "pairs", "trainer": trainer, **fields}
    stage["heldout_share"] = heldout_share
    base = "smollm2-135m-instruct"
    raw = {"name": "a", "base": base, "data": {"pairs": {"source": "a.jsonl"}}, "stages": [stage]}
    prompt = (Message(role="user", content="which lamp?"),)
    pairs = [Preference(id=str(n), prompt=prompt, chosen=f"the {n}th", rejected="none") for n in range(3)]
    seen = Seen()
    for pair in pairs:
        seen.add(f"a.jsonl:{pair.id}", pair)
    tokenizer = AutoTokenizer.from_pretrained(bases.resolve_base(base))
    recipe = recipes.Recipe.model_validate(raw)
    return first_steps(recipe, {"pairs": seen}, tokenizer, [], here=True)


@pytest.mark.matrix
@pytest.mark.parametrize(
    "trainer",
    [
        {"loss_type": "sigmod"},
        {"lr_scheduler_type": "cosine", "lr_scheduler_kwargs": {"num_cycle": 2}},
        {"f_divergence_type": "reverse_kll"},
        {"save_strategy": "best"},
        {
            "eval_strategy": "steps",
            "eval_steps": 5,
            "load_best_model_at_end": True,
            "save_steps": 5,
            "metric_for_best_model": "eval_rouge",
        },
    ],
)
def test_what_stops_a_trainer_is_found(trainer: dict[str, Any], capsys):
    (found,) = tried(**trainer)
    assert (found.code, found.severity) == ("first-step", "error")
    assert next(reversed(trainer)) in found.fix
    assert capsys.readouterr().err == ""


@pytest.mark.matrix
@pytest.mark.parametrize("method", ["rloo", "grpo"])
def test_online_methods_are_tried_with_a_reward_of_their_own(method: str):
    online = {"method": method, "rewards": {"short": 1.0}}
    assert tried(online, num_generations=2, top_k=3) == []
    (found,) = tried(online, num_generations=2, reward_weights=[1.0, 2.0])
    assert "Number of reward weights (2)" in found.message
    (found,) = tried(online, num_generations=2, min_p=3.0)
    assert "min_p" in found.message


def test_fields_that_train_are_no_fault():
    assert tried(loss_type=["sigmoid", "sft"], loss_weights=[1.0, 0.5], save_steps=5) == []
    assert tried(lr_scheduler_type="polynomial") == []
    often = {"eval_strategy": "steps", "eval_steps": 5, "save_steps": 5}
    assert tried(load_best_model_at_end=True, **often) == []


def test_evaluation_without_rows_to_evaluate_on_is_found():
    fields = {"eval_strategy": "steps", "eval_steps": 1}
    (found,) = tried(heldout_share=0, **fields)
    assert "you didn't pass an `eval_dataset`" in found.message
    assert tried(**fields) == []


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("method", "trainer"),
    [
        ("kto", {"desirable_weight": 0, "undesirable_weight": 0, "logging_steps": 50}),
        ("dpo", {"loss_weights": [0.0]}),
        ("dpo", {"loss_type": ["sigmoid", "sft"], "loss_weights": [0.0, 0.0], "max_grad_norm": 0.0}),
    ],
)
def test_a_loss_that_no_weight_changes_is_found(method: str, trainer: dict[str, Any]):
    (found,) = tried({"method": method}, **trainer)
    assert (found.code, found.severity) == ("first-step", "error")
    assert "no gradient arrives" in found.message


def test_rows_of_both_labels_are_tried():
    assert tried({"method": "kto"}, desirable_weight=0) == []
    assert tried({"method": "kto"}, undesirable_weight=0) == []
