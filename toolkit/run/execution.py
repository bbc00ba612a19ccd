"""What the steps of a run share: the players, their models, and the fingerprints of what they depend on.

A fingerprint covers everything a step's outputs depend on, the fingerprints of the steps before it included,
so a changed recipe redoes just what the change touches.
"""

from __future__ import annotations

import gc
import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit import records
from toolkit.data import load_examples, load_groups, load_rows
from toolkit.models import bases
from toolkit.recipe import Contestant, Recipe, Stage, contestants, fingerprint
from toolkit.run.folder import RunFolder
from toolkit.types import Completion, Example

if TYPE_CHECKING:
    from toolkit.models import Loaded

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Player:
    """A contestant with what it takes to ask it."""

    name: str
    spec: Contestant
    model: str | None
    """What to load (`None` for an endpoint): the recipe's base, another model, or a fully trained folder."""
    adapter: Path | None
    inputs: str
    """Fingerprint of everything its answers depend on, apart from the questions."""


class Execution:
    """One recipe being carried out in one run folder. At most one model is in memory at a time."""

    def __init__(self, recipe: Recipe, folder: RunFolder) -> None:
        self.recipe, self.folder = recipe, folder
        self._loaded: tuple[str, Loaded] | None = None

    @cached_property
    def base(self) -> str:
        """Fingerprint of the base and of how it is loaded."""
        return fingerprint(self.weights(self.recipe.base), self.recipe.model, self.recipe.seed)

    @cached_property
    def examples(self) -> list[Example]:
        """The held-out examples that contestants are scored on."""
        assert self.recipe.scoring is not None
        return load_examples(self.recipe.data[self.recipe.scoring.examples], seed=self.recipe.seed)

    @cached_property
    def questions(self) -> str:
        """Fingerprint of the examples."""
        return fingerprint([example.model_dump(mode="json") for example in self.examples])

    @cached_property
    def groups(self) -> dict[str, str]:
        """Example id -> the group it is in; none where the recipe names no column of groups."""
        scoring = self.recipe.scoring
        if scoring is None or scoring.groups is None:
            return {}
        return load_groups(self.recipe.data[scoring.examples], scoring.groups)

    @cached_property
    def players(self) -> list[Player]:
        return [self._player(name, spec) for name, spec in contestants(self.recipe).items()]

    @cached_property
    def data(self) -> dict[str, str]:
        """Fingerprint of the rows of every data set that stages use."""
        used = {name for stage in self.recipe.stages for name in (stage.data, stage.heldout) if name}
        return {
            name: load_rows(self.recipe.data[name], seed=self.recipe.seed).fingerprint
            for name in sorted(used)
        }

    def stage(self, stage: Stage) -> str:
        """Fingerprint of a trained stage: its settings, rows, and everything below it."""
        below = self.stage(self.recipe.stage(stage.start)) if stage.start != "base" else self.base
        rows = (self.data[stage.data], self.data.get(stage.heldout or ""))
        rewards = [self.stage(part) for part in self.recipe.stages if part.name in stage.rewards]
        return fingerprint(stage, *rows, below, *rewards)

    def _player(self, name: str, spec: Contestant) -> Player:
        prompt = [message.as_dict() for message in spec.prompt]
        if spec.endpoint:
            return Player(name, spec, None, None, fingerprint(name, spec.endpoint, prompt))
        if spec.model:
            inputs = fingerprint(name, self.weights(spec.model), self.recipe.model, self.recipe.seed, prompt)
            return Player(name, spec, spec.model, None, inputs)
        if spec.stage is None:
            return Player(name, spec, self.recipe.base, None, fingerprint(name, self.base, prompt))
        stage = self.recipe.stage(spec.stage)
        inputs, trained = fingerprint(name, self.stage(stage), prompt), self.folder.adapter(stage.name)
        if stage.adapter == "none":
            return Player(name, spec, str(trained), None, inputs)
        below = self.recipe.whole_below(stage.name)
        root = str(self.folder.adapter(below)) if below else self.recipe.base
        return Player(name, spec, root, trained, inputs)

    def weights(self, name: str) -> str:
        """Fingerprint of a model: of everything that loading it opens."""
        return bases.content_fingerprint(
            bases.resolve_base(name, revision=self.recipe.options_of(name).revision)
        )

    def said(self, player: Player) -> list[Completion]:
        """The player's answers, once they are there."""
        return list(records.read(self.folder.completions(player.name), Completion))

    def model(self, name: str) -> Loaded:
        """The model of this name, loaded; the one that was in memory before is let go."""
        from toolkit.models import load_base

        if self._loaded is None or self._loaded[0] != name:
            self.release()
            logger.info("loading %s", name)
            self._loaded = (name, load_base(name, self.recipe.options_of(name)))
        return self._loaded[1]

    def ready(self, player: Player) -> Loaded:
        """The player's model, with its adapter attached under the player's name."""
        assert player.model is not None
        loaded = self.model(player.model)
        if player.adapter:
            loaded.attach(player.name, player.adapter)
        return loaded

    def release(self) -> None:
        """Free the model in memory."""
        self._loaded = None
        gc.collect()
