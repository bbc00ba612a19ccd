"""Settings outside of the stages that would stop a run later, or make its figures worthless."""

from __future__ import annotations

import importlib.util
import math
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import NormalDist
from urllib.parse import urlsplit

from toolkit.benchmarks.task_files import (
    has_local_rows,
    lacking_columns,
    shared_fewshot,
    task_is_known,
    write_local_tasks,
)
from toolkit.errors import DataError, ModelError
from toolkit.models import bases, hardware, resolve_encoder
from toolkit.models.loading import check_causal
from toolkit.recipe import Benchmark, Contestant, Endpoint, Judge, Recipe, contestants, existing
from toolkit.run.checking.findings import error, info, warning
from toolkit.run.checking.rows import HeldOut
from toolkit.types import Finding

FIGURES = {"rouge": 4}
"""Metric -> figures that are compared of it, where it is more than one."""

ALPHA = 0.05


def config(recipe: Recipe, heldout: HeldOut, *, here: bool) -> Iterator[Finding]:
    """Findings on hardware, generation, endpoints, judges, benchmarks and the number of examples.

    Args:
        recipe: to be run.
        heldout: its held-out examples.
        here: it is to be run on this machine.
    """
    yield from _hardware(recipe, here)
    yield from _models(recipe)
    for place, endpoint in _endpoints(recipe):
        yield from _endpoint(place, endpoint)
    yield from _self_judged(recipe)
    if recipe.scoring is None:
        return
    if any(not text for text in recipe.scoring.generation.stop):
        text = "an empty stop string is found at the beginning of every answer, and ends it there"
        yield error("stop", "scoring.generation.stop", text, "take it out")
    for index, benchmark in enumerate(recipe.scoring.benchmarks):
        yield from _benchmark(f"scoring.benchmarks.{index}", benchmark)
    yield from _references(recipe, heldout)
    yield from _decidable(recipe, heldout)


def _hardware(recipe: Recipe, here: bool) -> Iterator[Finding]:
    find = error if here else info
    try:
        chosen = hardware.choose(recipe.model)
    except ModelError as problem:
        text, _, fix = str(problem).removeprefix("model.device: ").rpartition("; ")
        unknown = "is not a device" in text
        yield (error if unknown else find)("device", "model.device", text, fix)
        return
    if recipe.model.attention == "flash_attention_2":
        missing = [
            what
            for what, there in (
                ("a CUDA GPU", chosen.device.type == "cuda"),
                ("the package flash-attn", importlib.util.find_spec("flash_attn") is not None),
            )
            if not there
        ]
        if missing:
            text = f"flash_attention_2 needs {' and '.join(missing)}, not found here"
            yield find("attention", "model.attention", text, "leave it at auto")


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
                folder = bases.resolve_base(name, revision=recipe.options_of(name).revision)
                check_causal(folder)
        except ModelError as problem:
            if place != "base" or folder:  # a base that is not there is found with its tokenizer
                text, _, fix = str(problem).rpartition("; ")
                unreachable = "hub cannot be reached" in str(problem)
                yield (info if unreachable else error)("model", place, text or fix, fix)
    if recipe.scoring and "bertscore" in recipe.scoring.metrics:
        name = recipe.scoring.bertscore_model
        folder = existing(resolve_encoder(name))
        if folder is None and name.count("/") != 1:
            text = f"{name}: no such encoder: not a folder, a hub id (owner/name) or a packaged name"
            yield error(
                "encoder", "scoring.bertscore_model", text, f"name one of {', '.join(bases.ENCODERS)}"
            )
        elif folder and not (folder / "config.json").is_file():
            text = f"{folder}: not a model folder: it has no config.json"
            yield error("encoder", "scoring.bertscore_model", text, "name the folder of a text encoder")


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


