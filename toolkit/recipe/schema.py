"""A recipe's sections: their defaults hold where it is silent, their docstrings are the reference."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    NonNegativeFloat,
    Tag,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticKnownError, core_schema

from toolkit import io
from toolkit.errors import RecipeError
from toolkit.metric_info import METRICS, Tokenizer, known_figures
from toolkit.registry import DATA_FORMATS, JUDGE_METHODS, TRAINING_METHODS, TrainingMethod
from toolkit.types import Message, digest


@dataclass(frozen=True, eq=False)
class NameIn:
    """Annotation of a name that a table has."""

    table: Mapping[str, Any]
    also: tuple[str, ...] = ()  # further names

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.also, *self.table)

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self._validate, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return handler(schema) | {"enum": list(self.names)}

    def _validate(self, name: str) -> str:
        if name not in self.names:
            *most, last = map(repr, self.names)
            raise PydanticKnownError("literal_error", {"expected": f"{', '.join(most)} or {last}"})
        return name


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
"""Names become file names: letters, digits, `.`, `_`, `-`; at most 64."""

Variable = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")]

Method = Annotated[str, NameIn(TRAINING_METHODS)]
Format = Annotated[str, NameIn(DATA_FORMATS, also=("auto",))]
JudgeMethod = Annotated[str, NameIn(JUDGE_METHODS)]
Metric = Annotated[str, NameIn(METRICS)]

FunctionName = Annotated[str, Field(pattern=r"^.+\.py:[A-Za-z_]\w*$")]  # A function in a Python file


class Section(BaseModel):
    """Base of every part of a recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class ModelOptions(Section):
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps`."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto`: bfloat16 where the hardware is fast at it, else float16 on CUDA, else float32."""
    attention: str = "auto"
    """A name that transformers knows (`sdpa`, `flash_attention_2`, `flex_attention` ...), or a kernel
    of the hub (`kernels-community/flash-attn2`). `auto`: transformers' choice for the model."""
    use_kernels: bool = Field(default=False, exclude_if=lambda value: not value)
    """Take layers (norms, activations) from the kernels of the hub; needs the package `kernels`, and a GPU
    that they are made for."""
    quantization: Literal["none", "nf4", "int8"] = "none"
    """`nf4`: 4-bit weights with double quantisation, as QLoRA."""
    revision: str | None = None
    """Commit or tag of a hub model."""
    chat_template: str | None = None
    """For a base without one: a Jinja file beside the recipe, or the model (hub id, folder) whose template to
    use."""
    chat_template_kwargs: dict[Variable, Any] = Field(default={}, exclude_if=lambda value: not value)
    """Variables of the chat template, such as `{enable_thinking: false}`, wherever it is rendered. For an
    endpoint: `endpoint.parameters: {chat_template_kwargs: ...}`, where its server takes it."""


class DataSource(Section):
    source: str
    """A file (`.json`, `.jsonl`, `.csv`, `.tsv`, `.parquet`), a hub data set id, or `package:...` for data
    shipped with the package. Relative files are looked for beside the recipe; `${VARIABLE}` is taken from the
    environment."""
    subset: str | None = None
    """Configuration name of a hub data set."""
    split: str = "train"
    format: Format = "auto"
    filter: str | None = None
    """Rows to keep, e.g. `status != "tie" and chosen_score >= 8`. Parsed, never evaluated as code."""
    rename: dict[str, str] = {}
    """Column names of the data -> the names expected."""
    shuffle: bool = False
    """Shuffle with the recipe's seed, before `limit`."""
    limit: int | None = Field(default=None, ge=1)
    """Use at most this many rows."""
    skip_bad_rows: bool = False
    """Leave out rows that do not fit and count them, instead of stopping at the first."""


