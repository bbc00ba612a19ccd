"""The contestants of a run, answering live: one base in memory with adapters switched on it, and endpoints.

Questions are answered in the background, one after the other where a model in memory answers, so that a page
can show how long it takes and be reloaded meanwhile.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit import io
from toolkit import recipe as recipes
from toolkit.errors import DataError, ModelError, ToolkitError
from toolkit.recipe import Contestant, Generation, Recipe
from toolkit.types import Message, digest

if TYPE_CHECKING:
    from toolkit.generate import Source
    from toolkit.models import Loaded

logger = logging.getLogger(__name__)

TEMPERATURE = 0.7
"""Of an answer that is to differ from the one before it."""

AT_ONCE = 4
"""Questions to endpoints that are answered at the same time."""


@dataclass(frozen=True)
class LiveAnswer:
    text: str
    cut: bool = False
    """Whether it ended at the token limit."""
    error: ToolkitError | None = None


@dataclass
class Job:
    """A question that several contestants are answering."""

    names: tuple[str, ...]
    started: float = field(default_factory=time.monotonic)
    future: Future[tuple[LiveAnswer, ...]] = field(default_factory=Future)

    @property
    def done(self) -> bool:
        return self.future.done()

    @property
    def seconds(self) -> float:
        """Since it was put."""
        return time.monotonic() - self.started


class LiveModels:
    """Answers questions as any contestant of a run."""

    def __init__(self, run: Path) -> None:
        """Read the run's recipe; raises `DataError` where fewer than two contestants have their weights."""
        self._run = run
        self._recipe: Recipe = recipes.load(run / "recipe.yaml")
        self._models: dict[str, Loaded] = {}
        self._turn = threading.Lock()
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="questions")
        self._waiting: list[Job] = []
        self._contestants: dict[str, Contestant] = {}
        self.missing: dict[str, str] = {}
        """Contestant -> why it cannot answer."""
        for name, contestant in recipes.contestants(self._recipe).items():
            try:
                if not contestant.answers:  # in a file
                    self._contestants[name] = self._prepared(name, contestant)
            except ToolkitError as error:
                self.missing[name] = str(error)
        if len(self._contestants) < 2:  # noqa: PLR2004
            why = "; ".join(f"{name}: {problem}" for name, problem in self.missing.items())
            raise DataError(f"{run}: --ask needs two contestants that can answer{f' ({why})' if why else ''}")
        for name, problem in self.missing.items():
            logger.warning("%s answers no questions: %s", name, problem)

    def _prepared(self, name: str, contestant: Contestant) -> Contestant:
        """The contestant with its worked examples as they were drawn when the run was made."""
        if not contestant.endpoint:
            self._locate(contestant)
        shots = self._run / "shots" / f"{name}.json"
        if not (contestant.shots and shots.exists()):
            return contestant
        drawn = [Message.model_validate(turn) for turn in io.read_json(shots, kind=dict)["prompt"]]
        return contestant.model_copy(update={"prompt": (*contestant.prompt, *drawn)})

    @property
    def names(self) -> tuple[str, ...]:
        """Those that can answer; not those whose answers are in a file."""
        return tuple(self._contestants)

    def load(self) -> None:
        """Load all models and adapters, so that the first question does not wait for it."""
        for name, contestant in self._contestants.items():
            if contestant.endpoint:
                continue
            try:
                with self._turn:
                    self._source(name, contestant)
            except ToolkitError as error:
                logger.warning("%s cannot answer questions: %s", name, error)

    def submit(
        self,
        names: Sequence[str],
        conversations: Sequence[Sequence[Message]],
        *,
        seed: int,
        sampled: bool = False,
    ) -> Job:
        """Let contestants answer in the background, each the end of a conversation of its own.

        `conversations` lack the messages of the contestant's own prompt; `sampled` draws tokens at
        `TEMPERATURE` even where the recipe is greedy, whose answer never changes.
        """
        job = Job(tuple(names))

        def run() -> tuple[LiveAnswer, ...]:
            try:
                with ThreadPoolExecutor(len(names)) as sides:
                    futures = [
                        sides.submit(self._answer, name, conversation, seed, sampled)
                        for name, conversation in zip(names, conversations, strict=True)
                    ]
                    return tuple(future.result() for future in futures)
            finally:
                self._waiting.remove(job)

        self._waiting.append(job)
        job.future = self._pool.submit(run)
        return job

    def ahead(self, job: Job) -> int:
        """How many questions are answered before this one."""
        waiting = list(self._waiting)
        return waiting.index(job) if job in waiting else 0

    def _answer(self, name: str, conversation: Sequence[Message], seed: int, sampled: bool) -> LiveAnswer:
        """One contestant's answer, or why there is none."""
        from toolkit.data.chat import with_prompt
        from toolkit.generate import Request

        contestant = self._contestants[name]
        options = self._recipe.scoring.generation if self._recipe.scoring else Generation()
        if sampled and options.temperature == 0:
            options = options.model_copy(update={"temperature": TEMPERATURE})
        place = int(digest(str(seed), name), 16) % 2**63
        request = Request(id="live", messages=with_prompt(contestant.prompt, conversation), seed=place)
        try:
            # One model in memory answers one question at a time.
            with nullcontext() if contestant.endpoint else self._turn:
                reply = next(iter(self._source(name, contestant).replies([request], set(), options)))[1]
            if reply.finish == "refused":
                raise ModelError(reply.error or "the server refused the question")
            return LiveAnswer(reply.text, cut=reply.finish == "length")
        except ToolkitError as error:
            return LiveAnswer("", error=error)

    def _source(self, name: str, contestant: Contestant) -> Source:
        if contestant.endpoint:
            from toolkit.generate.endpoint import EndpointSource
            from toolkit.models.rate_limit import Retry

            return EndpointSource(contestant.endpoint, Retry(attempts=3, patience=60))  # a person waits
        from toolkit.generate.local import LocalSource
        from toolkit.models import load_base

        base, adapter = self._locate(contestant)
        if base not in self._models:
            self._models[base] = load_base(base, self._recipe.options_of(base))
        loaded = self._models[base]
        if adapter:
            loaded.attach(name, adapter)
        return LocalSource(loaded, name if adapter else None)

    def _locate(self, contestant: Contestant) -> tuple[str, Path | None]:
        if find_spec("torch") is None:
            raise ModelError("needs torch, which is not installed; pip install adapter-arena")
        base, adapter = self._recipe.model_of(contestant, self._run)
        for folder in (adapter, Path(base) if contestant.stage and base != self._recipe.base else None):
            if folder and not any(folder.glob("*.safetensors")):
                raise ModelError(f"{folder}: no weights there; `adapter-arena run` the recipe first")
        if base.startswith(("/", ".", "~")) and not Path(base).expanduser().exists():
            raise ModelError(f"{base}: no such model")
        return base, adapter
