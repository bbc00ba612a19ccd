"""Logits of many prompts with common prefixes, each prefix computed once.

The prompts' tokens form a tree, walked from its root. The common prefix of a branch goes into the key-value
cache once; where a branch is small enough, its remaining tokens form one sequence in which an attention mask
lets each token see the cache and its own ancestors, at its position in its own prompt. One pass gives the
logits of all its prompts without padding (tree attention, as in SpecInfer, Miao et al. 2023).
"""

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from transformers import DynamicCache

from toolkit.models import batch_size

Tokens = Sequence[int]
Passes = Iterator[tuple[tuple[int, ...], torch.Tensor]]  # positions of some prompts, and their logits

MIN_PREFIX = 16  # shortest common prefix, in tokens, that is computed once for all prompts


@dataclass(frozen=True)
class Pack:
    """Some prompts, from their common prefix on, as one sequence of the tokens of their tree."""

    members: tuple[int, ...]  # which prompts, as positions in the list that was packed
    tokens: list[int]
    positions: list[int]  # of each token in its own prompt
    paths: list[list[int]]  # of each member: the places in `tokens` of all its tokens, first to last

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


def pack(prompts: Sequence[Tokens], members: Sequence[int], start: int = 0) -> Pack:
    """The tree of some prompts' tokens from `start` on, as one sequence; `members` are sorted by tokens."""
    tokens: list[int] = []
    positions: list[int] = []
    paths: list[list[int]] = []
    last: Tokens = ()
    for index in members:
        prompt = prompts[index]
        common = max(start, prefix_length(last, prompt))
        shared = paths[-1][: common - start] if paths else []
        paths.append(shared + list(range(len(tokens), len(tokens) + len(prompt) - common)))
        tokens += prompt[common:]
        positions += range(common, len(prompt))
        last = prompt
    return Pack(tuple(members), tokens, positions, paths)


def sorted_by_tokens(prompts: Sequence[Tokens]) -> list[int]:
    """The prompts' places in the order in which those that begin alike lie side by side."""
    return sorted(range(len(prompts)), key=lambda index: list(prompts[index]))


def groups(prompts: Sequence[Tokens], members: Sequence[int], start: int, limit: int) -> Iterator[list[int]]:
    """Sorted members that share `start` tokens, in runs of branches of at most `limit` further tokens."""
    branches = [list(own) for _, own in groupby(members, key=lambda index: prompts[index][start])]
    return _runs(prompts, branches, start, limit)


def _runs(
    prompts: Sequence[Tokens], parts: Iterable[list[int]], start: int, limit: int
) -> Iterator[list[int]]:
    """Sorted parts, joined while their tree has at most `limit` tokens from `start` on."""
    run: list[int] = []
    for part in parts:
        if run and tree_size(prompts, [*run, *part], start) > limit:
            yield run
            run = []
        run = [*run, *part]
    yield run


def tree_size(prompts: Sequence[Tokens], members: Sequence[int], start: int) -> int:
    """Tokens in the tree of the members (sorted), from `start` on."""
    total, last = 0, None
    for index in members:
        prompt = prompts[index]
        total += len(prompt) - max(start, prefix_length(prompts[last], prompt) if last is not None else 0)
        last = index
    return total


def prefix_length(one: Tokens, other: Tokens) -> int:
    """Number of tokens in the common prefix."""
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return count


def common_prefix(prompts: Sequence[Tokens], longest: int) -> list[int]:
    """The prefix of all prompts, of at most `longest` tokens; empty where it is not worth a pass."""
    first, last = min(map(list, prompts)), max(map(list, prompts))
    count = min(prefix_length(first, last), longest)
    return first[:count] if count >= MIN_PREFIX else []


