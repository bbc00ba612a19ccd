"""Packs: every prompt once, shared beginnings once, and the logits each prompt has alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from toolkit.judge.packing import Pack, pack, packed_logits, plain_logits
from toolkit.models import Loaded

prompts = st.lists(st.lists(st.integers(3, 6), min_size=1, max_size=12), min_size=1, max_size=12)


def own_tokens(part: Pack, place: int) -> list[int]:
    return [part.tokens[spot] for spot in part.paths[place]]


@given(prompts, st.integers(1, 40))
def test_every_prompt_is_read_once_and_whole(many: list[list[int]], limit: int):
    packs = list(pack(many, limit))
    assert sorted(member for part in packs for member in part.members) == list(range(len(many)))
    for part in packs:
        assert len(part.members) == 1 or len(part.tokens) <= limit
        for place, member in enumerate(part.members):
            assert own_tokens(part, place) == many[member]
            assert [part.positions[spot] for spot in part.paths[place]] == list(range(len(many[member])))


@given(prompts)
def test_a_token_sees_the_tokens_before_it_in_its_own_prompt_and_no_others(many: list[list[int]]):
    (part,) = pack(many, 10_000)
    seen = part.mask()
    for path in part.paths:
        for depth, spot in enumerate(path):
            assert seen[spot].nonzero().flatten().tolist() == sorted(path[: depth + 1])


def test_beginnings_are_stored_once():
    (part,) = pack([[1, 2, 3, 4], [1, 2, 3, 5], [1, 2, 9]], 100)
    assert part.tokens == [1, 2, 3, 4, 5, 9]


def test_packed_logits_are_those_of_each_prompt_alone(tiny: Loaded):
    chooser = torch.Generator().manual_seed(1)
    roots = [torch.randint(3, 200, (20,), generator=chooser).tolist() for _ in range(2)]
    many = [
        root[:cut] + torch.randint(3, 200, (length,), generator=chooser).tolist()
        for root in roots
        for cut, length in [(20, 5), (20, 1), (10, 30), (7, 2)]
    ] + [roots[0]]
    alone = torch.cat([plain_logits(tiny.model, [prompt], 2) for prompt in many])
    for limit in (40, 1000):
        for part in pack(many, limit):
            torch.testing.assert_close(
                packed_logits(tiny.model, part), alone[list(part.members)], atol=1e-4, rtol=1e-4
            )
    torch.testing.assert_close(plain_logits(tiny.model, many, 2), alone, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_the_real_model_reads_packs_as_it_reads_single_prompts():
    from toolkit.models import load_base
    from toolkit.recipe import ModelOptions

    real = load_base("smollm2-135m-instruct", ModelOptions(dtype="float32"))
    texts = [f"Name a fruit.\n{one}\n{other}" for one in ("an apple", "a pear") for other in ("red", "a car")]
    many = [real.tokenizer.encode(text) for text in texts]
    (part,) = pack(many, 1000)
    for place, member in enumerate(part.members):
        alone = plain_logits(real.model, [many[member]], 0)[0]
        torch.testing.assert_close(packed_logits(real.model, part)[place], alone, atol=1e-3, rtol=1e-3)