class LoraOptions(Section):
    """Fields of the PEFT configuration class; unknown ones are passed through to it."""

    model_config = ConfigDict(frozen=True, extra="allow", use_attribute_docstrings=True)

    type: Literal["lora", "ia3", "adalora", "vera", "adaption_prompt", "prompt", "prefix"] = "lora"
    r: int = Field(default=16, ge=1, le=4096)
    alpha: int | None = Field(default=None, ge=1)
    """Scaling numerator; twice `r` when left out."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: str | list[str] = "all-linear"


class Selection(Section):
    """Which checkpoint of a stage is published."""

    metric: Literal["primary"] = "primary"
    """The run's primary measure; ROUGE-L where there is none, or where answers alone do not show it."""
    every: int | None = Field(default=None, ge=1)
    """Steps from one evaluation to the next; the last step is evaluated too. Left out, a quarter of all."""
    examples: int = Field(default=64, ge=2)
    """Of `scoring.validation`, the first so many are answered."""


class Stage(Section):
    name: Name
    method: Method
    data: str
    """A name from `data`."""
    heldout: str | None = None
    """A name from `data` to measure on; without it `heldout_share` of the rows are held out."""
    heldout_share: float = Field(default=0.05, ge=0, lt=1)
    start: str = "base"
    """`base`, an earlier stage to train on top of, or a stage of another run, `results/round1:sft`: that one
    and those below it are taken from there."""
    taken_from: str | None = Field(default=None, exclude_if=lambda value: value is None)
    """Folder of the adapter (or model) that another run trained this stage to; set by `start`."""
    adapter: LoraOptions | Literal["none"] | None = None
    """Left out where `start` has an adapter: that one is trained on; else a new LoRA adapter is trained.
    Given there: a new adapter on the frozen parent, joined with it when published. `none`: all weights."""
    trainer: dict[str, Any] = {}
    """Fields of the TRL configuration class of the method, passed through (`learning_rate`, `beta` ...)."""
    rewards: dict[str, float] = {}
    """Of `rloo` and `grpo`: reward model -> weight. A reward model is an earlier `reward` stage, or a folder
    or hub id of a sequence classifier with one output."""

    select: Selection | None = Field(default=None, exclude_if=lambda value: value is None)
    """`primary`, or options such as `{every: 50, examples: 64}`: while training, examples of
    `scoring.validation` are answered, and the checkpoint with the best answers is published. Left out: the
    last one."""

    @field_validator("select", mode="before")
    @classmethod
    def selection_options(cls, value: Any) -> Any:
        if isinstance(value, (dict, Selection)) or value is None:
            return value
        if value == "primary":
            return {}
        raise ValueError("should be `primary`, or options such as {every: 50, examples: 64}")

    @model_validator(mode="after")
    def selects_alone(self) -> Stage:
        if self.select and self.spec.reward_model:
            raise ValueError("select: a reward model writes no answers to choose by; leave it out")
        chooses = {"load_best_model_at_end": True, "metric_for_best_model": None, "save_strategy": "best"}
        for name, value in chooses.items() if self.select else ():
            if self.trainer.get(name) and value in (self.trainer[name], None):
                raise ValueError(f"select chooses the checkpoint; leave out trainer.{name}")
        return self

    @model_validator(mode="after")
    def rewards_where_needed(self) -> Stage:
        if self.spec.online and not self.rewards and not self.taken_from:
            raise ValueError(f"{self.method} needs `rewards`, such as {{helpful: 1.0, safe: 0.5}}")
        if self.rewards and not self.spec.online:
            online = [name for name, spec in TRAINING_METHODS.items() if spec.online]
            raise ValueError(f"`rewards` are for {' and '.join(online)}, not for {self.method}")
        return self

    @property
    def spec(self) -> TrainingMethod:
        """Its method's entry in the table."""
        return TRAINING_METHODS[self.method]


