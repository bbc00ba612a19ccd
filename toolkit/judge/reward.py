"""A reward model as a judge: it scores each answer by itself, and the higher score wins (Bradley-Terry).

The probability that one answer is better is the logistic of the difference of the two scores, which is what
reward models are trained for (Ouyang et al. 2022). It has no order to be biased by, and no prompt.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from toolkit.judge.verdicts import NOT_FINITE, REWARD, Comparison, conversations
from toolkit.models.rewards import RewardModel
from toolkit.recipe import ModelOptions
from toolkit.types import Message, Outcome, Verdict

Conversation = tuple[Message, ...]

BATCH_COMPARISONS = 64
"""Verdicts that come together: when they are on disk the next answers are read."""


class RewardJudge:
    """A sequence classifier with one output, as TRL's RewardTrainer saves it, as a judge of pairs."""

    prompt_key = REWARD

    def __init__(self, folder: Path, options: ModelOptions = ModelOptions()) -> None:
        """Load the reward model in `folder`: a model folder, or an adapter folder on its base.

        Raises:
            ModelError: no reward model is there.
        """
        self.scorer = RewardModel(folder, options)
        self.name = self.scorer.name

    def verdicts(
        self, comparisons: Sequence[Comparison], known: Mapping[Comparison, Verdict]
    ) -> Iterator[Verdict]:
        """Yield verdicts, those of some asks at a time; an answer in several battles is read once."""
        wanted = [comparison for comparison in comparisons if comparison not in known]
        rewards: dict[Conversation, float | None] = {}
        for start in range(0, len(wanted), BATCH_COMPARISONS):
            some = wanted[start : start + BATCH_COMPARISONS]
            said = dict.fromkeys(answer for comparison in some for answer in conversations(comparison))
            new = {
                answer: self.scorer.encode(answer[:-1], answer[-1].content)
                for answer in said
                if answer not in rewards
            }
            rewards |= zip(new, self.scorer.rewards(list(new.values())), strict=True)
            for comparison in some:
                a, b = (rewards[answer] for answer in conversations(comparison))
                yield self._verdict(
                    comparison, a, b, sum(len(new.pop(answer, ())) for answer in conversations(comparison))
                )

    def _verdict(self, comparison: Comparison, a: float | None, b: float | None, tokens: int) -> Verdict:
        outcome: Outcome | None = None
        probability, reason = None, "an answer is longer than the judge can read"
        if a is not None and b is not None and not (math.isfinite(a) and math.isfinite(b)):
            reason = NOT_FINITE
        elif a is not None and b is not None:
            outcome = "a" if a > b else "b" if b > a else "tie"
            probability, reason = 1 / (1 + math.exp(min(b - a, 700.0))), f"rewards {a:.3f} and {b:.3f}"
        return comparison.verdict(
            self.name,
            self.prompt_key,
            outcome=outcome,
            probability_a=probability,
            reason=reason,
            tokens_in=tokens,
        )
