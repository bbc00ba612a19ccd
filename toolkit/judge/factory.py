"""A recipe's judge section -> the judge it describes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from toolkit.errors import DataError, RecipeError
from toolkit.judge.prompts import JudgePrompt, load_prompt
from toolkit.judge.verdicts import PairJudge
from toolkit.models import bases
from toolkit.recipe import Generation, Judge, ModelOptions, existing
from toolkit.registry import JUDGE_METHODS
from toolkit.types import digest

if TYPE_CHECKING:
    from toolkit.generate.engine import ServedModel
    from toolkit.models import Loaded

LoadModel = Callable[[str], "Loaded | ServedModel"]
"""Gives a local model by its name, in memory or behind an engine."""


def build_logprob(judge: Judge, name: str, load: LoadModel, options: ModelOptions) -> PairJudge:
    from toolkit.judge.logprob import LogprobJudge

    return LogprobJudge(load(name), load_judge_prompt(judge), reference=judge.reference)


def build_generative(judge: Judge, name: str, load: LoadModel, options: ModelOptions) -> PairJudge:
    from toolkit.judge.generative import EndpointBackend, GenerativeJudge, LocalBackend

    prompt, reply = load_judge_prompt(judge), Generation(max_new_tokens=judge.max_new_tokens)
    backend = EndpointBackend(judge.endpoint) if judge.endpoint else LocalBackend(load(name))
    return GenerativeJudge(backend, prompt, reference=judge.reference, options=reply)


def build_reward(judge: Judge, name: str, load: LoadModel, options: ModelOptions) -> PairJudge:
    from toolkit.judge.reward import RewardJudge

    return RewardJudge(Path(name), options)


def model_fingerprint(name: str, options: ModelOptions) -> str:
    from toolkit.models.loading import loaded_fingerprint

    return loaded_fingerprint(bases.resolve_base(name, revision=options.revision), options)


def reward_fingerprint(name: str, options: ModelOptions) -> str:
    from toolkit.models import rewards

    return rewards.reward_fingerprint(Path(name), options)


def build_judge(
    judge: Judge, load: LoadModel, *, base: str | None = None, options: ModelOptions = ModelOptions()
) -> PairJudge:
    """The judge that a recipe asks for; by its prompt it compares two answers or grades one.

    Args:
        judge: the recipe's judge section.
        load: gives a local model by its name; not called for an endpoint or a reward model.
        base: the model that judges when the section names none.
        options: how a reward model is loaded, which `load` cannot do.

    Raises:
        RecipeError: the section names no model, or an endpoint together with a method that needs a local one.
        DataError: there is no such prompt.
        ModelError: there is no such model.
    """
    build = resolve_name(JUDGE_METHODS[judge.method].build)
    return build(judge, _model_name(judge, base), load, options)  # type: ignore[no-any-return]


def validate_judges(judges: Sequence[Judge], *, base: str | None = None) -> None:
    """Raise `RecipeError` for judges that could cast no votes, before anything is trained or paid for.

    `judges` are the members of the recipe's judge section; `base` judges where a section names no model.
    """
    names = []
    for place, judge in enumerate(judges):
        try:
            names.append(_model_name(judge, base))
        except RecipeError as error:
            if len(judges) == 1:
                raise
            raise RecipeError(f"judge.jury.{place}.{str(error).removeprefix('judge.')}") from None
        _validate_votes(judge)
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise RecipeError(f"judge.jury: {twice} is in it twice, and has one vote; leave one out")


def _validate_votes(judge: Judge) -> None:
    method = JUDGE_METHODS[judge.method]
    if judge.rule == "average" and not method.probabilities:
        raise RecipeError(
            f"judge.rule: a {judge.method} verdict has no probability to average; use `agreement`"
        )
    try:
        prompt = load_judge_prompt(judge) if method.prompt else None
    except DataError as error:
        raise RecipeError(f"judge.prompt: {error}; name one of these, or mend the file") from None
    if prompt and prompt.protocol != "pairwise":
        raise RecipeError(
            f"judge.prompt: `{judge.prompt}` grades answers one by one, and votes compare two; use a "
            f"pairwise prompt, and get grades with `adapter-arena judge RUN --prompt {judge.prompt}`"
        )


def load_judge_prompt(judge: Judge) -> JudgePrompt:
    """The judge prompt a section names; `pairwise` with a reference is `pairwise-reference`."""
    needs_reference = judge.reference and judge.prompt == "pairwise"
    return load_prompt("pairwise-reference" if needs_reference else judge.prompt)


def prompt_key(judge: Judge) -> str:
    """Key of the section's verdicts in the store; needs no loaded model."""
    ending = JUDGE_METHODS[judge.method].prompt
    if ending is None:
        return digest(judge.method)
    return load_judge_prompt(judge).key(ending, judge.reference, judge.endpoint)


def judge_name(
    judge: Judge, options_of: Callable[[str], ModelOptions], *, base: str | None = None, fetch: bool = True
) -> str:
    """Judge name recorded in the section's verdicts; needs no loaded model.

    `options_of` gives how a model of a name is loaded; `base` judges where the section names none. Without
    `fetch` the name of weights that are not on this machine has no mark.
    """
    if judge.endpoint is not None:
        return judge.endpoint.model
    name = judge.model or base or ""
    if not (fetch or existing(name) or name in bases.PACKAGED):
        return Path(name).name
    fingerprint = resolve_name(JUDGE_METHODS[judge.method].fingerprint)
    return f"{Path(name).name}@{fingerprint(name, options_of(name))[:6]}"


def _model_name(judge: Judge, base: str | None) -> str:
    method = JUDGE_METHODS[judge.method]
    if method.own_model:
        if judge.model is None:
            raise RecipeError("judge.model: no reward model is named; name the folder of the reward model")
        return judge.model
    if judge.endpoint is not None:
        if not method.remote:
            raise RecipeError("judge.method: an endpoint does not show its logits; use `method: written`")
        return judge.endpoint.model
    name = judge.model or base
    if not name:
        raise RecipeError("judge.model: is required; name the model that judges, or an endpoint")
    return name
