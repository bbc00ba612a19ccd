"""Settings outside of the stages that would stop a run later, or make its figures worthless."""

import importlib.util
import math
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import NormalDist, median
from typing import Any

from scipy.optimize import brentq

from toolkit import io
from toolkit.benchmarks import task_files
from toolkit.data import load_columns, load_examples
from toolkit.errors import DataError, ModelError, RecipeError, ToolkitError
from toolkit.generate.base import engine_command
from toolkit.generate.importers import match_answers
from toolkit.judge.factory import validate_judges
from toolkit.metric_info import METRICS
from toolkit.metrics.checks import measure_check
from toolkit.metrics.compare import slice_examples
from toolkit.metrics.reference_scorers import WordTokenizer, unread_by_bleu, unread_by_rouge
from toolkit.models import bases, resolve_encoder
from toolkit.recipe import Benchmark, Contestant, Judge, Recipe, Scoring, contestants, existing
from toolkit.run.checks import Find, error, from_error, info, warning
from toolkit.run.checks.rows import HeldOut
from toolkit.statistics import PRIMARY_SHARE, smallest_p
from toolkit.types import Finding

NEED_REFERENCES = ("number", "exact_match")
"""Kinds of checks that are tried on all examples, since each needs a usable reference."""

ALPHA = 0.05

FEW_A_SLICE = 6  # examples below which no sign test decides

Columns = Mapping[str, Mapping[str, Any]]  # example id -> its row in the data set


def sections(recipe: Recipe) -> Iterator[Finding]:
    """Findings on the judge, and on data that nothing uses."""
    if recipe.judge:
        try:
            validate_judges(recipe.judge.members(), base=recipe.base)
        except RecipeError as problem:
            place, _, text = str(problem).partition(": ")
            yield from_error("judge", place, text)
    scoring = recipe.scoring
    used = {name for stage in recipe.stages for name in (stage.data, stage.heldout)}
    used |= {scoring.examples, scoring.guard, scoring.validation} if scoring else set()
    for name in (name for name in recipe.data if name not in used):
        fix = "drop it, or name it where it is meant"
        yield info("unused", f"data.{name}", "no stage and no scoring uses it", fix)
    if recipe.stages and scoring is None:
        text = "nothing is scored: whether training helped will not be known"
        yield info("no-scoring", "scoring", text, "name held-out examples in scoring.examples")


def config(recipe: Recipe, heldout: HeldOut, *, here: bool) -> Iterator[Finding]:
    """Findings on hardware, generation, benchmarks, metrics and the number of examples."""
    find, scoring = error if here else info, recipe.scoring
    if uses_models(recipe):
        yield from _hardware(recipe, find)
    if scoring is None:
        return
    try:
        engine_command(scoring.generation)
    except ModelError as problem:
        text, _, fix = str(problem).partition("; ")
        yield find("engine", "scoring.generation.engine", text.partition(": ")[2], fix)
    if any(not text for text in scoring.generation.stop):
        text = "an empty stop string is found at the beginning of every answer, and ends it there"
        yield error("stop", "scoring.generation.stop", text, "take it out")
    yield from _encoder(scoring)
    if not scoring.metrics and not scoring.benchmarks and not recipe.judge:
        text = "no metric, no benchmark and no judge: nothing is measured"
        yield warning("no-scoring", "scoring.metrics", text, "name metrics, or leave the key out")
    yield from _benchmarks(scoring)
    if heldout.examples:
        yield from _on_examples(recipe, scoring, heldout)
    yield from _guard(scoring, recipe)
    yield from _validation(recipe, scoring, heldout)
    if len(contestants(recipe)) > 1:
        yield from _decidable(scoring, heldout)


