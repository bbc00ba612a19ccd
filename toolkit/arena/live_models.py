"""The contestants of a run, answering live: one base in memory with adapters switched on it, and endpoints.

Models are loaded with the first question, not before: an arena that shows stored answers imports no torch.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit import io
from toolkit import recipe as recipes
from toolkit.errors import ModelError
from toolkit.recipe import Contestant, Generation, Recipe
from toolkit.types import Message, digest

if TYPE_CHECKING:
    from toolkit.generate import Request, Source
    from toolkit.models import Loaded

TEMPERATURE = 0.7
"""Of an answer that is to differ from the one before it."""


class LiveModels:
    """Answers questions as any contestant of a run."""

    def __init__(self, run: Path) -> None:
        """Read the run's recipe.

        Raises:
            RecipeError: the folder has no recipe that parses.
        """
        self._run = run
        self._recipe: Recipe = recipes.load(run / "recipe.yaml")
        self._contestants = {
            name: self._with_worked_examples(name, each)
            for name, each in recipes.contestants(self._recipe).items()
        }
        self._models: dict[str, Loaded] = {}
        self._turn = threading.Lock()

    def _with_worked_examples(self, name: str, contestant: Contestant) -> Contestant:
        """A contestant whose `shots` stand in its prompt, as they were drawn when the run was made."""
        file = self._run / "shots" / f"{name}.json"
        if not contestant.shots or not file.exists():
            return contestant
        drawn = [Message.model_validate(turn) for turn in io.read_json(file, kind=dict)["prompt"]]
        return contestant.model_copy(update={"prompt": (*contestant.prompt, *drawn)})

    @property
    def names(self) -> tuple[str, ...]:
        """Those that can answer; not those whose answers are in a file."""
        return tuple(name for name, each in self._contestants.items() if not each.answers)

    def answer(self, name: str, conversation: Sequence[Message], *, seed: int, sampled: bool = False) -> str:
        """One contestant's answer to a conversation that ends with a question.

        Args:
            name: of the contestant.
            conversation: turn by turn, without what the contestant's own prompt puts before it.
            seed: of sampling.
            sampled: draw tokens at `TEMPERATURE` even where the recipe is greedy, whose answer never changes.

        Raises:
            ModelError: its model or adapter is not there.
            EndpointError: its server does not answer.
        """
        from toolkit.data.chat import with_prompt
        from toolkit.generate import Request

        contestant = self._contestants[name]
        options = self._recipe.scoring.generation if self._recipe.scoring else Generation()
        if sampled and options.temperature == 0:
            options = options.model_copy(update={"temperature": TEMPERATURE})
        request = Request(
            id="live",
            messages=with_prompt(contestant.prompt, conversation),
            seed=int(digest(str(seed), name), 16) % 2**63,
        )
        if contestant.endpoint:
            return self._generate(self._source(name, contestant), request, options)
        with self._turn:  # one model in memory answers one question at a time
            return self._generate(self._source(name, contestant), request, options)

    def _generate(self, source: Source, request: Request, options: Generation) -> str:
        replies = source.replies([request], set(), options)
        return next(iter(replies))[1].text

    def _source(self, name: str, contestant: Contestant) -> Source:
        if contestant.endpoint:
            from toolkit.generate.endpoint import EndpointSource
            from toolkit.models.rate_limit import Retry

            return EndpointSource(contestant.endpoint, Retry(attempts=3, patience=60))  # a person waits
        from toolkit.generate.local import LocalSource

        base, adapter = self._locate(contestant)
        loaded = self._model(base)
        if adapter:
            loaded.attach(name, adapter)
        return LocalSource(loaded, name if adapter else None)

    def _locate(self, contestant: Contestant) -> tuple[str, Path | None]:
        """The model to load, and the adapter to put on it."""
        base, adapter = self._recipe.model_of(contestant, self._run)
        for folder in (adapter, Path(base) if contestant.stage and base != self._recipe.base else None):
            if folder and not folder.is_dir():
                raise ModelError(f"{folder}: no such folder; `adapter-arena run` the recipe first")
        return base, adapter

    def _model(self, name: str) -> Loaded:
        if name not in self._models:
            from toolkit.models import load_base

            self._models[name] = load_base(name, self._recipe.options_of(name))
        return self._models[name]
