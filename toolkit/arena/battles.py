"""Battles of a run (stored answers of its contestants), and the ballot records."""

import hashlib
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from itertools import combinations
from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field

from toolkit import io
from toolkit.arena.self_revealing import reveals_identity
from toolkit.errors import DataError
from toolkit.recipe import ArenaOptions, read_yaml
from toolkit.recipe.files import completion_files
from toolkit.types import Completion, Message, Outcome, Pair, Record, Vote, digest, sorted_pair


@dataclass(frozen=True)
class BattlePool:
    """Contestants and their answers to the same examples."""

    run: str
    contestants: tuple[str, ...]
    answers: dict[str, dict[str, Completion]]
    """Example id -> contestant -> its answer, in the order of the files."""
    flagged: frozenset[str]
    """Ids of completions that name their author; never shown."""
    options: ArenaOptions
    judged: dict[tuple[str, Pair], float] = field(default_factory=dict)
    """(example, pair) -> a judge's probability that the first of the pair is better."""

    @property
    def pairs(self) -> list[Pair]:
        return [sorted_pair(*pair) for pair in combinations(self.contestants, 2)]

    @cached_property
    def battles(self) -> dict[Pair, list[str]]:
        """Pair -> examples on which both have different answers that do not name their author."""
        shown = {
            name: {
                example: answers[name].completion.strip()
                for example, answers in self.answers.items()
                if name in answers and answers[name].id not in self.flagged
            }
            for name in self.contestants
        }
        return {
            (one, other): [e for e, text in shown[one].items() if shown[other].get(e, text) != text]
            for one, other in self.pairs
        }

    _battle_keys: dict[tuple[str, Pair], str] = field(default_factory=dict, init=False, compare=False)

    def battle_key(self, example: str, pair: Pair) -> str:
        """Under which the vote store keeps the battle of a pair on an example."""
        if (example, pair) not in self._battle_keys:
            one, other = ((name, self.answers[example][name].completion) for name in pair)
            self._battle_keys[example, pair] = battle_key(example, one, other)
        return self._battle_keys[example, pair]

    @cached_property
    def places(self) -> dict[tuple[str, str], list[tuple[str, str]]]:
        """Keys of prompt and answer, as the vote store has them -> the (example, contestant) with these."""
        found: dict[tuple[str, str], list[tuple[str, str]]] = {}
        for example, answers in self.answers.items():
            for name, answer in answers.items():
                keys = text_key(prompt_text(answer.messages)), text_key(answer.completion)
                found.setdefault(keys, []).append((example, name))
        return found