class Endpoint(Section):
    url: str = Field(pattern=r"^https?://")
    """Base URL of an OpenAI-compatible server, up to and including `/v1`; a key goes into `key_env`."""
    model: str
    key_env: Variable | None = None
    """Name of the environment variable that holds the API key."""
    concurrency: int = Field(default=8, ge=1, le=512)
    timeout: float = Field(default=120.0, gt=0)
    """Seconds for one request."""
    parameters: dict[str, Any] = {}
    """Further fields of every request, in place of ours where they have the same name; `null` leaves one out
    (`{max_tokens: null, max_completion_tokens: 512}`)."""
    price: tuple[NonNegativeFloat, NonNegativeFloat] | None = None
    """Dollars for a million tokens read, and written."""
    budget_usd: float | None = Field(default=None, gt=0)
    """Dollars that one step (answering, judging) may cost here at most; needs `price`. A request is sent only
    while the longest reply to it still fits; what was answered is kept."""

    @field_validator("url")
    @classmethod
    def without_password(cls, url: str) -> str:
        try:
            usable = bool(urlsplit(url).hostname) and urlsplit(url).port != 0
        except ValueError:  # of a port beyond 65535, of brackets
            usable = False
        if not usable:
            raise ValueError("no address of a server; write it as https://host/v1")
        if "@" in url.partition("://")[2].partition("/")[0]:
            raise ValueError("a user or password in a URL would be written into the run; use `key_env`")
        url = url.rstrip("/")
        if url.endswith(("/completions", "/responses", "/messages")):
            raise ValueError("give the base URL, up to and including `/v1`; the rest is added to it")
        return url

    @field_validator("parameters")
    @classmethod
    def one_plain_reply(cls, parameters: dict[str, Any]) -> dict[str, Any]:
        fixed = {"stream": (False, None), "n": (1, None), "best_of": (1, None), "messages": (), "prompt": ()}
        for name, known in fixed.items():
            if name in parameters and parameters[name] not in known:
                raise ValueError(f"`{name}` cannot be set: a request asks our messages, for one whole reply")
        return parameters

    @model_validator(mode="after")
    def priced(self) -> Endpoint:
        if self.budget_usd is not None and not any(self.price or ()):
            raise ValueError("budget_usd needs `price`, such as [2.5, 10]")
        return self


MOST_SHOTS = 64  # worked examples of a contestant


class Contestant(Section):
    stage: str | None = None
    """Name of a stage: base + its chain of adapters. Left out, with `model` and `endpoint`: the bare base."""
    model: str | None = None
    """Another model: hub id, folder, GGUF file or packaged name."""
    adapter: str | None = None
    """An adapter folder made elsewhere, put on `model`, or on the base that its configuration names."""
    answers: str | None = None
    """A file of its answers, in any format that `metrics` reads: rows are matched by `example_id`, else by
    identical messages."""
    endpoint: Endpoint | None = None
    prompt: tuple[Message, ...] = ()
    """Messages put before every example: a system turn, worked examples."""
    shots: int | Literal["auto"] | None = None
    """Worked examples drawn from the first stage's training rows and put after `prompt`; none of them is
    like a held-out example. `auto`: as many of 1, 3, 5 and 8 as do best on other training rows."""

    @field_validator("shots", mode="before")
    @classmethod
    def number_or_auto(cls, value: Any) -> Any:
        if value is None or value == "auto" or (type(value) is int and 1 <= value <= MOST_SHOTS):
            return value
        raise ValueError(f"should be `auto`, or a number from 1 to {MOST_SHOTS}")

    @model_validator(mode="after")
    def one_kind(self) -> Contestant:
        kinds = (self.stage, self.model or self.adapter, self.endpoint, self.answers)
        if sum(kind is not None for kind in kinds) > 1:
            raise ValueError("give only one of stage, model (with an adapter), adapter, endpoint, answers")
        if self.answers and self.has_prompt:
            raise ValueError("answers are there already; leave out `prompt` and `shots`")
        if not all(turn.content.strip() for turn in self.prompt):
            raise ValueError("prompt: one of its turns is empty; write it, or leave it out")
        return self

    @property
    def has_prompt(self) -> bool:
        """Whether it is shown more than the example: a prompt of its own, worked examples."""
        return bool(self.prompt or self.shots)

    @property
    def on_base(self) -> bool:
        """The recipe's base, bare or with a prompt."""
        return not (self.stage or self.model or self.adapter or self.endpoint or self.answers)