def _benchmark(place: str, benchmark: Benchmark) -> Iterator[Finding]:
    if not task_is_known(benchmark.task):
        text = f"neither lm-eval nor this package has a task or group named {benchmark.task}"
        yield error("benchmark", place, text, "see `lm-eval ls tasks`, or name a task file of your own")
        return
    try:
        if has_local_rows(benchmark):
            with tempfile.TemporaryDirectory() as folder:
                write_local_tasks(benchmark, Path(folder))
        lacking, shared = lacking_columns(benchmark), shared_fewshot(benchmark)
    except DataError as problem:
        text, _, fix = str(problem).removeprefix(f"benchmark {benchmark.task}: ").rpartition("; ")
        yield error("benchmark", place, text or fix, fix if text else "mend the file")
        return
    if lacking:
        file, columns = lacking
        text = f"{file}: {benchmark.task} asks for columns that are not there: {', '.join(columns)}"
        yield error("benchmark-columns", place, text, "rename the file's columns as the hub's set has them")
    if shared:
        text = f"{shared} of its questions are among the worked examples: their answers stand in the prompts"
        yield error("benchmark-fewshot", place, text, "take the worked examples from another file")


def _references(recipe: Recipe, heldout: HeldOut) -> Iterator[Finding]:
    assert recipe.scoring is not None
    needing = [name for name in recipe.scoring.metrics if name != "length"]
    without = [i for i, example in enumerate(heldout.examples) if example.reference is None]
    if not without or not needing:
        return
    count = len(heldout.examples)
    text = f"{len(without)} of {count} examples have no reference, which {', '.join(needing)} need"
    whole = len(without) == count
    place = f"data.{recipe.scoring.examples}" if whole else heldout.places[without[0]]
    fix = "add a `reference` column, or leave those metrics out (`metrics: [length]`)"
    yield (error if whole else warning)("no-reference", place, text, fix)


def _decidable(recipe: Recipe, heldout: HeldOut) -> Iterator[Finding]:
    """What so many examples can show, after Holm's correction for the metrics of a comparison."""
    assert recipe.scoring is not None
    count = len({heldout.groups.get(example.id, example.id) for example in heldout.examples})
    figures = sum(FIGURES.get(name, 1) for name in recipe.scoring.metrics)
    if not count or not figures or len(contestants(recipe)) < 2:  # noqa: PLR2004
        return
    place, compared = f"data.{recipe.scoring.examples}", f"{figures} figure{'s' if figures > 1 else ''}"
    least = smallest_p(count)
    if least > ALPHA / figures:
        enough = next(n for n in range(count, 100) if smallest_p(n) <= ALPHA / figures)
        text = f"no difference can be significant on {count} examples, {compared} compared (p >= {least:.2g})"
        yield warning("undecidable", place, text, f"hold out {enough} at the very least; hundreds are usual")
        return
    points = decidable(count, ALPHA / figures)
    text = (
        f"{count} examples decide differences of about {100 * points:.0f} points of a right-or-wrong metric "
        f"(power 80%, {compared} compared, contestants that differ on half of the examples)"
    )
    fix = f"half of that takes {4 * count} examples; hold out more where smaller differences matter"
    yield info("decidable", place, text, fix)


def decidable(count: int, alpha: float, disagreeing: float = 0.5) -> float:
    """Smallest difference of two shares that a paired test finds four times in five (Connor 1987).

    Args:
        count: examples both answered.
        alpha: two-sided level.
        disagreeing: share of examples on which just one of the two is right.
    """
    level, power = NormalDist().inv_cdf(1 - alpha / 2), NormalDist().inv_cdf(0.8)
    low, high = 0.0, disagreeing
    while high - low > 1e-4:  # noqa: PLR2004
        middle = (low + high) / 2
        reach = level * math.sqrt(disagreeing) + power * math.sqrt(disagreeing - middle**2)
        low, high = (low, middle) if reach**2 <= count * middle**2 else (middle, high)
    return high


def smallest_p(count: int) -> float:
    """The smallest two-sided p-value that swapping the sides of so many examples can give."""
    return float(2 ** (1 - count))
