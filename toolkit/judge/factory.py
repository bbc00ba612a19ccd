"""A recipe's judge section -> the judge it describes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.errors import DataError, RecipeError
from toolkit.judge.prompts import JudgePrompt, Method, load_prompt
from toolkit.judge.verdicts import REWARD, PairJudge
from toolkit.models import bases
from toolkit.recipe import Generation, Judge, ModelOptions, existing

if TYPE_CHECKING:
    from toolkit.generate.engine import ServedModel
    from toolkit.judge.generative import Backend
    from toolkit.judge.grading import Grader
    from toolkit.models import Loaded

LoadModel = Callable[[str], "Loaded | ServedModel"]
"""Gives a local model by its name, in memory or behind an engine."""


def build_judge(
    judge: Judge,
    load: LoadModel,
    *,
    base: str | None = None,
    options: ModelOptions = ModelOptions(),
) -> PairJudge:
    """The judge that a recipe asks for.

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
    if judge.method == "reward":
        from toolkit.judge.reward import RewardJudge

        return RewardJudge(Path(_model_name(judge, base)), options)
    prompt = load_judge_prompt(judge)
    if judge.method == "written":
        from toolkit.judge.generative import GenerativeJudge

        return GenerativeJudge(_build_backend(judge, load, base), prompt, **_generation_options(judge))
    from toolkit.judge.logprob import LogprobJudge

    return LogprobJudge(_local(judge, load, base), prompt, reference=judge.reference)


def validate_judges(judges: Sequence[Judge], *, base: str | None = None) -> None:
    """Refuse judges that could cast no votes, before anything is trained, loaded or paid for.

    Args:
        judges: the members of the recipe's judge section.
        base: the model that judges when a section names none.

    Raises:
        RecipeError: `key: what is wrong; what to do`.
    """
    names = []
    for place, judge in enumerate(judges):
        try:
            names.append(_model_name(judge, base))
        except RecipeError as error:
            if len(judges) == 1:
                raise
            raise RecipeError(f"judge.jury.{place}.{str(error).removeprefix('judge.')}") from None
        _check_votes(judge)
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise RecipeError(f"judge.jury: {twice} is in it twice, and has one vote; leave one out")


def _check_votes(judge: Judge) -> None:
    if judge.method == "written" and judge.rule == "average":
        raise RecipeError("judge.rule: a written verdict has no probability to average; use `agreement`")
    if judge.method == "reward":
        return
    try:
        prompt = load_judge_prompt(judge)
    except DataError as error:
        raise RecipeError(f"judge.prompt: {error}; name one of these, or mend the file") from None
    if prompt.protocol != "pairwise":
        raise RecipeError(
            f"judge.prompt: `{judge.prompt}` grades answers one by one, and votes compare two; use a "
            f"pairwise prompt, and get grades with `adapter-arena judge RUN --prompt {judge.prompt}`"
        )


def build_grader(judge: Judge, load: LoadModel, *, base: str | None = None) -> Grader:
    """The judge that gives single answers grades, for a section whose prompt is such a one.

    Raises:
        ToolkitError: as `build_judge`; or a reward model is asked for, whose rewards are no grades.
    """
    from toolkit.judge.grading import GenerativeGrader, LogprobGrader

    if judge.method == "reward":
        raise RecipeError("judge.method: a reward model gives no grades from 1 to 10; use a pairwise prompt")
    prompt = load_judge_prompt(judge)
    if judge.method == "written":
        return GenerativeGrader(_build_backend(judge, load, base), prompt, **_generation_options(judge))
    return LogprobGrader(_local(judge, load, base), prompt, reference=judge.reference)


def load_judge_prompt(judge: Judge) -> JudgePrompt:
    """The judge prompt a section names; `pairwise` with a reference is `pairwise-reference`."""
    wants_reference = judge.reference and judge.prompt == "pairwise"
    return load_prompt("pairwise-reference" if wants_reference else judge.prompt)


def prompt_key(judge: Judge) -> str:
    """What the verdicts of this section are kept under, known before any model is loaded."""
    if judge.method == "reward":
        return REWARD
    return load_judge_prompt(judge).key(prompt_method(judge), judge.reference, judge.endpoint)


def judge_name(judge: Judge, options_of: Callable[[str], ModelOptions], *, base: str | None = None) -> str:
    """What the verdicts of this section are signed with, known before any model is loaded.

    Args:
        judge: one judge of the recipe.
        options_of: how a model of this name is loaded.
        base: the model that judges when the section names none.
    """
    if judge.endpoint is not None:
        return judge.endpoint.model
    from toolkit.models.loading import loaded_fingerprint
    from toolkit.models.rewards import reward_fingerprint

    name = judge.model or base or ""
    options = options_of(name)
    if judge.method == "reward":
        mark = reward_fingerprint(Path(name), options)
    else:
        mark = loaded_fingerprint(bases.resolve_base(name, revision=options.revision), options)
    return f"{Path(name).name}@{mark[:6]}"


def local_judge_name(
    judge: Judge, options_of: Callable[[str], ModelOptions], *, base: str | None = None
) -> str:
    """The same, without a mark where the weights are not on this machine: nothing is fetched for it."""
    name = judge.model or base or ""
    if judge.endpoint is not None or existing(name) or name in bases.PACKAGED:
        return judge_name(judge, options_of, base=base)
    return Path(name).name


def prompt_method(judge: Judge) -> Method:
    """How the judge of this section is asked."""
    return "letter" if judge.method == "logits" else "written"


def _build_backend(judge: Judge, load: LoadModel, base: str | None) -> Backend:
    from toolkit.judge.generative import EndpointBackend, LocalBackend

    if judge.endpoint is None:
        return LocalBackend(_local(judge, load, base))
    return EndpointBackend(judge.endpoint)


def _generation_options(judge: Judge) -> dict[str, Any]:
    """Options of a judge that writes."""
    return {
        "reference": judge.reference,
        "options": Generation(max_new_tokens=judge.max_new_tokens),
    }


def _local(judge: Judge, load: LoadModel, base: str | None) -> Loaded | ServedModel:
    return load(_model_name(judge, base))


def _model_name(judge: Judge, base: str | None) -> str:
    """The model that judges."""
    if judge.method == "reward":
        if judge.model is None:
            raise RecipeError("judge.model: no reward model is named; name the folder of the reward model")
        return judge.model
    if judge.endpoint is not None:
        if judge.method == "logits":
            raise RecipeError("judge.method: an endpoint does not show its logits; use `method: written`")
        return judge.endpoint.model
    name = judge.model or base
    if name is None:
        raise RecipeError("judge.model: nobody is named; name the model that judges, or an endpoint")
    return name