class Generation(Section):
    max_new_tokens: int = Field(default=256, ge=1)
    temperature: float = Field(default=0.0, ge=0)
    """0: greedy."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    from_model: bool = False
    """Take the sampling that is left at its default here (`temperature`, `top_p`), and what is not here
    (`top_k`, `repetition_penalty` ...), from the model's `generation_config.json`; of a server, from its
    defaults. Without it the model gives its end tokens only."""
    samples: int = Field(default=1, ge=1, le=64, exclude_if=lambda value: value == 1)
    """Answers to each example, where they are sampled: a score is of all of them, so that its interval holds
    the chance of sampling; judge, arena and report show the first."""
    stop: tuple[str, ...] = ()
    batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Conversations at a time. `auto`: as many as fit into free memory, halved where they did not."""
    engine: Literal["auto", "transformers", "vllm"] = "auto"
    """Of contestants on a model here, all on one base alike: `transformers` in this process, or a vLLM server
    that the run starts and stops. `auto`: vLLM where `engine_command` is given, or where it is installed
    beside a CUDA GPU."""
    engine_command: str | None = None
    """How the server is started, such as `/opt/vllm/bin/vllm serve --max-model-len 4096`: it may be installed
    in an environment of its own. `transformers serve` is taken too."""

    @model_validator(mode="after")
    def sampled(self) -> Self:
        if self.samples > 1 and not (self.temperature > 0 or self.from_model):
            raise ValueError("samples: at temperature 0 all answers are alike; set `temperature: 0.7`")
        return self


class Benchmark(Section):
    task: str
    """An lm-eval task or group, one of the names with local files (`gsm8k`, `hellaswag`, `mmlu` ...), or a
    task file (`.yaml`) of your own, found beside the recipe."""
    files: dict[str, str] = {}
    """Split -> local file with the hub set's columns; with none they come from the hub."""
    num_fewshot: int | None = Field(default=None, ge=0)
    limit: int | None = Field(default=None, ge=1)
    chat_template: bool = False
    """Wrap the prompts in the model's chat template."""
    allow_code_execution: bool = False
    """For tasks such as `humaneval`: run the code the model writes, in a sandbox."""


class TextMatch(Section):
    """How `exact_match` compares, white space aside."""

    fold_case: bool = True
    punctuation: bool = True
    """Whether punctuation counts."""


class Check(Section):
    """A metric of your own: one of the kinds below, a number for every example."""

    name: Name | None = None
    """What the metric is called; left out, its function's or its kind's name."""
    lower_is_better: bool = False
    function: FunctionName | None = None
    """`FILE.py:NAME`, beside the recipe: `(completion, reference, example) -> float | dict`. `example` has
    the columns of the example's row, and `id`, `messages`, `reference`, `category`."""
    json_schema: str | dict[str, Any] | None = None
    """Whether the completion, or its one fenced block, is JSON that a schema (or a file of one) accepts."""
    regex: str | None = None
    """Whether a pattern is found in the completion (Python's `re.search`)."""
    number: Literal["first", "last"] | None = None
    """Whether the completion's first or last number is the last one of the reference."""
    exact_match: TextMatch | None = None
    """Whether the completion is the reference."""
    contains: str | tuple[str, ...] | Literal[True] | None = None
    """Whether a text, all of several texts, or (`true`) the reference is in the completion."""
    executes: str | None = None
    """Whether the completion's Python code passes the asserts in this column of its row, in a sandbox."""
    allow_code_execution: bool = False
    """Required by `executes`."""

    @property
    def kind(self) -> str:
        kinds = ("function", "json_schema", "regex", "number", "exact_match", "contains", "executes")
        named = [kind for kind in kinds if getattr(self, kind) is not None]
        if len(named) != 1:
            raise ValueError(f"give exactly one of {', '.join(kinds)}")
        return named[0]

    @property
    def title(self) -> str:
        """The metric's name in scores."""
        return self.name or (self.function.rpartition(":")[2] if self.function else self.kind)

    @model_validator(mode="after")
    def usable(self) -> Self:
        if self.kind == "executes" and not self.allow_code_execution:
            raise ValueError("executes: runs code of models; set `allow_code_execution: true` beside it")
        try:
            re.compile(self.regex or "")
        except re.error as error:
            raise ValueError(f"regex: {error}") from None
        texts = {"regex": self.regex, "contains": self.contains}
        for kind, text in texts.items():
            if text == "" or (isinstance(text, tuple) and not all(text or ("",))):
                raise ValueError(f"{kind}: an empty text is found in every answer; name one, or leave it out")
        return self