class PrefixTree:
    """Some prompts, walked along the tree of their tokens with one model that `supports_custom_masks`.

    Args:
        model: a causal language model.
        prompts: the tokens of each.
        limit: tokens in one pass beyond those in the cache.
        rows: how many of each prompt's last tokens logits are wanted after; left out, one.
    """

    def __init__(
        self, model: Any, prompts: Sequence[Tokens], limit: int, rows: Sequence[int] | None = None
    ) -> None:
        self.model, self.prompts, self.limit = model, prompts, limit
        self.rows = rows or [1] * len(prompts)
        self.cache = DynamicCache(config=model.config)

    def logits(self, requested: Set[int]) -> Passes:
        """Yield (prompts, their logits: float32, (sum of the prompts' rows, vocabulary)), pass by pass.

        Passes without a wanted prompt are left out. Which prompts go together depends on all prompts, not on
        which are wanted, so that the numbers are the same to the last bit when a run is taken up again.
        """
        yield from self._walk(sorted_by_tokens(self.prompts), 0, requested)

    def _walk(self, members: list[int], depth: int, requested: Set[int]) -> Passes:
        """Read a branch whose first `depth` tokens are in the cache, and leave the cache as it was."""
        if requested.isdisjoint(members):
            return
        first, last = self.prompts[members[0]], self.prompts[members[-1]]
        unread = [len(self.prompts[index]) - self.rows[index] for index in members]
        common = min(prefix_length(first, last), *unread)
        if common > depth:
            self._forward(first[depth:common], range(depth, common), None, torch.tensor([0]))
        for group in groups(self.prompts, members, common, self.limit):
            if len(group) == 1 or tree_size(self.prompts, group, common) <= self.limit:
                yield from self._read([group], common, requested)
            elif group == members:  # whose wanted rows begin here cannot wait for more to be shared
                here = [index for index, start in zip(members, unread, strict=True) if start == common]
                alone = _runs(self.prompts, [[index] for index in here], common, self.limit)
                yield from self._read(alone, common, requested)
                if rest := [index for index in members if index not in set(here)]:
                    yield from self._walk(rest, common, requested)
            else:
                yield from self._walk(group, common, requested)
        self._crop_cache(depth)

    def _read(self, parts: Iterable[list[int]], common: int, requested: Set[int]) -> Passes:
        """One pass for each part that has a wanted prompt."""
        for members in parts:
            if requested.isdisjoint(members):
                continue
            part = pack(self.prompts, members, common)
            ends = [path[-self.rows[index] :] for index, path in zip(members, part.paths, strict=True)]
            keep = torch.tensor([place for end in ends for place in end])
            logits = self._forward(part.tokens, part.positions, part.mask(), keep)
            self._crop_cache(common)
            yield part.members, logits

    def _crop_cache(self, length: int) -> None:
        """Cut the cache back to this many tokens."""
        self.cache.crop(-(self.cache.get_seq_length() - length))

    @torch.inference_mode()
    def _forward(
        self, tokens: Tokens, positions: Sequence[int], seen: torch.Tensor | None, keep: torch.Tensor
    ) -> torch.Tensor:
        """Logits at `keep`, caching keys and values; `seen` (tokens, tokens) is who sees whom."""
        if seen is None:
            seen = torch.ones(len(tokens), len(tokens), dtype=torch.bool).tril()
        before = torch.ones(len(tokens), self.cache.get_seq_length(), dtype=torch.bool)
        hidden = ~torch.cat([before, seen], dim=1)
        additive = torch.zeros(hidden.shape, dtype=self.model.dtype)
        additive.masked_fill_(hidden, torch.finfo(self.model.dtype).min)
        device = self.model.device
        output = self.model(
            input_ids=torch.tensor([list(tokens)], device=device),
            position_ids=torch.tensor([list(positions)], device=device),
            attention_mask=additive[None, None].to(device),
            past_key_values=self.cache,
            logits_to_keep=keep.to(device),
            use_cache=True,
        )
        logits: torch.Tensor = output.logits[0].float()
        return logits


def tree_logits(
    model: Any, prompts: Sequence[Tokens], requested: Set[int], rows: Sequence[int] | None = None
) -> Passes:
    """As `PrefixTree.logits`, with passes as large as the device takes; each wanted prompt once."""
    limit, left = batch_size.PASS_TOKENS.on(model.device), set(requested)
    while left:
        tree = PrefixTree(model, prompts, limit, rows)
        try:
            for members, logits in tree.logits(frozenset(left)):
                new = tuple(member for member in members if member in left)
                keep = [member in left for member in members for _ in range(tree.rows[member])]
                left.difference_update(new)
                yield new, logits if len(new) == len(members) else logits[torch.tensor(keep)]
        except (RuntimeError, MemoryError) as error:
            failed = error
        if left:
            limit = batch_size.halve(limit, "prompts with common beginnings", failed)


@torch.inference_mode()
def plain_logits(model: Any, prompt: Tokens) -> torch.Tensor:
    """Logits after one prompt, by the library's plain path: float32, (1, vocabulary)."""
    ids = torch.tensor([list(prompt)], device=model.device)
    logits: torch.Tensor = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits
    return logits[:, -1].float()
