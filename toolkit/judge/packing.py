"""Next-token logits of many prompts that begin alike, each shared beginning computed once.

The prompts' tokens form a tree: the system turn is common to all, the question to all battles on it, the
first answer to all battles that show it first. The tree's tokens are laid one after the other in a single
sequence, and an attention mask lets each token see its own ancestors only, at its own position in its own
prompt. One forward pass of that sequence gives every prompt's logits, with no padding (tree attention, as in
SpecInfer, Miao et al. 2023).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

Tokens = Sequence[int]


@dataclass(frozen=True)
class Pack:
    """Some prompts as one sequence of the tokens of their tree."""

    members: tuple[int, ...]
    """Which prompts, as positions in the list that was packed."""
    tokens: list[int]
    positions: list[int]
    """Of each token in its own prompt."""
    paths: list[list[int]]
    """Of each member: the places in `tokens` of all its tokens, first to last."""

    def mask(self) -> torch.Tensor:
        """Which token sees which: bool, (tokens, tokens), True where attention is allowed."""
        seen = torch.zeros(len(self.tokens), len(self.tokens), dtype=torch.bool)
        done = 0
        for path in self.paths:
            own = len(path)
            while own > 0 and path[own - 1] >= done:
                own -= 1
            ancestors, new = path[:own], path[own:]
            if new:
                start, end = new[0], new[-1] + 1
                seen[start:end, ancestors] = True
                seen[start:end, start:end] = torch.ones(end - start, end - start, dtype=torch.bool).tril()
                done = end
        return seen


def pack(prompts: Sequence[Tokens], limit: int) -> Iterator[Pack]:
    """Gather prompts that begin alike into packs of at most `limit` tokens.

    A prompt longer than `limit` gets a pack of its own. Every prompt is in exactly one pack.
    """
    order = sorted(range(len(prompts)), key=lambda index: list(prompts[index]))
    current = _Growing()
    for index in order:
        if current.members and len(current.tokens) + current.added(prompts[index]) > limit:
            yield current.done()
            current = _Growing()
        current.add(index, prompts[index])
    if current.members:
        yield current.done()


class _Growing:
    """A pack being filled with prompts in sorted order, so that each shares most with the one before."""

    def __init__(self) -> None:
        self.members: list[int] = []
        self.tokens: list[int] = []
        self.positions: list[int] = []
        self.paths: list[list[int]] = []
        self.last: Tokens = ()

    def added(self, prompt: Tokens) -> int:
        return len(prompt) - shared(self.last, prompt)

    def add(self, index: int, prompt: Tokens) -> None:
        common = shared(self.last, prompt)
        start = len(self.tokens)
        new = prompt[common:]
        self.tokens += new
        self.positions += range(common, len(prompt))
        before = self.paths[-1][:common] if self.paths else []
        self.paths.append(before + list(range(start, start + len(new))))
        self.members.append(index)
        self.last = prompt

    def done(self) -> Pack:
        return Pack(tuple(self.members), self.tokens, self.positions, self.paths)


def shared(one: Tokens, other: Tokens) -> int:
    """How many tokens both begin with."""
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return count


@torch.inference_mode()
def packed_logits(model: Any, part: Pack) -> torch.Tensor:
    """Logits after the last token of each member: float32, (members, vocabulary)."""
    additive = torch.zeros(len(part.tokens), len(part.tokens), dtype=model.dtype)
    additive.masked_fill_(~part.mask(), torch.finfo(model.dtype).min)
    ends = torch.tensor([path[-1] for path in part.paths], device=model.device)
    output = model(
        input_ids=torch.tensor([part.tokens], device=model.device),
        position_ids=torch.tensor([part.positions], device=model.device),
        attention_mask=additive[None, None].to(model.device),
        logits_to_keep=ends,
        use_cache=False,
    )
    logits: torch.Tensor = output.logits[0].float()
    return logits


@torch.inference_mode()
def plain_logits(model: Any, prompts: Sequence[Tokens], pad: int) -> torch.Tensor:
    """The same without sharing: one padded batch. float32, (prompts, vocabulary)."""
    width = max(map(len, prompts))
    rows = [[pad] * (width - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    attention = torch.tensor(mask, device=model.device)
    output = model(
        input_ids=torch.tensor(rows, device=model.device),
        attention_mask=attention,
        position_ids=(attention.cumsum(-1) - 1).clamp(min=0),
        logits_to_keep=1,
        use_cache=False,
    )
    logits: torch.Tensor = output.logits[:, -1].float()
    return logits