def _on_examples(recipe: Recipe, scoring: Scoring, heldout: HeldOut) -> Iterator[Finding]:
    """What would fail on the held-out examples: files of answers, slices, metrics."""
    for name, contestant in recipe.contestants.items():
        if contestant.answers:
            try:
                match_answers(Path(contestant.answers), heldout.examples, name)
            except DataError as problem:
                fix = "name a file of answers to these examples"
                yield error("answers", f"contestants.{name}.answers", str(problem), fix)
    columns = load_columns(recipe.data[scoring.examples]) if scoring.checks or scoring.slices else {}
    if scoring.slices:
        try:
            found = slice_examples(heldout.examples, columns, scoring.slices)
            for column in scoring.slices:
                size = median(len(ids) for (name, _), ids in found.items() if name == column)
                if size < FEW_A_SLICE:
                    text = f"slices of `{column}` have {size:g} examples in the median, too few for a claim"
                    yield warning("slices", "scoring.slices", text, "name a column of fewer values")
        except DataError as problem:
            text = str(problem).removeprefix("scoring.slices: ")
            yield error("slices", "scoring.slices", text, "name a column, or `length`")
    for stop in filter(None, scoring.generation.stop):
        cut = sum(stop in (example.reference or "").strip() for example in heldout.examples)
        if cut:
            count = f"{cut} of {len(heldout.examples)} references"
            text = f"{stop!r} is in {count}: answers like them are cut there"
            yield warning("stop", "scoring.generation.stop", text, "stop at what right answers do not hold")
    yield from _own_metrics(scoring, heldout, columns)
    yield from _references(scoring, heldout)
    yield from _tokenizers(recipe, heldout)


def uses_models(recipe: Recipe) -> bool:
    """Whether a model is loaded here, to train, to answer or to judge."""
    there = any(one.model or one.adapter for one in recipe.contestants.values())
    return bool(recipe.base) or there or any(not judge.endpoint for _, judge in _judges(recipe))


def _hardware(recipe: Recipe, find: Find) -> Iterator[Finding]:
    from toolkit.models import hardware

    try:
        chosen = hardware.choose(recipe.model)
    except ModelError as problem:
        text, _, fix = str(problem).removeprefix("model.device: ").rpartition("; ")
        yield (error if "is not a device" in text else find)("device", "model.device", text, fix)
        return
    yield from _attention(recipe.model.attention, chosen.device.type == "cuda", find, bool(recipe.stages))
    if recipe.model.use_kernels and importlib.util.find_spec("kernels") is None:
        yield find("kernels", "model.use_kernels", "the package kernels is not found here", "leave it out")
    adapted = any(stage.adapter != "none" and not stage.spec.reward_model for stage in recipe.stages)
    if adapted and chosen.half_on_cpu and find is error:
        yield find("dtype", "model.dtype", "a CPU trains no adapter in float16", "set it to auto")


def _attention(name: str, cuda: bool, find: Find, trains: bool) -> Iterator[Finding]:
    from toolkit.models import hardware

    place, known = "model.attention", hardware.attention_names()
    if name not in known and name.count("/") != 1:
        text = f"transformers has no attention {name}; it has {', '.join(known)}"
        yield error("attention", place, text, "name one of them, or a kernel of the hub (`owner/name`)")
        return
    package = "kernels" if "/" in name else {"flash_attention_2": "flash_attn"}.get(name)
    on_gpu = "/" in name or name.startswith("flash_attention") or (name == "flex_attention" and trains)
    missing = ["a CUDA GPU"] if on_gpu and not cuda else []
    missing += [f"the package {package}"] if package and importlib.util.find_spec(package) is None else []
    if missing:
        text = f"{name} needs {' and '.join(missing)}, not found here"
        yield find("attention", place, text, "leave it at auto")


def _encoder(scoring: Scoring) -> Iterator[Finding]:
    if "bertscore" not in scoring.metrics:
        return
    name, place, layer = scoring.bertscore_model, "scoring.bertscore_model", scoring.bertscore_layer
    if scoring.bertscore_rescale is True:
        from toolkit.metrics.bertscore import published_baseline

        if not published_baseline(name).is_file():
            text = f"bert-score has no baseline for {name}"
            fix = "name a file of baselines, or take an encoder that has one, such as roberta-large"
            yield error("bertscore", "scoring.bertscore_rescale", text, fix)
    folder = existing(resolve_encoder(name))
    if folder is None and name.count("/") != 1:
        text = f"{name}: no such encoder: not a folder, a hub id (owner/name) or a packaged name"
        yield error("encoder", place, text, f"name one of {', '.join(bases.ENCODERS)}")
    elif folder and not (folder / "config.json").is_file():
        text = f"{folder}: not a model folder: it has no config.json"
        yield error("encoder", place, text, "name the folder of a text encoder")
    elif folder and layer is not None:
        layers = io.read_json(folder / "config.json").get("num_hidden_layers")
        if isinstance(layers, int) and layer > layers:
            text = f"{name} has {layers} layers, not {layer}"
            yield error("encoder", "scoring.bertscore_layer", text, "name one that it has, or leave it out")