def storable(text: str) -> str:
    """The text as every database can keep it: PostgreSQL has no NUL."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def prompt_text(messages: Sequence[Message]) -> str:
    """A conversation as the vote store keeps it."""
    turns = [message.as_dict() | {"content": storable(message.content)} for message in messages]
    return json.dumps(turns, ensure_ascii=False)


@lru_cache(maxsize=100_000)
def text_key(body: str) -> str:
    """Content hash under which the vote store keeps a text."""
    return hashlib.sha256(storable(body).encode()).hexdigest()


def battle_key(example_id: str, one: tuple[str, str], other: tuple[str, str]) -> str:
    """Key of a battle of two (contestant, answer), independent of the sides."""
    return digest(example_id, *(part for side in sorted([one, other]) for part in side))


def answer_files(run: Path) -> dict[str, Path]:
    """Contestant -> its completions; raises `DataError` where there are none."""
    files = completion_files(run)
    if not files:
        raise DataError(f"{run}: no completions/*.jsonl here; give a folder that `adapter-arena run` wrote")
    return files


def load_battle_pool(run: Path, contestants: Sequence[str] = ()) -> BattlePool:
    """Read `recipe.yaml` and `completions/*.jsonl` of a run folder, `results/<name>/`.

    `contestants` take part; left out, as the recipe says, else everyone with answers. Raises `DataError` for
    fewer than two contestants, one without answers, or a bad line.
    """
    files = answer_files(run)
    options, base = _read_recipe(run / "recipe.yaml")
    names = tuple(dict.fromkeys(contestants or options.contestants or files))
    missing = [name for name in names if name not in files]
    if missing:
        known = ", ".join(files)
        raise DataError(f"{run}: no answers of contestant `{missing[0]}`; there are answers of: {known}")
    if len(names) < 2:  # noqa: PLR2004
        raise DataError(f"{run}: an arena needs two contestants, there is only `{names[0]}`")
    answers: dict[str, dict[str, Completion]] = {}
    flagged = set()
    for name in names:
        for completion in io.read(files[name], Completion):
            if not completion.refused:  # a server's words are nobody's answer
                answers.setdefault(completion.example_id, {})[name] = completion
                if reveals_identity(completion.completion, (*names, base)):
                    flagged.add(completion.id)
    if not answers:
        raise DataError(f"{run}: no answer in completions/*.jsonl; let the run make them first")
    judged = _load_judged(run / "votes.jsonl")
    return BattlePool(run.resolve().name, names, answers, frozenset(flagged), options, judged)


def _load_judged(path: Path) -> dict[tuple[str, Pair], float]:
    """Battle -> probability that the first of its pair is better, the mean of all judges."""
    found: dict[tuple[str, Pair], list[float]] = {}
    for vote in io.read(path, Vote) if path.exists() else ():
        if vote.kind == "judge":
            pair = sorted_pair(vote.model_a, vote.model_b)
            points = vote.points if pair[0] == vote.model_a else 1 - vote.points
            found.setdefault((vote.example_id, pair), []).append(points)
    return {battle: sum(points) / len(points) for battle, points in found.items()}


def merge_pools(pool: BattlePool, guest: BattlePool) -> BattlePool:
    """Merge another run's contestants into a pool.

    They meet on the examples that ask the same; names that are taken get the run before them.
    """
    names = {
        name: name if name not in pool.contestants else f"{guest.run}/{name}" for name in guest.contestants
    }
    example_of = {next(iter(answers.values())).messages: example for example, answers in pool.answers.items()}
    answers = {example: dict(by_name) for example, by_name in pool.answers.items()}
    flagged = set(pool.flagged)
    for example, by_name in guest.answers.items():
        place = example_of.get(next(iter(by_name.values())).messages, f"{guest.run}/{example}")
        for name, answer in by_name.items():
            moved = answer.model_copy(update={"contestant": names[name], "example_id": place})
            answers.setdefault(place, {})[names[name]] = moved
            if answer.id in guest.flagged:
                flagged.add(moved.id)
    contestants = (*pool.contestants, *names.values())
    return replace(pool, contestants=contestants, answers=answers, flagged=frozenset(flagged))


def _read_recipe(path: Path) -> tuple[ArenaOptions, str]:
    """The recipe's `arena` section and its base's short name; bare completions need no recipe."""
    if not path.exists():
        return ArenaOptions(), UNNAMED
    try:
        recipe = read_yaml(path.read_text(encoding="utf-8")) or {}
        base = str(recipe.get("base") or "").rstrip("/").rpartition("/")[2]
        return ArenaOptions.model_validate(recipe.get("arena") or {}), base or UNNAMED
    except (yaml.YAMLError, ValueError, AttributeError) as error:
        raise DataError(f"{path}: not the recipe of a run: {str(error).splitlines()[0]}") from None


UNNAMED = "\0"
"""No answer names this."""

Kind = Literal["battle", "check", "live", "imported", "simulated"]
"""`battle`: two stored answers; `check`: an attention check with a known right side; `live`: the voter's own
question; `imported`: from a battle log; `simulated`: the same, and not cast by people."""

Action = Literal["vote", "undo", "skip"]


class BlindBallot(Record):
    """All that a page may know before the vote: no names, and no sign of an attention check."""

    id: str
    messages: tuple[Message, ...]
    answer_a: str
    answer_b: str
    cut: str = ""


class Ballot(Record):
    """One battle as shown to one voter. Never sent to a browser: see `Ballot.blind`."""

    id: str
    """Random and opaque; the only name of a battle that leaves the server before the vote."""
    voter: str
    number: int
    """0, 1, 2 ... per voter; unique, so two tabs show the same ballot."""
    kind: Kind = "battle"
    run: str
    example_id: str
    category: str | None = None
    messages: tuple[Message, ...]
    reference: str | None = None
    contestant_a: str
    contestant_b: str
    answer_a: str
    answer_b: str
    expected: Outcome | None = None
    """The right side of an attention check."""
    shown_at: float
    cut: Literal["", "a", "b", "ab"] | None = None
    """Sides whose answer ended at the token limit."""
    repeat: bool | None = None
    """Whether the author of one of the answers had been revealed to the voter before."""
    pair_probability: float | None = None
    """Of drawing this pair, among those that were open to the voter."""
    probability: float | None = None
    """Of drawing this pair, example and order of sides."""
    weight: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Of the vote: the uniform probability of the example, among those of its pair that were open to the
    voter, over the one that it was drawn with. `None`: 1."""

    @property
    def blind(self) -> BlindBallot:
        shown = {name: getattr(self, name) for name in ("id", "messages", "answer_a", "answer_b")}
        return BlindBallot(**shown, cut=self.cut or "")


class Cast(Record):
    """One row of the append-only vote log; the highest revision of a ballot counts."""

    ballot: str
    revision: int
    """0 for the first; corrections count up. Nothing is changed or deleted."""
    action: Action
    outcome: Outcome | None = None
    tags: tuple[str, ...] = ()
    comment: str = ""
    cast_at: float
    seconds: float | None = None
    """From the first display of the ballot to the vote; `None`: not measured."""


class Reveal(Record):
    """A committed vote with the names of its ballot."""

    ballot: Ballot
    cast: Cast


def new_id() -> str:
    """128 random bits, URL-safe."""
    return secrets.token_urlsafe(16)


def side_fields(a: tuple[str, str], b: tuple[str, str]) -> dict[str, str]:
    """The fields of a ballot for its two (contestant, answer)."""
    return {"contestant_a": a[0], "answer_a": a[1], "contestant_b": b[0], "answer_b": b[1]}
