"""Shared state of a run's steps: contestants, loaded models, and fingerprints of everything they depend on.

A fingerprint covers everything that a step's outputs depend on, by content and never by name, and nothing
that changes no output; so a change redoes just what it touches.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit import io
from toolkit.data import load_columns, load_examples, load_groups, load_rows
from toolkit.errors import DataError, ToolkitError
from toolkit.fingerprints import file_hash, folder_hash
from toolkit.generate import generate_completions
from toolkit.generate.base import engine_command, engine_name, may_sample, sampling
from toolkit.generate.completions import check_replaceable
from toolkit.generate.importers import match_answers
from toolkit.metrics.checks import metric_identity
from toolkit.metrics.compare import read_samples
from toolkit.metrics.measurement import Measurement
from toolkit.models import bases
from toolkit.recipe import Check, DataSource, answered_data, contestants, existing, fingerprint, load
from toolkit.recipe.files import file_keys, file_of
from toolkit.recipe.schema import Contestant, Generation, Recipe, Scoring, Selection, Stage
from toolkit.run.folder import RunFolder
from toolkit.run.shots import Exchange, WorkedExamples, draw_exchanges, exchange_of
from toolkit.types import Completion, Example, Message, digest

if TYPE_CHECKING:
    from toolkit.generate.engine import Engine, ServedModel
    from toolkit.models import Loaded

logger = logging.getLogger(__name__)

NEUTRAL_MODEL = {"device", "attention", "use_kernels", "revision", "chat_template"}
"""Fields of `model` that change outputs by rounding alone, or that stand for contents hashed elsewhere."""

NEUTRAL_STAGE = {"name", "data", "heldout", "start", "rewards", "trainer"}
"""Fields of a stage that are names of contents, which count instead."""

NEUTRAL_TRAINER = frozenset(
    """
    logging_strategy logging_first_step logging_steps logging_nan_inf_filter log_level log_level_replica
    log_on_each_node log_completions num_completions_to_print disable_tqdm report_to run_name project
    trackio_space_id logging_dir include_num_input_tokens_seen include_tokens_per_second skip_memory_metrics
    save_strategy save_steps save_total_limit save_on_each_node restore_callback_states_from_checkpoint
    eval_strategy eval_steps eval_delay eval_on_start dataloader_num_workers dataloader_prefetch_factor
    dataloader_pin_memory dataloader_persistent_workers dataset_num_proc ddp_timeout
    ddp_find_unused_parameters torch_empty_cache_steps gradient_checkpointing gradient_checkpointing_kwargs
    debug
    """.split()
)
"""Fields of trainers that change nothing that is learned: logging, saving, evaluating, loading of rows."""

CHOOSES_CHECKPOINT = ("load_best_model_at_end", "metric_for_best_model")
"""With one of these set, when evaluations and checkpoints are made decides what is published."""

BERTSCORE = {"bertscore_layer", "bertscore_idf"}  # keys of `scoring` that BERTScores depend on

ENDPOINT_IDENTITY = {"url", "model", "parameters"}
"""Fields of an endpoint that shape its answers; the others say how requests are sent."""


@dataclass(frozen=True)
class ResolvedContestant:
    """A contestant with what it takes to ask it."""

    name: str
    spec: Contestant
    model: str | None
    """What to load: the recipe's base, another model, or a fully trained folder; `None`: an endpoint, or
    answers in a file."""
    adapter: Path | None

    @property
    def adapter_name(self) -> str | None:
        """Under which its adapter is attached to the loaded model."""
        return self.name if self.adapter else None


class Execution:
    """One recipe being carried out in one run folder. At most one model is in memory at a time."""

    def __init__(self, recipe: Recipe, folder: RunFolder) -> None:
        self.anyway = False
        """Go on in spite of errors that the check finds."""
        self.checked = False
        """The check was done, for the same recipe with another training seed."""
        self.swept: dict[str, Any] = {}
        """What a grid of settings gave, of which this recipe is the chosen point."""
        self.recipe, self.folder = recipe, folder
        self._loaded: tuple[str, Loaded] | None = None
        self._engine: Engine | None = None
        self._engines: dict[str, str] = {}
        """Model -> name of the engine that answers for all contestants on it."""
        self.engine_records: list[dict[str, Any]] = []
        """Engine, version and flags of each server that was started."""

    @cached_property
    def base(self) -> str:
        """Fingerprint of the base and of how it is loaded."""
        return fingerprint(self.weights(self.recipe.base) if self.recipe.base else None, self.loading)

    @cached_property
    def loading(self) -> str:
        """Fingerprint of how models are loaded, but for what changes answers by rounding alone."""
        options = self.recipe.model.model_dump(mode="json", exclude=NEUTRAL_MODEL)
        template = self.recipe.model.chat_template
        if template:
            from toolkit.models.loading import template_text

            options["chat_template"] = template_text(template)
        return fingerprint(options)

    @cached_property
    def examples(self) -> list[Example]:
        """The held-out examples that contestants are scored on."""
        assert self.recipe.scoring is not None
        return load_examples(self.recipe.data[self.recipe.scoring.examples], seed=self.recipe.seed)

    @cached_property
    def guard(self) -> list[Example]:
        """The examples of the guard set that have an answer; none where the recipe names no guard set."""
        scoring = self.recipe.scoring
        if scoring is None or scoring.guard is None:
            return []
        found = load_examples(self.recipe.data[scoring.guard], seed=self.recipe.seed)
        return [example for example in found if example.reference is not None]

    @cached_property
    def questions(self) -> str:
        """Fingerprint of the examples."""
        return fingerprint([example.model_dump(mode="json") for example in self.examples])

    @cached_property
    def test_set(self) -> str:
        """Fingerprint of what the examples ask and how it is answered, whatever their order and names."""
        plain = [each.model_dump(mode="json", exclude={"id", "category"}) for each in self.examples]
        return fingerprint(sorted(fingerprint(example) for example in plain))

    @cached_property
    def named_files(self) -> dict[str, str]:
        """Recipe key -> hash of each local file that the recipe names."""
        keys = file_keys(self.recipe.model_dump(mode="json"))
        files = {key: Path(file_of(holder[name])) for key, holder, name in keys}
        return {key: file_hash(file) for key, file in files.items() if file.is_file()}

    @cached_property
    def columns(self) -> dict[str, dict[str, Any]]:
        """Example id -> its row in the data set, where the recipe has slices or metrics of its own."""
        scoring = self.recipe.scoring
        used = scoring and (scoring.checks or scoring.slices)
        return load_columns(self.recipe.data[scoring.examples]) if scoring and used else {}

    @cached_property
    def groups(self) -> dict[str, str]:
        """Example id -> the group it is in; none where the recipe names no column of groups."""
        scoring = self.recipe.scoring
        if scoring is None or scoring.groups is None:
            return {}
        return load_groups(self.recipe.data[scoring.examples], scoring.groups)

    @cached_property
    def contestants(self) -> list[ResolvedContestant]:
        found = []
        for name, spec in contestants(self.recipe).items():
            here = not (spec.endpoint or spec.answers)
            model, adapter = self.recipe.model_of(spec, self.folder.path) if here else (None, None)
            found.append(ResolvedContestant(name, spec, model, adapter))
        return found

    @cached_property
    def data(self) -> dict[str, str]:
        """Fingerprint of the rows of every data set that stages use."""
        used = {name for stage in self.recipe.stages for name in (stage.data, stage.heldout) if name}
        seed = self.recipe.seed
        return {name: load_rows(self.recipe.data[name], seed=seed).fingerprint for name in sorted(used)}

    def stage(self, stage: Stage) -> str:
        """Fingerprint of how a stage is trained: its settings, rows, and everything below it."""
        if stage.taken_from:
            return fingerprint("taken", self.base, self.weights(stage.taken_from))
        settings = stage.model_dump(mode="json", exclude=NEUTRAL_STAGE)
        settings["trainer"] = trainer_settings(stage.trainer)
        below = self.stage(self.recipe.stage(stage.start)) if stage.start != "base" else self.base
        rows = (self.data[stage.data], self.data.get(stage.heldout or ""))
        ours = {part.name: part for part in self.recipe.stages}
        rewards = [
            [self.stage(ours[name]) if name in ours else self.weights(name), weight]
            for name, weight in stage.rewards.items()
        ]
        several = [self.recipe.processes] if self.recipe.processes > 1 else []  # they multiply the batch
        chosen = self.selection(stage.select) if stage.select else []
        return fingerprint(settings, self.recipe.seed, *rows, below, rewards, *several, *chosen)

    def selection(self, select: Selection) -> list[Any]:
        """What the choice of a stage's checkpoint depends on besides its settings."""
        scoring = self.recipe.scoring
        assert scoring is not None
        data = self.recipe.data[scoring.validation or ""]
        metric, figure = scoring.tuning_metric
        examples = load_examples(data, seed=self.recipe.seed)[: select.examples]
        columns = load_columns(data) if isinstance(metric, Check) else {}
        rows = [[example.model_dump(mode="json"), columns.get(example.id)] for example in examples]
        encoding = self.encoding(scoring) if metric == "bertscore" else scoring.tokenizer
        return [rows, metric_identity(metric), figure, self.sampling(scoring.generation), encoding]

    def trained_on(self, stage: Stage) -> str:
        """Fingerprint of a stage's inputs as they lie on disk, once the stages before it are trained."""
        ours = {part.name for part in self.recipe.stages}
        before = [self.folder.adapter(name) for name in (stage.start, *stage.rewards) if name in ours]
        return fingerprint(self.stage(stage), [bases.content_fingerprint(folder) for folder in before])

    @cached_property
    def exchanges(self) -> list[Exchange]:
        """Training rows that may be worked examples, in the order in which they are drawn."""
        from toolkit.train.stage import load_stage_rows

        name = answered_data(self.recipe)
        stage = next(stage for stage in self.recipe.stages if stage.data == name)
        rows, held = load_stage_rows(self.recipe, stage)
        found = [each for each in map(exchange_of, held) if each]
        return draw_exchanges(rows, [*self.examples, *(each.example for each in found)], self.recipe.seed)

    def worked_examples(self, contestant: ResolvedContestant) -> WorkedExamples | None:
        """What its `shots` are, once they are drawn."""
        if not contestant.spec.shots:
            return None
        return WorkedExamples.model_validate(io.read_json(self.folder.shots(contestant.name)))

    def prompt(self, contestant: ResolvedContestant) -> tuple[Message, ...]:
        """What it is shown before every example."""
        worked = self.worked_examples(contestant)
        return contestant.spec.prompt + (worked.prompt if worked else ())

    def contestant(self, contestant: ResolvedContestant) -> str:
        """Fingerprint of what shapes a contestant's answers apart from the questions and the sampling."""
        worked = self.worked_examples(contestant)
        stop = [list(worked.stop)] if worked else []
        return self.answerer(contestant, self.prompt(contestant), *stop)

    def answerer(self, contestant: ResolvedContestant, prompt: Sequence[Message], *further: Any) -> str:
        """Fingerprint of who answers behind a prompt."""
        turns = [message.as_dict() for message in prompt]
        if contestant.spec.endpoint:
            endpoint = contestant.spec.endpoint.model_dump(mode="json", include=ENDPOINT_IDENTITY)
            return fingerprint(endpoint, turns, *further)
        if contestant.spec.answers:
            return fingerprint(file_hash(Path(contestant.spec.answers)))
        assert contestant.model is not None
        adapter = bases.content_fingerprint(contestant.adapter) if contestant.adapter else None
        return fingerprint(self.weights(contestant.model), self.loading, adapter, turns, *further)

    def identity(self) -> dict[str, str]:
        """What makes a run this version of itself, by part: a finished run with another one is kept."""
        stages = {f"stage {stage.name}": self.stage(stage) for stage in self.recipe.stages}
        parts = {"base": self.base} | stages
        if self.recipe.scoring:
            parts["sampling"] = self.sampling(self.recipe.scoring.generation)
        return parts

    def sampling(self, options: Generation) -> str:
        """Fingerprint of how answers are sampled."""
        seed = self.recipe.seed if may_sample(options) else None
        return fingerprint(sampling(options), seed)

    def weights(self, name: str) -> str:
        """Fingerprint of a model or adapter folder: of everything that loading it opens."""
        folder = existing(name)
        if folder is None or folder.is_file() or (folder / "config.json").is_file():
            folder = bases.resolve_base(name, revision=self.recipe.options_of(name).revision)
        return bases.content_fingerprint(folder)

    def measured_weights(self, contestant: ResolvedContestant) -> str:
        """Fingerprint of a contestant's model as it is loaded, as `bench` writes it into its results."""
        from toolkit.models.loading import loaded_fingerprint

        assert contestant.model is not None
        options = self.recipe.options_of(contestant.model)
        weights = loaded_fingerprint(bases.resolve_base(contestant.model, revision=options.revision), options)
        return weights + (bases.content_fingerprint(contestant.adapter) if contestant.adapter else "")

    def others(self) -> list[Any]:
        """Fingerprints of what a recipe names beside base and data: models, own metrics, benchmarks."""
        from toolkit.benchmarks.task_files import task_content

        judges = self.recipe.judge.members() if self.recipe.judge else []
        named = [judge.model for judge in judges] + [spec.model for spec in self.recipe.contestants.values()]
        contents: list[Callable[[], Any]] = [partial(self.weights, name) for name in named if name]
        if scoring := self.recipe.scoring:
            contents += [partial(metric_identity, check) for check in scoring.checks]
            contents += [partial(task_content, benchmark) for benchmark in scoring.benchmarks]
        found = []
        for content in contents:
            with suppress(ToolkitError):  # the check says so
                found.append(content())
        return found

    def encoder(self, name: str) -> str:
        """Fingerprint of a text encoder by its packaged name, folder or hub id: of a hub id its commit."""
        place = bases.resolve_encoder(name)
        folder = existing(place)
        return folder_hash(folder) if folder else bases.from_hub(place).name

    def encoding(self, scoring: Scoring) -> list[Any]:
        """What BERTScores depend on besides the texts."""
        baseline = scoring.bertscore_rescale
        rescale = file_hash(Path(baseline)) if isinstance(baseline, str) else baseline
        names = scoring.model_dump(mode="json", include=BERTSCORE)
        return [names, Path(scoring.bertscore_model).name, self.encoder(scoring.bertscore_model), rescale]

    def measure(self, completions: Sequence[Completion]) -> list[Measurement]:
        """A contestant's completions by all metrics of the recipe that are of texts."""
        from toolkit.metrics.registry import Encoding, measure_texts  # imports evaluate

        scoring = self.recipe.scoring
        assert scoring is not None
        texts = [metric for metric in scoring.metrics if metric != "perplexity"]
        return measure_texts(completions, texts, encoding=Encoding.of(scoring), rows=self.columns)

    def load_completions(self, contestant: ResolvedContestant) -> list[Completion]:
        """A contestant's completions, once they are there."""
        return list(io.read(self.folder.completions(contestant.name), Completion))

    def model(self, name: str) -> Loaded:
        """The model of this name, loaded; the one that was in memory before is let go."""
        from toolkit.models import load_base

        if self._loaded is None or self._loaded[0] != name:
            self.release()
            logger.info("loading %s", name)
            self._loaded = (name, load_base(name, self.recipe.options_of(name)))
        return self._loaded[1]

    def engine_name(self, model: str | None) -> str:
        """What answers for all contestants on a model alike: one engine, and one quantisation."""
        scoring = self.recipe.scoring
        command = engine_command(scoring.generation) if scoring and model else None
        if model is None or command is None:
            return "transformers"
        if model not in self._engines:
            from toolkit.generate.engine import not_served

            options = self.recipe.options_of(model)
            folder = bases.resolve_base(model, revision=options.revision)
            reason = not_served(folder, options, self._adapters_on(model))
            self._engines[model] = "transformers" if reason else engine_name(command)
            if reason:
                logger.warning("%s: all answers by transformers, since %s has %s", model, command[0], reason)
        return self._engines[model]

    def _adapters_on(self, model: str) -> dict[str, Path]:
        return {each.name: each.adapter for each in self.contestants if each.model == model and each.adapter}

    def served(self, model: str, adapter: str | None = None) -> ServedModel:
        """A model, or an adapter on it, behind its engine, which is started where it is not running."""
        from toolkit.generate.engine import Engine, ServedModel

        assert self.recipe.scoring is not None
        if self._engine is None or self._engine.base != model:
            self.release()
            generation, log = self.recipe.scoring.generation, self.folder.path / "engine.log"
            command, adapters = engine_command(generation) or [], self._adapters_on(model)
            engine = Engine(command, model, adapters, self.recipe.options_of(model), generation, log)
            self._engine = engine.__enter__()
            if engine.record not in self.engine_records:
                self.engine_records.append(engine.record)
        return ServedModel(self._engine, adapter)

    def judging_model(self, name: str) -> Loaded | ServedModel:
        """A model that judges: behind its engine, where that gives the probabilities of labels."""
        return self.served(name) if self.engine_name(name) == "vllm" else self.model(name)

    def ready(self, contestant: ResolvedContestant) -> Loaded:
        """A contestant's model, with its adapter attached under the contestant's name."""
        assert contestant.model is not None
        loaded = self.model(contestant.model)
        if contestant.adapter:
            loaded.attach(contestant.name, contestant.adapter)
        return loaded

    def generate(
        self,
        contestant: ResolvedContestant,
        examples: list[Example],
        options: Generation,
        out: Path,
        worked: WorkedExamples | None = None,
        served: tuple[str, Any] | None = None,
    ) -> list[Completion]:
        """A contestant's completions of some examples, written to `out` and kept in the store.

        `worked`: worked examples that are tried, before there are adapters to serve. `served`: the name and
        source of its model in another form.
        """
        if contestant.spec.answers:
            matched = match_answers(Path(contestant.spec.answers), examples, contestant.name)
            io.write(out, matched)
            return matched
        name, source = served or (contestant.name, contestant.spec.endpoint)
        if source is None and worked is None and self.engine_name(contestant.model) != "transformers":
            assert contestant.model is not None
            source = self.served(contestant.model, contestant.adapter_name)
        worked = worked or self.worked_examples(contestant)
        stop = tuple(dict.fromkeys((*options.stop, *(worked.stop if worked else ()))))
        return generate_completions(
            source or self.ready(contestant),
            examples,
            contestant=name,
            adapter=contestant.adapter_name,
            prompt=contestant.spec.prompt + (worked.prompt if worked else ()),
            options=options.model_copy(update={"stop": stop}),
            seed=self.recipe.seed,
            out=out,
            store=self.folder.answers,
        )

    def answer(self, contestant: ResolvedContestant, options: Generation) -> None:
        """Write a contestant's answers to the examples, and all samples where there are several of each."""
        out, samples = self.folder.completions(contestant.name), self.folder.samples(contestant.name)
        samples.unlink(missing_ok=True)
        if options.samples == 1 or contestant.spec.answers:
            self.generate(contestant, self.examples, options, out)
            return
        draws = [(f"{draw}#{each.id}", each) for draw in range(options.samples) for each in self.examples]
        repeated = [example.model_copy(update={"id": name}) for name, example in draws]
        made = self.generate(contestant, repeated, options, samples)
        names = (each.example_id.partition("#")[2] for each in made)
        rows = [each.model_copy(update={"example_id": n}) for each, n in zip(made, names, strict=True)]
        io.write(samples, rows)
        io.write(out, rows[: len(self.examples)])

    def load_samples(self, contestant: ResolvedContestant) -> list[list[Completion]]:
        """The same, once they are there: the first answers to all examples, the second ones ..."""
        several = self.recipe.scoring and self.recipe.scoring.generation.samples > 1
        return read_samples(self.folder.path, contestant.name, several=bool(several))

    def release(self) -> None:
        """Free the model in memory, and stop the engine."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.stop()
        if self._loaded is not None:
            self._loaded = None
            gc.collect()


def trainer_settings(trainer: Mapping[str, Any]) -> dict[str, Any]:
    """A stage's trainer fields that shape what is learned; files they name count by content."""
    chooses = any(trainer.get(name) for name in CHOOSES_CHECKPOINT)
    settings = {}
    for name, value in trainer.items():
        if chooses or name not in NEUTRAL_TRAINER:
            file = existing(value) if isinstance(value, str) else None
            settings[name] = {"sha256": file_hash(file)} if file and file.is_file() else value
    return settings


def answer_prompts(run: Path, questions: Path, out: Path) -> dict[str, list[Completion]]:
    """Every contestant's answers to the questions; those already in `out` are kept.

    Questions are a text file with a prompt a line, or rows of prompts as in `data`.

    Raises:
        DataError: the questions do not parse, or `out` answers others.
        ModelError: a contestant's model is gone.
    """
    folder = RunFolder(run)
    recipe = load(folder.recipe)
    execution = Execution(recipe, folder)
    options = recipe.scoring.generation if recipe.scoring else Generation()
    if questions.suffix == ".txt":
        prompts = dict.fromkeys(line.strip() for _, line in io.read_lines(questions, ours=False))
        if not prompts:
            raise DataError(f"{questions}: no prompts; write one on each line")
        examples = [Example(id=digest(p), messages=(Message(role="user", content=p),)) for p in prompts]
    else:
        examples = load_examples(DataSource(source=str(questions)))
    files = [(who, out / f"{who.name}.jsonl") for who in execution.contestants]
    for _, file in files:
        check_replaceable(file, examples)
    answers = {who.name: execution.generate(who, examples, options, file) for who, file in files}
    execution.release()
    return answers