def _metric_form(value: Any) -> str:
    if not isinstance(value, str):
        return "Check"
    return "Function" if ".py" in value else "Metric"


AnyMetric = Annotated[
    Annotated[Metric, Tag("Metric")]
    | Annotated[FunctionName, Tag("Function")]
    | Annotated[Check, Tag("Check")],
    Discriminator(_metric_form),
]


class Scoring(Section):
    examples: str
    """A name from `data`: the held-out prompts with references."""
    generation: Generation = Generation()
    metrics: tuple[AnyMetric, ...] = ("perplexity", "rouge", "bleu", "chrf", "bertscore")
    """Names of metrics, and of your own: `my_metrics.py:fields_right`, `{json_schema: schema.json}`,
    `{regex: '...'}`, `{number: last}`, `{exact_match: {fold_case: false}}`, `{contains: ...}`,
    `{executes: tests, allow_code_execution: true}`."""
    tokenizer: Tokenizer | None = None
    """Of ROUGE and BLEU: `words` or `characters` of any script, or one of sacrebleu's (`zh`, `ja-mecab`,
    `ko-mecab`, `flores200`; `pip install 'adapter-arena[ja]'`, `[ko]`, `[flores200]`). `auto`: by the script
    of the references. Left out, the tools' own, which read English."""
    validation: str | None = Field(default=None, exclude_if=lambda value: value is None)
    """A name from `data`: examples that `sweep` and `select` choose by; the test set takes no part in it."""
    primary: str | None = None
    """The metric that decides: the report's headline is about it."""
    guard: str | None = None
    """A name from `data`: prompts with answers of another kind than the task's. What training made a model
    forget shows in the likelihood of these answers (`guard_bits_per_byte`)."""
    fewshot_baseline: bool = True
    """`run` adds the contestant `base-fewshot` (the base with `shots: auto`) where a stage learns from
    answers and no contestant is the base with a prompt."""
    bertscore_model: str = "all-minilm-l6-v2"
    """Encoder of BERTScore: the packaged one, a folder, or a hub id such as `roberta-large`."""
    bertscore_layer: int | None = Field(default=None, ge=1)
    """Of the encoder; left out, bert-score's choice."""
    bertscore_idf: bool = False
    """Weight tokens by their rarity among the references."""
    bertscore_rescale: bool | str = False
    """`true`: above bert-score's published baseline of the encoder; or a file of baselines in its format."""
    groups: str | None = None
    """Where examples come in groups (one passage, one talk): the column of their rows that names the group.
    Intervals and p-values are then over groups."""
    slices: tuple[str, ...] = ()
    """Columns of the examples' rows, or `length` (terciles of the prompt): the primary measure and your own
    metrics are shown on each of their values."""
    benchmarks: tuple[Benchmark, ...] = ()

    @property
    def checks(self) -> tuple[Check, ...]:
        """The metrics of the recipe's own."""
        own = [each for each in self.metrics if isinstance(each, Check) or each not in METRICS]
        return tuple(Check(function=each) if isinstance(each, str) else each for each in own)

    @property
    def tuning_metric(self) -> tuple[str | Check, str]:
        """(metric, its figure) that choices are made by: the primary one if answers show it, else ROUGE-L."""
        primary = self.primary or ""
        for check in self.checks:
            if primary == check.title or primary.startswith(f"{check.title}_"):
                return check, primary
        for name, spec in METRICS.items():
            if primary in spec.figures and spec.implementation and spec.needs_reference:
                return name, primary
        return "rouge", "rougeL"

    @model_validator(mode="after")
    def named_once(self) -> Self:
        titles = [check.title for check in self.checks]
        others = {figure for name in METRICS if name in self.metrics for figure in METRICS[name].figures}
        others |= known_figures().keys() - {check.kind for check in self.checks}
        taken = next((title for title in titles if title in others or titles.count(title) > 1), None)
        if taken:
            raise ValueError(f"metrics: two are called {taken}; give one a `name`")
        twice = next((each for each in self.metrics if self.metrics.count(each) > 1), None)
        if twice:
            raise ValueError(f"metrics: {twice} is there twice; keep one of them")
        return self


