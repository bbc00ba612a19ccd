"""A reward model as a judge: it scores each answer by itself, and the higher score wins (Bradley-Terry).

The probability that one answer is better is the logistic of the difference of the two scores, which is what
reward models are trained for (Ouyang et al. 2022). It has no order to be biased by, and no prompt.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from toolkit.judge.verdicts import NOT_FINITE, Comparison, conversations
from toolkit.models.rewards import RewardModel
from toolkit.recipe import ModelOptions
from toolkit.types import Judgment, Message, Verdict, digest

Conversation = tuple[Message, ...]

BATCH_COMPARISONS = 64
"""Verdicts that come together: when they are on disk the next answers are read."""


class RewardJudge:
    """A sequence classifier with one output, as TRL's RewardTrainer saves it, as a judge of pairs."""

    prompt_key = digest("reward")

    def __init__(self, folder: Path, options: ModelOptions = ModelOptions()) -> None:
        """Load the reward model in `folder` (or adapter on its base); raises `ModelError` where none is."""
        self.scorer = RewardModel(folder, options)
        self.name = self.scorer.name

    def verdicts(
        self, comparisons: Sequence[Comparison], known: Mapping[Comparison, Judgment]
    ) -> Iterator[Verdict]:
        """Yield verdicts, those of some asks at a time; an answer in several battles is read once."""
        missing = [comparison for comparison in comparisons if comparison not in known]
        rewards: dict[Conversation, float | None] = {}
        for start in range(0, len(missing), BATCH_COMPARISONS):
            some = missing[start : start + BATCH_COMPARISONS]
            shown = dict.fromkeys(answer for comparison in some for answer in conversations(comparison))
            new = {
                answer: self.scorer.encode(answer[:-1], answer[-1].content)
                for answer in shown
                if answer not in rewards
            }
            rewards |= zip(new, self.scorer.rewards(list(new.values())), strict=True)
            for comparison in some:
                answers = conversations(comparison)
                tokens = sum(len(new.pop(answer, ())) for answer in answers)
                found = _compare(*(rewards[answer] for answer in answers))
                yield comparison.judgment(self.name, self.prompt_key, tokens_in=tokens, **found)


def _compare(a: float | None, b: float | None) -> dict[str, Any]:
    if a is None or b is None:
        return {"reason": "an answer is longer than the judge can read"}
    if not (math.isfinite(a) and math.isfinite(b)):
        return {"reason": NOT_FINITE}
    return {
        "outcome": "a" if a > b else "b" if b > a else "tie",
        "probability_a": 1 / (1 + math.exp(min(b - a, 700.0))),
        "reason": f"rewards {a:.3f} and {b:.3f}",
    }