def _benchmarks(scoring: Scoring) -> Iterator[Finding]:
    names = [task_files.task_name(benchmark.task) for benchmark in scoring.benchmarks]
    for index, benchmark in enumerate(scoring.benchmarks):
        place = f"scoring.benchmarks.{index}"
        if names[index] in names[:index]:
            text = f"{names[index]} is there twice, and the second's results would replace the first's"
            yield error("benchmark", place, text, "leave one of them out")
        if task_files.task_is_known(benchmark.task):
            yield from _benchmark(place, benchmark)
        else:
            text = f"neither lm-eval nor this package has a task or group named {benchmark.task}"
            yield error("benchmark", place, text, "see `lm-eval ls tasks`, or name a task file of your own")


def _benchmark(place: str, benchmark: Benchmark) -> Iterator[Finding]:
    try:
        task_files.check_leave(benchmark)
        lacking, shared = task_files.lacking_columns(benchmark), task_files.shared_fewshot(benchmark)
        if not lacking and task_files.has_local_rows(benchmark):
            from toolkit.benchmarks.runner import render_first  # imports lm-eval

            render_first(benchmark)
    except DataError as problem:
        text, _, fix = str(problem).removeprefix(f"benchmark {benchmark.task}: ").rpartition("; ")
        yield error("benchmark", place, text or fix, fix if text else "mend the file")
        return
    if lacking:
        text = f"{lacking[0]}: {benchmark.task} asks for columns that are not there: {', '.join(lacking[1])}"
        yield error("benchmark-columns", place, text, "rename the file's columns as the hub's set has them")
    if shared:
        text = f"{shared} of its questions are among the worked examples: their answers stand in the prompts"
        yield error("benchmark-fewshot", place, text, "take the worked examples from another file")


def _guard(scoring: Scoring, recipe: Recipe) -> Iterator[Finding]:
    """What likelihoods are measured on, and of whom."""
    named = {"scoring.metrics": "perplexity" in scoring.metrics, "scoring.guard": scoring.guard is not None}
    if all(one.answers or one.endpoint for one in contestants(recipe).values()):
        alone = scoring.metrics == ("perplexity",) and not scoring.benchmarks and not recipe.judge
        for place in (place for place, measured in named.items() if measured):
            text = "likelihoods are of models here, and every contestant is a file or a server"
            yield (error if alone else warning)("no-likelihood", place, text, "leave it out")
    if scoring.guard is None:
        return
    place = f"data.{scoring.guard}"
    if scoring.guard in {scoring.examples, *(stage.data for stage in recipe.stages)}:
        text = "what is trained or tested on cannot show what training made the model forget"
        yield warning("guard", place, text, "name prompts with answers of another kind")
    try:
        found = load_examples(recipe.data[scoring.guard], seed=recipe.seed)
    except DataError as problem:
        yield error("guard", place, str(problem), "mend the file")
        return
    if sum(example.reference is not None for example in found) < 2:  # noqa: PLR2004
        text = "fewer than two examples have an answer whose likelihood could be measured"
        yield error("guard", place, text, "add a `reference` column")


