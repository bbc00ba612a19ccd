"""Functions that the task files beside this one name: programs from answers, and pass@k by our sandbox."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from toolkit import sandbox


def pass_at_k(
    references: Sequence[str], predictions: Sequence[Sequence[str]], k: Sequence[int]
) -> dict[str, float]:
    """Mean pass@k over problems."""
    return sandbox.CodeEval().compute(predictions, references, k)[0]


def build_predictions(resps: Sequence[Sequence[str]], docs: Sequence[dict[str, Any]]) -> list[list[str]]:
    """The function's head from the problem, its body from the answer."""
    return [[doc["prompt"] + reply for reply in answers] for answers, doc in zip(resps, docs, strict=True)]


def build_predictions_instruct(
    resps: Sequence[Sequence[str]], docs: Sequence[dict[str, Any]]
) -> list[list[str]]:
    """The same, up to the end of the answer's code block."""
    return [
        [doc["prompt"] + reply.partition("```")[0] for reply in answers]
        for answers, doc in zip(resps, docs, strict=True)
    ]
