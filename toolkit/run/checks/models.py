"""Models and servers that answer, judge or reward, and contestants whose comparison would show nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from toolkit import io
from toolkit.errors import DataError, ModelError
from toolkit.models import bases
from toolkit.models.loading import check_causal
from toolkit.recipe import Contestant, Endpoint, Judge, Recipe, contestants, existing
from toolkit.run.checks.findings import error, info, warning
from toolkit.types import Finding


def models(recipe: Recipe) -> Iterator[Finding]:
    """Findings on the models and servers that a recipe names, and on what its contestants show."""
    yield from _models(recipe)
    yield from _reward_models(recipe)
    for place, endpoint in _endpoints(recipe):
        yield from _endpoint(place, endpoint)
    yield from _self_judged(recipe)
    yield from _contestants(recipe)


def _models(recipe: Recipe) -> Iterator[Finding]:
    """Models and encoders that could not be loaded when it is their turn."""
    named = [(f"contestants.{name}.model", one.model) for name, one in recipe.contestants.items()]
    for index, judge in enumerate(recipe.judge.members() if recipe.judge else ()):
        place = f"judge.jury.{index}.model" if recipe.judge and recipe.judge.jury else "judge.model"
        named += [(place, judge.model)] if judge.method != "reward" else []
    for place, name in [("base", recipe.base), *named]:
        folder = None
        try:
            if name is not None:
                revision = recipe.options_of(name).revision
                if revision and (name in bases.PACKAGED or existing(name)):
                    text = f"{name} is no model of the hub, and has no revision {revision}"
                    yield error("revision", "model.revision", text, "leave it out")
                folder = bases.resolve_base(name, revision=revision)
                check_causal(folder)
        except ModelError as problem:
            if place != "base" or folder:  # a base that is not there is found with its tokenizer
                text, _, fix = str(problem).rpartition("; ")
                unreachable = "hub cannot be reached" in str(problem)
                yield (info if unreachable else error)("model", place, text or fix, fix)


def _reward_models(recipe: Recipe) -> Iterator[Finding]:
    """Reward models that are none, of stages that learn from rewards and of judges."""
    trained = [stage.name for stage in recipe.stages if stage.method == "reward"]
    named = [
        (f"stages.{stage.name}.rewards.{name}", name)
        for stage in recipe.stages
        for name in stage.rewards
        if name not in trained
    ]
    for index, judge in enumerate(recipe.judge.members() if recipe.judge else ()):
        place = f"judge.jury.{index}.model" if recipe.judge and recipe.judge.jury else "judge.model"
        if judge.method == "reward" and not judge.endpoint:
            named.append((place, judge.model or recipe.base))
    for place, name in named:
        fix = "name a stage of method reward, or the folder or hub id of a reward model"
        try:
            problem = _no_reward_model(existing(name) or bases.resolve_base(name))
        except (ModelError, DataError) as missing:
            problem = str(missing)
        if problem:
            find = info if "hub cannot be reached" in problem else error
            yield find("reward-model", place, problem, fix)


def _no_reward_model(folder: Path) -> str | None:
    """Why a folder holds no reward model: a sequence classifier with one output, or an adapter for one."""
    adapter, config = folder / "adapter_config.json", folder / "config.json"
    if adapter.is_file():
        task = io.read_json(adapter).get("task_type")
        return None if task == "SEQ_CLS" else f"{folder}: no reward model but an adapter for {task}"
    if not config.is_file():
        return f"{folder}: no reward model: it has no config.json"
    whole = io.read_json(config)
    kinds = whole.get("architectures") or ["of an unnamed architecture"]
    if not kinds[0].endswith("SequenceClassification"):
        return f"{folder}: no reward model but {kinds[0]}"
    outputs = len(whole.get("id2label") or "01")
    return None if outputs == 1 else f"{folder}: no reward model: it has {outputs} outputs, not one"


def _contestants(recipe: Recipe) -> Iterator[Finding]:
    """Contestants that are the same, prompts that leave a question open, and stages that nobody uses."""
    players = contestants(recipe)
    seen: dict[str, str] = {}
    for name, player in players.items():
        own = player.model_copy(update={"model": None}) if player.model == recipe.base else player
        twin = seen.setdefault(own.model_dump_json(), name)
        if twin != name:
            text = f"the same as {twin}: every difference between them is chance"
            yield warning("same-contestant", f"contestants.{name}", text, "leave one of them out")
        if player.prompt and player.prompt[-1].role == "user":
            text = "the prompt ends with a user turn, and the question would follow as a second one"
            fix = "end it with an assistant turn, or make it a system turn"
            yield warning("turns", f"contestants.{name}.prompt", text, fix)
    used = {part for player in players.values() if player.stage for part in recipe.needed(player.stage)}
    judges = recipe.judge.members() if recipe.judge else []
    for stage in recipe.stages:
        if stage.name not in used and not any(stage.name in (judge.model or "") for judge in judges):
            text = "it is trained, and no contestant, judge or later stage uses it"
            fix = f"add a contestant with `stage: {stage.name}`, or leave the stage out"
            yield warning("unused-stage", f"stages.{stage.name}", text, fix)


def _endpoints(recipe: Recipe) -> Iterator[tuple[str, Endpoint]]:
    for name, contestant in recipe.contestants.items():
        if contestant.endpoint:
            yield f"contestants.{name}.endpoint", contestant.endpoint
    if recipe.judge:
        if recipe.judge.endpoint:
            yield "judge.endpoint", recipe.judge.endpoint
        for index, juror in enumerate(recipe.judge.jury):
            if juror.endpoint:
                yield f"judge.jury.{index}.endpoint", juror.endpoint


def _endpoint(place: str, endpoint: Endpoint) -> Iterator[Finding]:
    if endpoint.key_env is not None and not os.environ.get(endpoint.key_env, "").strip():
        text = f"environment variable {endpoint.key_env} is not set, and the key is read from it"
        yield error("key", f"{place}.key_env", text, f"export {endpoint.key_env}=... before the run")
    address = urlsplit(endpoint.url)
    if address.username or address.password:
        text = "a name or password in an address ends up in logs and reports"
        yield error("url", f"{place}.url", text, "name the variable that holds the key in key_env")
    if not address.hostname:
        yield error("url", f"{place}.url", "the address names no host", "write it as https://host/v1")


def _self_judged(recipe: Recipe) -> Iterator[Finding]:
    """Judges that compete: models prefer their own answers (Panickssery et al. 2024)."""
    if recipe.judge is None:
        return
    players = contestants(recipe)
    for index, judge in enumerate(recipe.judge.members()):
        own = [name for name, player in players.items() if _same_model(judge, player, recipe)]
        if own and judge.method != "reward":
            place = f"judge.jury.{index}" if recipe.judge.jury else "judge"
            text = f"the judge also answers, as {', '.join(own)}, and models prefer their own answers"
            yield warning("judge-competes", place, text, "name another model in judge.model, or an endpoint")


def _same_model(judge: Judge, player: Contestant, recipe: Recipe) -> bool:
    if judge.endpoint or player.endpoint:
        one, other = judge.endpoint, player.endpoint
        return bool(one and other and (one.url, one.model) == (other.url, other.model))
    return player.stage is None and (judge.model or recipe.base) == (player.model or recipe.base)