def _own_metrics(scoring: Scoring, heldout: HeldOut, columns: Columns) -> Iterator[Finding]:
    """Each metric of the recipe's own, tried on references as completions, and on an empty one."""
    names = [name for name in scoring.metrics if isinstance(name, str) and name in METRICS]
    known, failed = [figure for name in names for figure in METRICS[name].figures], False
    for check in scoring.checks:
        shown = heldout.examples if check.kind in NEED_REFERENCES else heldout.examples[:2]
        tried = [example.completed("reference", example.reference or "") for example in shown]
        tried[1:2] = [each.model_copy(update={"completion": ""}) for each in tried[1:2]]
        try:
            known += [found.metric for found in measure_check(tried, check, columns)]
        except ToolkitError as problem:
            failed = True
            fix = "it is tried on references and on an empty answer: mend it, or leave it out"
            yield error("metric", "scoring.metrics", str(problem), fix)
    primary = scoring.primary or ""
    task, slash, _ = primary.rpartition("/")
    tasks = [task_files.task_name(each.task) for each in scoring.benchmarks]
    if scoring.primary is not None and not failed and not (task in tasks if slash else primary in known):
        text = f"no metric of the recipe gives `{primary}`; known: {', '.join(known)}"
        yield error("primary", "scoring.primary", text, "name one of them, or a benchmark's as `task/metric`")


def _references(scoring: Scoring, heldout: HeldOut) -> Iterator[Finding]:
    named = (name for name in scoring.metrics if isinstance(name, str) and name in METRICS)
    needing = [name for name in named if METRICS[name].needs_reference]
    without = [i for i, example in enumerate(heldout.examples) if example.reference is None]
    if without and needing:
        whole = len(without) == len(heldout.examples)
        text = f"{len(without)} of {len(heldout.examples)} examples have no reference, which "
        text += f"{', '.join(map(str, needing))} need"
        fix = "add a `reference` column, or leave those metrics out (`metrics: [length]`)"
        place = f"data.{scoring.examples}" if whole else heldout.places[without[0]]
        yield (error if whole else warning)("no-reference", place, text, fix)


def _tokenizers(recipe: Recipe, heldout: HeldOut) -> Iterator[Finding]:
    """References in letters that the tokenizers of ROUGE and BLEU drop, or do not split."""
    assert recipe.scoring is not None
    try:
        WordTokenizer(recipe.scoring.tokenizer or "words").tokenize("one")
    except ToolkitError as problem:
        text, _, fix = str(problem).partition("; ")
        yield error("tokenizer", "scoring.tokenizer", text, fix)
    known = [example.reference for example in heldout.examples if example.reference]
    for name, unread in (("rouge", unread_by_rouge), ("bleu", unread_by_bleu)):
        count = sum(map(unread, known))
        if name in recipe.scoring.metrics and recipe.scoring.tokenizer is None and count:
            text = f"{name.upper()} sees no words in {count} of {len(known)} references: right answers get 0"
            fix = "set `tokenizer: auto` (or words, characters, zh ...) beside it"
            yield warning("tokenizer", "scoring.metrics", text, fix)


def _validation(recipe: Recipe, scoring: Scoring, heldout: HeldOut) -> Iterator[Finding]:
    """What keeps the evaluation split from being one to choose by."""
    name = scoring.validation
    if name is None:
        return
    place = f"data.{name}"
    try:
        examples = load_examples(recipe.data[name], seed=recipe.seed)
    except ToolkitError as problem:
        yield from_error("validation", place, problem)
        return
    metric, figure = scoring.tuning_metric
    if isinstance(metric, str) and all(example.reference is None for example in examples):
        text = f"no example has a reference, and the choice is made by {figure}"
        yield error("validation", place, text, "add a `reference` column, or another `scoring.primary`")
    tested = {example.messages for example in heldout.examples}
    shared = sum(example.messages in tested for example in examples)
    if shared:
        text = f"{shared} of {len(examples)} examples are in the test set, which takes no part in a choice"
        yield error("validation", place, text, "choose by other examples")
    for stage in recipe.stages:
        if stage.data == name:
            text = f"stage {stage.name} is trained on it, so that the choice favours what is learned by heart"
            yield warning("validation", place, text, "choose by other examples")