class Juror(Section):
    """One of several judges."""

    model: str | None = None
    """Hub id, folder, GGUF file or packaged name; left out, with `endpoint`: the recipe's base judges."""
    endpoint: Endpoint | None = None
    method: JudgeMethod | None = None
    """Left out: the jury's."""

    @model_validator(mode="after")
    def one_kind(self) -> Self:
        if self.model is not None and self.endpoint is not None:
            raise ValueError("give only one of model, endpoint")
        return self


class Judge(Juror):
    """One judge, or a jury; battles, prompt and rule are the same for all of its members."""

    method: JudgeMethod = "logits"
    """`logits`: read the verdict from the next-token probabilities; `written`: parse a reply, the one method
    of an endpoint; `reward`: `model` is a reward model's folder, and the higher reward wins."""
    jury: tuple[Juror, ...] = ()
    """Several judges in the place of one: what more than half of them say is the vote, else a tie."""
    prompt: str = "pairwise"
    """A packaged judge prompt, or a `.yaml` file of your own, found beside the recipe."""
    pairs: Literal["all", "baseline"] = "all"
    baseline: str | None = None
    """With `pairs: baseline`: the contestant every other one is compared with."""
    reference: bool = False
    """Show the judge the reference answer."""
    max_new_tokens: int = Field(default=512, ge=1)
    """Length of a reply of `method: written`; one that is cut there cannot be read."""
    rule: Literal["agreement", "average"] = "agreement"
    """How two orders make a vote. `agreement`: the same winner in both, else a tie. `average`: the mean of
    the probabilities decides, which also uses a judge that always leans to one side."""
    limit: int | None = Field(default=None, ge=1)
    """Judge at most this many examples per pair."""
    budget: int | None = Field(default=None, ge=1)
    """Judge at most this many battles in all, spread evenly over pairs and categories."""

    @model_validator(mode="after")
    def one_or_several(self) -> Self:
        if self.jury and (self.model is not None or self.endpoint is not None):
            raise ValueError("name who judges in `jury`, or one judge by `model` or `endpoint`")
        return self

    def members(self) -> list[Judge]:
        """The jury, each member as a judge of its own; or the one judge."""
        members = []
        for juror in self.jury:
            who = {"model": juror.model, "endpoint": juror.endpoint, "method": juror.method or self.method}
            members.append(self.model_copy(update={"jury": (), **who}))
        return members or [self]


class ArenaOptions(Section):
    contestants: tuple[str, ...] = ()
    """Who takes part; left out, everyone."""
    pairing: Literal["uniform", "active"] = "active"
    goal: int = Field(default=100, ge=1)
    """Votes wanted per pair."""
    claims: tuple[tuple[Name, Name], ...] = ()
    """Pairs that the arena's votes decide; left out, everyone against the base with a prompt. Others stay
    undecided."""


