"""What does not fit into memory is done in smaller batches, with the same results and nothing lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from toolkit.generate import generate_completions
from toolkit.generate.batching import BatchSlots
from toolkit.metrics import bertscore
from toolkit.models import Loaded, batch_size, load_base
from toolkit.models.logprobs import Span, SplitModel, sum_nll
from toolkit.models.prefix_tree import PrefixTree, tree_logits
from toolkit.recipe import Generation, ModelOptions
from toolkit.types import Example, Message

FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


@pytest.fixture(scope="module")
def tiny(tiny_model: Path) -> Loaded:
    return load_base(str(tiny_model), ModelOptions(device="cpu", dtype="float32"))


def limited(function: Callable[..., Any], size: Callable[..., int], most: int, seen: list[int]) -> Any:
    """The function, which runs out of memory above a size."""

    def run(*args: Any, **kwargs: Any) -> Any:
        seen.append(size(*args, **kwargs))
        if seen[-1] > most:
            raise FULL
        return function(*args, **kwargs)

    return run


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_no_answer_is_lost(temperature: float, tiny: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Greedy or sampled; one that was under way begins anew."""
    examples = [
        Example(id=str(i), messages=(Message(role="user", content="ab" * (i % 7)),)) for i in range(24)
    ]
    options = Generation(max_new_tokens=12, temperature=temperature)

    def texts(name: str) -> list[str]:
        out = tmp_path / name / "c.jsonl"
        return [
            each.completion
            for each in generate_completions(tiny, examples, contestant="c", options=options, out=out)
        ]

    whole, sizes, steps = texts("whole"), [], iter(range(10**6))
    step = BatchSlots.step

    def full_later(self: BatchSlots, tokens: Sequence[int]) -> torch.Tensor:
        sizes.append(self.size)
        if self.size > 5 and next(steps) % 10 == 9:  # when some have ended and others not
            raise FULL
        return step(self, tokens)

    monkeypatch.setattr(BatchSlots, "step", full_later)
    assert texts("small") == whole
    assert sorted(set(sizes), reverse=True) == [24, 12, 6, 4]  # 4 rows at least, for the same numbers


def test_likelihoods_of_smaller_batches_are_the_same(tiny: Loaded, monkeypatch: pytest.MonkeyPatch):
    spans = [Span(list(range(3, 12 + i % 5)), 4) for i in range(20)]
    whole, seen = sum_nll(tiny.model, spans), list[int]()
    hidden = limited(SplitModel._states, lambda _, ids, *__: ids.numel(), 30, seen)
    monkeypatch.setattr(SplitModel, "_states", hidden)
    assert sum_nll(tiny.model, spans) == pytest.approx(whole, abs=1e-4)
    assert max(seen) > 30 >= min(seen)


def test_prompts_with_common_beginnings_in_smaller_passes(tiny: Loaded, monkeypatch: pytest.MonkeyPatch):
    prompts = [[*range(3, 12), 40 + i, *range(60, 72)] for i in range(12)]
    expected = set(range(1, 12))

    def found() -> dict[int, torch.Tensor]:
        rows: dict[int, torch.Tensor] = {}
        for members, logits in tree_logits(tiny.model, prompts, expected):
            assert expected.issuperset(members)
            assert rows.keys().isdisjoint(members)
            rows |= dict(zip(members, logits, strict=True))
        return rows

    whole, seen = found(), list[int]()
    forward = limited(PrefixTree._forward, lambda _, tokens, *__: len(tokens), 40, seen)
    monkeypatch.setattr(PrefixTree, "_forward", forward)
    for place, row in found().items():
        assert torch.allclose(row, whole[place], atol=1e-4)
    assert whole.keys() == expected
    assert max(seen) > 40 >= min(seen)


def test_bertscore_in_smaller_batches(monkeypatch: pytest.MonkeyPatch):
    scorer = bertscore.BertScore()
    texts, references = [f"card {i}" for i in range(40)], [[f"ticket {i}"] for i in range(40)]
    whole, seen = scorer.rows(texts, references), list[int]()
    loaded = bertscore.load_scorer("all-minilm-l6-v2", scorer.layer, False, False)
    score = limited(loaded.score, lambda *_, batch_size: batch_size, 16, seen)
    monkeypatch.setattr(loaded, "score", score)
    small = scorer.rows(texts, references)
    assert np.allclose(small["bertscore_f1"][1], whole["bertscore_f1"][1], atol=1e-5)
    assert seen == [64, 32, 16]


def test_other_errors_and_a_batch_of_one_are_no_reason_to_go_on():
    with pytest.raises(RuntimeError, match="shape"):
        batch_size.with_halving(_wrong, 8, "work")
    with pytest.raises(torch.OutOfMemoryError):
        batch_size.with_halving(limited(int, int, 0, []), 8, "work")
    assert batch_size.with_halving(limited(int, int, 3, []), 8, "work") == 2


def _wrong(_: int) -> None:
    raise RuntimeError("shape mismatch")


def test_sizes_follow_free_memory(tiny: Loaded, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(batch_size, "free_memory", lambda _: 64e6)
    few = batch_size.conversations(tiny.model, 1000)
    monkeypatch.setattr(batch_size, "free_memory", lambda _: 640e6)
    assert 1 < few < batch_size.conversations(tiny.model, 1000) <= 64
    assert batch_size.conversations(tiny.model, 100_000) < few + 10
