"""A recipe's judge section -> the judge it describes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.errors import RecipeError
from toolkit.judge.asking import JudgePrompt, load_prompt
from toolkit.judge.judging import REWARD, PairJudge
from toolkit.recipe import Judge

if TYPE_CHECKING:
    from toolkit.models import Loaded


def open_judge(asked: Judge, load: Callable[[str], Loaded], *, base: str | None = None) -> PairJudge:
    """The judge that a recipe asks for.

    Args:
        asked: the recipe's judge section.
        load: gives a local model by its name; not called for an endpoint or a reward model.
        base: the model that judges when the section names none.

    Raises:
        RecipeError: the section names no model, or an endpoint together with a method that needs a local one.
        DataError: there is no such prompt.
        ModelError: there is no such model.
    """
    if asked.method == "reward":
        return _reward(asked)
    prompt = prompt_of(asked)
    if asked.endpoint is not None:
        from toolkit.judge.writing import EndpointWriter
        from toolkit.judge.written import WrittenJudge

        if asked.method == "logits":
            raise RecipeError("judge.method: an endpoint does not show its logits; use `method: written`")
        return WrittenJudge(EndpointWriter(asked.endpoint), prompt, reference=asked.reference)
    name = asked.model or base
    if name is None:
        raise RecipeError("judge.model: name the model that judges, or an endpoint")
    return _local(load(name), prompt, asked)


def prompt_of(asked: Judge) -> JudgePrompt:
    """The judge prompt a section names; `pairwise` with a reference is `pairwise-reference`."""
    wants_reference = asked.reference and asked.prompt == "pairwise"
    return load_prompt("pairwise-reference" if wants_reference else asked.prompt)


def prompt_key(asked: Judge) -> str:
    """What the verdicts of this section are kept under, known before any model is loaded."""
    if asked.method == "reward":
        return REWARD
    return prompt_of(asked).key("letter" if asked.method == "logits" else "written")


def judge_name(asked: Judge, weights: Callable[[str], str], *, base: str | None = None) -> str:
    """What the verdicts of this section are signed with, known before any model is loaded.

    Args:
        asked: the recipe's judge section.
        weights: gives the fingerprint of a model's weights by its name.
        base: the model that judges when the section names none.
    """
    if asked.endpoint is not None:
        return asked.endpoint.model
    name = asked.model or base or ""
    return f"{Path(name).name}@{weights(name)[:6]}"


def _local(loaded: Loaded, prompt: JudgePrompt, asked: Judge) -> PairJudge:
    if asked.method == "written":
        from toolkit.judge.writing import LocalWriter
        from toolkit.judge.written import WrittenJudge

        return WrittenJudge(LocalWriter(loaded), prompt, reference=asked.reference)
    from toolkit.judge.logits import LogitsJudge

    return LogitsJudge(loaded, prompt, reference=asked.reference)


def _reward(asked: Judge) -> PairJudge:
    from toolkit.judge.rewards import RewardJudge

    if asked.model is None:
        raise RecipeError("judge.model: name the folder of the reward model")
    return RewardJudge(Path(asked.model))
