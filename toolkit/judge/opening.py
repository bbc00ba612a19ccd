"""A recipe's judge section -> the judge it describes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.errors import DataError, RecipeError
from toolkit.judge.asking import JudgePrompt, Method, load_prompt
from toolkit.judge.judging import REWARD, PairJudge
from toolkit.models import bases
from toolkit.recipe import Generation, Judge, ModelOptions, existing

if TYPE_CHECKING:
    from toolkit.judge.grading import Grader
    from toolkit.judge.writing import Writer
    from toolkit.models import Loaded


def open_judge(
    asked: Judge,
    load: Callable[[str], Loaded],
    *,
    base: str | None = None,
    options: ModelOptions = ModelOptions(),
) -> PairJudge:
    """The judge that a recipe asks for.

    Args:
        asked: the recipe's judge section.
        load: gives a local model by its name; not called for an endpoint or a reward model.
        base: the model that judges when the section names none.
        options: how a reward model is loaded, which `load` cannot do.

    Raises:
        RecipeError: the section names no model, or an endpoint together with a method that needs a local one.
        DataError: there is no such prompt.
        ModelError: there is no such model.
    """
    if asked.method == "reward":
        from toolkit.judge.rewards import RewardJudge

        return RewardJudge(Path(_who(asked, base)), options)
    prompt = prompt_of(asked)
    if asked.method == "written":
        from toolkit.judge.written import WrittenJudge

        return WrittenJudge(_writer(asked, load, base), prompt, **_how(asked))
    from toolkit.judge.logits import LogitsJudge

    return LogitsJudge(_local(asked, load, base), prompt, reference=asked.reference)


def check_votes(judges: Sequence[Judge], *, base: str | None = None) -> None:
    """Refuse judges that could cast no votes, before anything is trained, loaded or paid for.

    Args:
        judges: the members of the recipe's judge section.
        base: the model that judges when a section names none.

    Raises:
        RecipeError: `key: what is wrong; what to do`.
    """
    names = []
    for place, asked in enumerate(judges):
        try:
            names.append(_who(asked, base))
        except RecipeError as error:
            if len(judges) == 1:
                raise
            raise RecipeError(f"judge.jury.{place}.{str(error).removeprefix('judge.')}") from None
        _check_votes(asked)
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise RecipeError(f"judge.jury: {twice} is in it twice, and has one vote; leave one out")


def _check_votes(asked: Judge) -> None:
    if asked.method == "written" and asked.rule == "average":
        raise RecipeError("judge.rule: a written verdict has no probability to average; use `agreement`")
    if asked.method == "reward":
        return
    try:
        prompt = prompt_of(asked)
    except DataError as error:
        raise RecipeError(f"judge.prompt: {error}; name one of these, or mend the file") from None
    if prompt.protocol != "pairwise":
        raise RecipeError(
            f"judge.prompt: `{asked.prompt}` grades answers one by one, and votes compare two; use a "
            f"pairwise prompt, and get grades with `adapter-arena judge RUN --prompt {asked.prompt}`"
        )


def open_grader(asked: Judge, load: Callable[[str], Loaded], *, base: str | None = None) -> Grader:
    """The judge that gives single answers grades, for a section whose prompt is such a one.

    Raises:
        ToolkitError: as `open_judge`; or a reward model is asked for, whose rewards are no grades.
    """
    from toolkit.judge.grading import LetterGrader, WrittenGrader

    if asked.method == "reward":
        raise RecipeError("judge.method: a reward model gives no grades from 1 to 10; use a pairwise prompt")
    prompt = prompt_of(asked)
    if asked.method == "written":
        return WrittenGrader(_writer(asked, load, base), prompt, **_how(asked))
    return LetterGrader(_local(asked, load, base), prompt, reference=asked.reference)


def prompt_of(asked: Judge) -> JudgePrompt:
    """The judge prompt a section names; `pairwise` with a reference is `pairwise-reference`."""
    wants_reference = asked.reference and asked.prompt == "pairwise"
    return load_prompt("pairwise-reference" if wants_reference else asked.prompt)


def prompt_key(asked: Judge) -> str:
    """What the verdicts of this section are kept under, known before any model is loaded."""
    if asked.method == "reward":
        return REWARD
    return prompt_of(asked).key(asked_for(asked), asked.reference, asked.endpoint)


def judge_name(asked: Judge, options_of: Callable[[str], ModelOptions], *, base: str | None = None) -> str:
    """What the verdicts of this section are signed with, known before any model is loaded.

    Args:
        asked: one judge.
        options_of: how a model of this name is loaded.
        base: the model that judges when the section names none.
    """
    if asked.endpoint is not None:
        return asked.endpoint.model
    from toolkit.models.loading import loaded_fingerprint
    from toolkit.models.rewards import reward_fingerprint

    name = asked.model or base or ""
    options = options_of(name)
    if asked.method == "reward":
        mark = reward_fingerprint(Path(name), options)
    else:
        mark = loaded_fingerprint(bases.resolve_base(name, revision=options.revision), options)
    return f"{Path(name).name}@{mark[:6]}"


def known_name(asked: Judge, options_of: Callable[[str], ModelOptions], *, base: str | None = None) -> str:
    """The same, without a mark where the weights are not on this machine: nothing is fetched for it."""
    name = asked.model or base or ""
    if asked.endpoint is not None or existing(name) or name in bases.PACKAGED:
        return judge_name(asked, options_of, base=base)
    return Path(name).name


def asked_for(asked: Judge) -> Method:
    """How the judge of this section is asked."""
    return "letter" if asked.method == "logits" else "written"


def _writer(asked: Judge, load: Callable[[str], Loaded], base: str | None) -> Writer:
    from toolkit.judge.writing import EndpointWriter, LocalWriter

    if asked.endpoint is None:
        return LocalWriter(_local(asked, load, base))
    return EndpointWriter(asked.endpoint)


def _how(asked: Judge) -> dict[str, Any]:
    """Options of a judge that writes."""
    return {
        "reference": asked.reference,
        "options": Generation(max_new_tokens=asked.max_new_tokens),
    }


def _local(asked: Judge, load: Callable[[str], Loaded], base: str | None) -> Loaded:
    return load(_who(asked, base))


def _who(asked: Judge, base: str | None) -> str:
    """The model that judges."""
    if asked.method == "reward":
        if asked.model is None:
            raise RecipeError("judge.model: no reward model is named; name the folder of the reward model")
        return asked.model
    if asked.endpoint is not None:
        if asked.method == "logits":
            raise RecipeError("judge.method: an endpoint does not show its logits; use `method: written`")
        return asked.endpoint.model
    name = asked.model or base
    if name is None:
        raise RecipeError("judge.model: nobody is named; name the model that judges, or an endpoint")
    return name