class Recipe(Section):
    """Everything about a run: what is trained, who competes, how it is scored and judged."""

    extends: str | None = Field(default=None, exclude=True)
    """Another recipe to start from, a file beside this one or a packaged name. Mappings are merged key by
    key; lists and single values are replaced, and `null` takes a section away."""
    name: Name
    base: str = Field(default="", exclude_if=lambda value: not value)
    """Hub id, folder or GGUF file (looked for beside the recipe first), or a packaged model's short name.
    Left out: nothing is trained, and every contestant and judge names its own model, file or endpoint."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    seeds: int = Field(default=1, ge=1, le=20, exclude_if=lambda value: value == 1)
    """How often each stage is trained, from `seed` on; seed i of a stage stands on seed i of the one below.
    With three or more, intervals of scores hold examples and training; with two, both values are shown. The
    first is judged and voted on."""
    sweep: dict[str, tuple[Any, ...]] = Field(default={}, exclude_if=lambda value: not value)
    """Key -> values to try, `stages.sft.trainer.learning_rate: [1.0e-4, 3.0e-4]`: `run` trains every
    combination, and goes on with the one whose last stage is best on `scoring.validation`, by the primary
    measure."""
    processes: int = Field(default=1, ge=1, le=64, exclude_if=lambda value: value == 1)
    """That train together, one on each GPU, each with a copy of the model (DDP): a step sees as many batches.
    `run` and `train` start them by `accelerate launch`."""
    model: ModelOptions = ModelOptions()
    data: dict[Name, DataSource] = {}
    stages: tuple[Stage, ...] = ()
    contestants: dict[Name, Contestant] = {}
    """Left out: `base` and one contestant per stage."""
    scoring: Scoring | None = None
    judge: Judge | None = None
    arena: ArenaOptions = ArenaOptions()

    @field_validator("stages")
    @classmethod
    def distinct_stages(cls, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
        names = [stage.name for stage in stages]
        twice = sorted({name for name in names if names.count(name) > 1 or name == "base"})
        if twice:
            raise ValueError(f"stage names must be distinct and not `base`: {', '.join(twice)}")
        return stages

    def stage(self, name: str) -> Stage:
        """The stage of this name; a `RecipeError` names the nearest where there is none."""
        stages = {stage.name: stage for stage in self.stages}
        if name not in stages:
            raise RecipeError(unknown(self.name, name, list(stages), "stage")[0])
        return stages[name]

    def chain(self, name: str) -> list[Stage]:
        """The stages from the base up to and including `name`, in training order."""
        stages: list[Stage] = []
        while name != "base":
            stages.insert(0, self.stage(name))
            name = stages[0].start
        return stages

    def trained_again(self, number: int) -> Recipe:
        """The recipe that trains and scores the stages with the `number`-th seed (from 2), and no more."""
        seed = {"seed": (self.seed + number - 1) % 2**32}
        stages = tuple(each.model_copy(update={"trainer": each.trainer | seed}) for each in self.stages)
        trained = {name: spec for name, spec in contestants(self).items() if spec.stage}
        if any(stage.select for stage in stages):  # which takes the scoring, whoever competes
            trained = trained or {"base": Contestant()}
        scoring = self.scoring.model_copy(update={"benchmarks": ()}) if self.scoring and trained else None
        update = {"seeds": 1, "stages": stages, "contestants": trained, "scoring": scoring, "judge": None}
        return self.model_copy(update=update)

    def options_of(self, model: str) -> ModelOptions:
        """How a model is loaded: as the base is, but the base's revision is the base's alone."""
        return self.model if model == self.base else self.model.model_copy(update={"revision": None})

    def model_of(self, contestant: Contestant, run: Path) -> tuple[str, Path | None]:
        """The model, and the adapter to put on it, of a contestant that is no endpoint, in the run's folder.

        Raises:
            RecipeError: its adapter folder has no configuration, or one that names no base.
        """
        if contestant.adapter:
            folder = Path(contestant.adapter)
            named = contestant.model or adapter_base(folder)
            ours = not contestant.model and Path(named).name == Path(self.base).name
            return self.base if ours else named, folder
        if contestant.stage is None:
            return contestant.model or self.base, None
        trained = run / "adapters" / contestant.stage
        if self.stage(contestant.stage).adapter == "none":
            return str(trained), None
        below = self.whole_below(contestant.stage)
        return str(run / "adapters" / below) if below else self.base, trained

    def whole_below(self, name: str) -> str | None:
        """The last fully trained stage below stage `name`, which its adapter is put on; `None`: the base."""
        whole = [stage.name for stage in self.chain(name)[:-1] if stage.adapter == "none"]
        return whole[-1] if whole else None

    def adapter_of(self, name: str) -> LoraOptions | Literal["none"]:
        """The adapter that stage `name` trains: its own, or the one that it continues."""
        stage = self.stage(name)
        if self.continues(name):
            return self.adapter_of(stage.start)
        return stage.adapter or LoraOptions()

    def continues(self, name: str) -> bool:
        """Whether stage `name` goes on with its parent's adapter, instead of beginning one."""
        stage = self.stage(name)
        on_adapter = stage.start != "base" and self.stage(stage.start).adapter != "none"
        return stage.adapter is None and on_adapter

    def needed(self, name: str) -> list[str]:
        """The stages to train for stage `name`: its chain, and the reward models that it learns from."""
        ours = {stage.name for stage in self.stages}
        chain = self.chain(name)
        rewards = [reward for part in chain for reward in part.rewards if reward in ours]
        return [part for reward in rewards for part in self.needed(reward)] + [part.name for part in chain]


