"""Packs: every prompt once, shared beginnings once, and the logits each prompt has alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.models import Loaded, load_base
from toolkit.models.prefix_tree import (
    Pack,
    PrefixTree,
    groups,
    pack,
    plain_logits,
    sorted_by_tokens,
    tree_size,
)
from toolkit.recipe import ModelOptions

prompts = st.lists(st.lists(st.integers(3, 6), min_size=1, max_size=12), min_size=1, max_size=12)


@pytest.fixture(scope="module")
def tiny(tiny_model: Path) -> Loaded:
    return load_base(str(tiny_model), ModelOptions(device="cpu", dtype="float32"))


def whole(many: list[list[int]]) -> Pack:
    return pack(many, sorted_by_tokens(many))


@given(prompts)
def test_a_pack_holds_every_prompt_whole(many: list[list[int]]):
    part = whole(many)
    assert sorted(part.members) == list(range(len(many)))
    for member, path in zip(part.members, part.paths, strict=True):
        assert [part.tokens[spot] for spot in path] == many[member]
        assert [part.positions[spot] for spot in path] == list(range(len(many[member])))
    assert len(part.tokens) == tree_size(many, part.members, 0)


@given(prompts)
def test_a_token_sees_the_tokens_before_it_in_its_own_prompt_and_no_others(many: list[list[int]]):
    part = whole(many)
    seen = part.mask()
    for path in part.paths:
        for depth, spot in enumerate(path):
            assert seen[spot].nonzero().flatten().tolist() == sorted(path[: depth + 1])


def test_beginnings_are_stored_once():
    assert whole([[1, 2, 3, 4], [1, 2, 3, 5], [1, 2, 9]]).tokens == [1, 2, 3, 4, 5, 9]


@given(prompts, st.integers(1, 20))
def test_groups_are_whole_branches_within_the_limit(many: list[list[int]], limit: int):
    members = sorted_by_tokens(many)
    found = list(groups(many, members, 0, limit))
    assert [index for group in found for index in group] == members
    firsts = [{many[index][0] for index in group} for group in found]
    assert sum(map(len, firsts)) == len(set().union(*firsts)), "no branch is torn"
    assert all(
        len(first) == 1 or tree_size(many, group, 0) <= limit
        for group, first in zip(found, firsts, strict=True)
    )


class Counting:
    """A model that counts the tokens it reads."""

    def __init__(self, model: object) -> None:
        self.model, self.read = model, 0

    def __getattr__(self, name: str) -> object:
        return getattr(self.model, name)

    def __call__(self, **inputs: object) -> object:
        self.read += inputs["input_ids"].numel()
        return self.model(**inputs)


def related(seed: int) -> list[list[int]]:
    """Prompts with beginnings in common, one the beginning of another, and one twice."""
    chooser = torch.Generator().manual_seed(seed)
    roots = [torch.randint(3, 200, (20,), generator=chooser).tolist() for _ in range(2)]
    many = [
        root[:cut] + torch.randint(3, 200, (length,), generator=chooser).tolist()
        for root in roots
        for cut, length in [(20, 5), (20, 1), (20, 9), (10, 30), (7, 2)]
    ]
    return [*many, roots[0], many[0]]


@pytest.mark.parametrize("limit", [1, 8, 40, 1000])
def test_logits_are_those_of_each_prompt_alone_and_no_token_is_read_twice(tiny: Loaded, limit: int):
    many = related(1)
    alone = torch.cat([plain_logits(tiny.model, prompt) for prompt in many])
    model = Counting(tiny.model)
    found = {}
    for members, logits in PrefixTree(model, many, limit).logits(set(range(len(many)))):
        found |= dict(zip(members, logits, strict=True))
    assert sorted(found) == list(range(len(many)))
    torch.testing.assert_close(torch.stack([found[i] for i in range(len(many))]), alone, atol=1e-4, rtol=1e-4)
    assert model.read <= tree_size(many, sorted_by_tokens(many), 0) + len(many)


@torch.inference_mode()
def last_logits(model: torch.nn.Module, prompt: list[int], rows: int) -> torch.Tensor:
    return model(input_ids=torch.tensor([prompt])).logits[0, -rows:]


@pytest.mark.parametrize("limit", [1, 8, 40, 1000])
@given(st.data())
@settings(max_examples=10)
def test_several_last_rows_are_those_of_each_prompt_alone(tiny: Loaded, limit: int, data: st.DataObject):
    """Also where the wanted rows themselves are shared, as those of choices that begin alike."""
    many = related(data.draw(st.integers(0, 5)))
    rows = [data.draw(st.integers(1, len(prompt))) for prompt in many]
    found: dict[int, torch.Tensor] = {}
    for members, logits in PrefixTree(tiny.model, many, limit, rows).logits(set(range(len(many)))):
        parts = torch.split(logits, [rows[member] for member in members])
        found |= dict(zip(members, parts, strict=True))
    assert sorted(found) == list(range(len(many)))
    for member, part in found.items():
        alone = last_logits(tiny.model, many[member], rows[member])
        torch.testing.assert_close(part, alone, atol=1e-4, rtol=1e-4)


def message(tiny: Loaded, expected: set[int]) -> dict[int, torch.Tensor]:
    """Prompt -> its logits, of the wanted ones and whatever came with them."""
    found = PrefixTree(tiny.model, related(2), 8).logits(expected)
    return {member: row for members, rows in found for member, row in zip(members, rows, strict=True)}


@pytest.fixture(scope="module")
def everything(tiny: Loaded) -> dict[int, torch.Tensor]:
    return message(tiny, set(range(12)))


@given(st.sets(st.integers(0, 11), min_size=1))
@settings(max_examples=40)
def test_what_is_wanted_changes_no_number(
    tiny: Loaded, everything: dict[int, torch.Tensor], expected: set[int]
):
    some = message(tiny, expected)
    assert expected <= some.keys()
    assert all(torch.equal(row, everything[member]) for member, row in some.items())


@pytest.mark.slow
def test_the_real_model_reads_trees_as_it_reads_single_prompts():
    real = load_base("smollm2-135m-instruct", ModelOptions(dtype="float32"))
    texts = [f"Name a fruit.\n{one}\n{other}" for one in ("an apple", "a pear") for other in ("red", "a car")]
    many = [real.tokenizer.encode(text) for text in texts]
    for members, logits in PrefixTree(real.model, many, 4).logits({0, 1, 2, 3}):
        for member, row in zip(members, logits, strict=True):
            alone = plain_logits(real.model, many[member])[0]
            torch.testing.assert_close(row, alone, atol=1e-3, rtol=1e-3)