def _decidable(scoring: Scoring, heldout: HeldOut) -> Iterator[Finding]:
    """What so many examples can show of the primary measure, after the correction for the other metrics."""
    count = len({heldout.groups.get(example.id, example.id) for example in heldout.examples})
    figures = sum(4 if name == "rouge" else 1 for name in scoring.metrics)
    if not count or not figures:
        return
    place, compared = f"data.{scoring.examples}", f"{figures} figure{'s' if figures > 1 else ''}"
    least, alpha = smallest_p(count), ALPHA * (PRIMARY_SHARE if figures > 1 else 1)
    others = ALPHA / max(1, figures - 1)
    if least > others:
        enough = next(n for n in range(count, 100) if smallest_p(n) <= others)
        shown = "" if least > alpha else " but in the primary measure"
        text = f"no difference{shown} can be significant on {count} examples, {compared} compared "
        text += f"(p >= {least:.2g})"
        yield warning("undecidable", place, text, f"hold out {enough} at the very least; hundreds are usual")
        return
    points = decidable(count, alpha)
    text = (
        f"{count} examples decide differences of about {100 * points:.0f} points of a right-or-wrong primary "
        f"measure (power 80%, {compared} compared, contestants that differ on half of the examples)"
    )
    fix = f"half of that takes {4 * count} examples; hold out more where smaller differences matter"
    yield info("decidable", place, text, fix)


def decidable(count: int, alpha: float, disagreeing: float = 0.5) -> float:
    """Smallest difference of two shares that a paired test finds four times in five (Connor 1987).

    Of `count` examples, just one of the two is right on the share `disagreeing`; `alpha` is two-sided.
    """
    level, power = NormalDist().inv_cdf(1 - alpha / 2), NormalDist().inv_cdf(0.8)

    def excess(difference: float) -> float:
        reach = level * math.sqrt(disagreeing) + power * math.sqrt(disagreeing - difference**2)
        return math.sqrt(count) * difference - reach

    return disagreeing if excess(disagreeing) < 0 else float(brentq(excess, 0.0, disagreeing))


def models(recipe: Recipe) -> Iterator[Finding]:
    """Findings on the models and servers that a recipe names, and on what its contestants show."""
    judges = list(_judges(recipe))
    named: list[tuple[str, str | None]] = [("base", recipe.base)]
    named += [(f"contestants.{name}.model", spec.model) for name, spec in recipe.contestants.items()]
    named += [(f"{place}.model", judge.model) for place, judge in judges if judge.method != "reward"]
    for place, model in named:
        yield from _model(recipe, place, model) if model else ()
    yield from _adapters(recipe)
    yield from _reward_models(recipe)
    servers = [(f"contestants.{name}", one.endpoint) for name, one in recipe.contestants.items()]
    for place, endpoint in [*servers, *((place, judge.endpoint) for place, judge in judges)]:
        if endpoint and endpoint.key_env is not None and not os.environ.get(endpoint.key_env, "").strip():
            text = f"environment variable {endpoint.key_env} is not set, and the key is read from it"
            fix = f"export {endpoint.key_env}=... before the run"
            yield error("key", f"{place}.endpoint.key_env", text, fix)
    for place, judge in judges:  # models prefer their own answers (Panickssery et al. 2024)
        own = [name for name, spec in contestants(recipe).items() if _same_model(judge, spec, recipe)]
        if own and judge.method != "reward":
            text = f"the judge also answers, as {', '.join(own)}, and models prefer their own answers"
            yield warning("judge-competes", place, text, "name another model in judge.model, or an endpoint")
    yield from _contestants(recipe)


def _model(recipe: Recipe, place: str, name: str) -> Iterator[Finding]:
    from toolkit.models.loading import check_causal, check_vocabulary, load_tokenizer

    folder, revision = None, recipe.options_of(name).revision
    if revision and (name in bases.PACKAGED or existing(name)):
        text = f"{name} is no model of the hub, and has no revision {revision}"
        yield error("revision", "model.revision", text, "leave it out")
    try:
        folder = bases.resolve_base(name, revision=revision)
        check_causal(folder)
        if place != "base":  # whose tokenizer is looked at with its template
            tokenizer = load_tokenizer(folder, recipe.model.chat_template, recipe.model.chat_template_kwargs)
            rows = io.read_json(folder / "config.json").get("vocab_size")
            check_vocabulary(tokenizer, rows or sys.maxsize, name)
    except ModelError as problem:
        if place != "base" or folder:  # a base that is not there is found with its tokenizer
            yield from_error("model", place, problem)


