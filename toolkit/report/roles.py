"""Who is who in a run, and so which comparisons answer the question: did it get better?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from toolkit.recipe import Contestant, Recipe, contestants

FAIR = "the fair baseline"
BARE = "the bare base"
BEFORE = "the stage before"
OTHER = "another contestant"


@dataclass(frozen=True)
class Question:
    """Is `contestant` better than `against`? `role` says who the latter is."""

    contestant: str
    against: str
    role: str

    @property
    def title(self) -> str:
        return f"{self.contestant} against {self.against}"


def questions(names: Sequence[str], recipe: Recipe | None) -> list[Question]:
    """What the report answers first, the most telling question first.

    The last trained contestant against the base with a prompt (the fair baseline) and against the bare base,
    then every stage against the one it was trained on. Without a recipe, or where nothing was trained, the
    last contestant against all others.
    """
    specs = {n: spec for n, spec in (contestants(recipe) if recipe else {}).items() if n in names}
    trained = [name for name, spec in specs.items() if spec.stage]
    if recipe is None or not trained:
        return [Question(names[-1], other, OTHER) for other in names[:-1]]
    final = trained[-1]
    fair = [name for name, spec in specs.items() if _own_base(spec) and spec.prompt]
    bare = [name for name, spec in specs.items() if _own_base(spec) and not spec.prompt]
    found = [Question(final, other, FAIR) for other in fair]
    found += [Question(final, other, BARE) for other in bare[:1]]
    for name in reversed(trained):
        parent = recipe.stage(specs[name].stage or "").start
        before = bare[:1] if parent == "base" else [n for n in trained if specs[n].stage == parent]
        found += [Question(name, other, BARE if parent == "base" else BEFORE) for other in before[:1]]
    return list({(q.contestant, q.against): q for q in reversed(found)}.values())[::-1]


def _own_base(spec: Contestant) -> bool:
    return spec.stage is None and spec.model is None and spec.endpoint is None