def contestants(recipe: Recipe) -> dict[str, Contestant]:
    """Who competes: as the recipe names them, or the base and every stage that writes answers."""
    if recipe.contestants:
        return dict(recipe.contestants)
    writers = [stage.name for stage in recipe.stages if not stage.spec.reward_model]
    return {"base": Contestant()} | {name: Contestant(stage=name) for name in writers}


def is_fair_baseline(contestant: Contestant) -> bool:
    """Whether this is the recipe's own base with a prompt of its own."""
    return contestant.on_base and contestant.has_prompt


def adapter_base(folder: Path) -> str:
    """The base that an adapter folder names (our lineage's, else PEFT's); a `RecipeError` where none is."""
    file = folder / "adapter_config.json"
    if not file.is_file():
        raise RecipeError(f"{folder}: not an adapter folder: it has no adapter_config.json")
    lineage = folder / "lineage.json"
    named = io.read_json(lineage, kind=dict).get("base") if lineage.is_file() else None
    named = named or io.read_json(file, kind=dict).get("base_model_name_or_path")
    if not named:
        raise RecipeError(f"{file}: names no base; name it with `model`, beside `adapter`")
    return str(named)


FEWSHOT = "base-fewshot"  # the contestant that `run` adds


def answered_data(recipe: Recipe) -> str | None:
    """The data set that worked examples are drawn from: of the first stage whose rows have answers."""
    found = (stage.data for stage in recipe.stages if stage.spec.rows != ("text",) and not stage.spec.online)
    return next(found, None)


def with_fewshot_baseline(recipe: Recipe) -> Recipe:
    """The recipe with a fair baseline among its contestants, where it asks for one and has none."""
    specs, scoring = contestants(recipe), recipe.scoring
    there = FEWSHOT in specs or any(is_fair_baseline(spec) for spec in specs.values())
    if there or not scoring or not scoring.fewshot_baseline or answered_data(recipe) is None:
        return recipe
    at = next((place for place, spec in enumerate(specs.values(), start=1) if spec.on_base), 0)
    rows = list(specs.items())
    rows.insert(at, (FEWSHOT, Contestant(shots="auto")))
    return recipe.model_copy(update={"contestants": dict(rows)})


def arena_claims(recipe: Recipe) -> tuple[tuple[str, str], ...] | None:
    """The pairs that an open arena's votes decide; `None`: all, with nothing named and no fair baseline."""
    if recipe.arena.claims:
        return recipe.arena.claims
    found = contestants(recipe)
    names = recipe.arena.contestants or tuple(found)
    fair = [name for name in names if name in found and is_fair_baseline(found[name])]
    return tuple((name, fair[0]) for name in names if name != fair[0]) if fair else None


def unknown(key: str, name: str | None, known: list[str], what: str) -> list[str]:
    """No problem, or one: the key names something that is not there."""
    if name is None or name in known:
        return []
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean `{close[0]}`?" if close else f"known: {', '.join(known) or 'none'}"
    return [f"{key}: no {what} is named `{name}`; {hint}"]


def fingerprint(*values: Any) -> str:
    """16 hex digits that change when any of the values (plain JSON values or recipe sections) does."""
    plain = [v.model_dump(mode="json") if isinstance(v, BaseModel) else v for v in values]
    text = json.dumps(plain, sort_keys=True, ensure_ascii=False)
    return digest(text)