def _adapters(recipe: Recipe) -> Iterator[Finding]:
    for name, contestant in recipe.contestants.items():
        if contestant.adapter is None:
            continue
        from toolkit.models.loading import adapter_weights, check_causal, check_lineage

        try:
            base, folder = recipe.model_of(contestant, Path())
            adapter_weights(Path(contestant.adapter))
            there = bases.resolve_base(base, revision=recipe.options_of(base).revision)
            check_causal(there)
            check_lineage(folder or Path(), base, there)
        except ToolkitError as problem:
            fix = "name an adapter folder, and its base with `model` where it is not found"
            yield from_error("adapter", f"contestants.{name}.adapter", problem, fix)


def _reward_models(recipe: Recipe) -> Iterator[Finding]:
    """Reward models that are none, of stages that learn from rewards and of judges."""
    trained = [stage.name for stage in recipe.stages if stage.spec.reward_model]
    rewards = [(f"stages.{stage.name}.rewards", name) for stage in recipe.stages for name in stage.rewards]
    named = [(f"{place}.{name}", name) for place, name in rewards if name not in trained]
    for place, judge in _judges(recipe):
        if judge.method == "reward" and not judge.endpoint:
            named.append((f"{place}.model", judge.model or recipe.base))
    for place, name in named:
        try:
            problem = _no_reward_model(existing(name) or bases.resolve_base(name))
        except (ModelError, DataError) as missing:
            problem = str(missing)
        if problem:
            fix = "name a stage of method reward, or the folder or hub id of a reward model"
            yield from_error("reward-model", place, problem, fix)


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
    specs = contestants(recipe)
    seen: dict[str, str] = {}
    for name, spec in specs.items():
        own = spec.model_copy(update={"model": None}) if spec.model == recipe.base else spec
        twin = seen.setdefault(own.model_dump_json(), name)
        if twin != name:
            text = f"the same as {twin}: every difference between them is chance"
            yield warning("same-contestant", f"contestants.{name}", text, "leave one of them out")
        if spec.prompt and spec.prompt[-1].role == "user":
            text = "the prompt ends with a user turn, and the question would follow as a second one"
            fix = "end it with an assistant turn, or make it a system turn"
            yield warning("turns", f"contestants.{name}.prompt", text, fix)
    used = {part for spec in specs.values() if spec.stage for part in recipe.needed(spec.stage)}
    judges = recipe.judge.members() if recipe.judge else []
    for stage in recipe.stages:
        if stage.name not in used and not any(stage.name in (judge.model or "") for judge in judges):
            text = "it is trained, and no contestant, judge or later stage uses it"
            fix = f"add a contestant with `stage: {stage.name}`, or leave the stage out"
            yield warning("unused-stage", f"stages.{stage.name}", text, fix)
        if stage.taken_from and stage.start == "base":
            yield from _other_base(recipe, stage.name, Path(stage.taken_from) / "lineage.json")


def _other_base(recipe: Recipe, stage: str, lineage: Path) -> Iterator[Finding]:
    """A stage of another run that was trained on other weights than the recipe's base."""
    try:
        trained_on = io.read_json(lineage, kind=dict)["base_fingerprint"]
        base = bases.fingerprint(bases.resolve_base(recipe.base, revision=recipe.model.revision))
    except (ToolkitError, KeyError) as problem:
        text = f"its lineage cannot be read: {problem}"
        yield error("start", f"stages.{stage}", text, "run its recipe again")
        return
    if trained_on != base:
        text = f"{lineage.parent} was trained on other weights than {recipe.base}"
        yield error("start", f"stages.{stage}", text, "name the base of that run as `base`")


def _judges(recipe: Recipe) -> Iterator[tuple[str, Judge]]:
    for index, judge in enumerate(recipe.judge.members() if recipe.judge else ()):
        yield f"judge.jury.{index}" if recipe.judge and recipe.judge.jury else "judge", judge


def _same_model(judge: Judge, spec: Contestant, recipe: Recipe) -> bool:
    if judge.endpoint or spec.endpoint:
        one, other = judge.endpoint, spec.endpoint
        return bool(one and other and (one.url, one.model) == (other.url, other.model))
    model = spec.model if not spec.adapter else None
    return (judge.model or recipe.base) == (recipe.base if spec.on_base else model)
