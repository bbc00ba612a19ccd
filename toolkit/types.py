"""Records exchanged between subpackages and written to disk.

Every record is frozen, refuses unknown fields, and names the records it came from, so any figure in a
report can be followed back to the answers and votes behind it. This module imports nothing from the
package and nothing heavier than pydantic.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.json_schema import SkipJsonSchema

if TYPE_CHECKING:
    import pandas as pd

Role = Literal["system", "user", "assistant", "tool"]

Outcome = Literal["a", "b", "tie", "both_bad"]
"""Who won a battle, by the side shown. Written to vote files as `WINNERS[outcome]`."""

WINNERS: dict[Outcome, str] = {"a": "model_a", "b": "model_b", "tie": "tie", "both_bad": "tie (bothbad)"}
"""Outcome -> the `winner` column of FastChat-style battle logs."""

OUTCOME_WORDS: dict[str, Outcome] = {
    **{winner: outcome for outcome, winner in WINNERS.items()},
    **{"both_bad": "both_bad", "bothbad": "both_bad", "tie (inconsistent)": "tie"},
    **{"left": "a", "right": "b", "a": "a", "b": "b", "A": "a", "B": "b", "model_1": "a", "model_2": "b"},
}
"""The words of vote files for outcomes: FastChat's, LMArena's newer logs', MT-bench's, our own."""

SWAPPED: dict[Outcome, Outcome] = {"a": "b", "b": "a", "tie": "tie", "both_bad": "both_bad"}
"""The same outcome when the two sides change places."""

POINTS: dict[Outcome, float] = {"a": 1.0, "b": 0.0, "tie": 0.5, "both_bad": 0.5}
"""What an outcome gives side `a`; the rest of one point is b's."""


def digest(*parts: str) -> str:
    """A short stable id of some texts: 16 hex digits of their SHA-256."""
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:16]


class Record(BaseModel):
    """Base of everything written to disk."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Message(Record):
    """One turn of a conversation."""

    role: Role
    content: str

    def as_dict(self) -> dict[str, str]:
        """As chat templates and endpoints take it."""
        return {"role": self.role, "content": self.content}


class Example(Record):
    """One prompt, with its reference answer where one is known."""

    id: str
    messages: tuple[Message, ...]
    """The conversation so far; ends with the turn to be answered."""
    reference: str | None = None
    references: tuple[str, ...] = Field(default=(), exclude_if=lambda value: not value)
    """Further ones, where there are several."""
    category: str | None = None

    def completed(self, contestant: str, completion: str, **how: Any) -> Completion:
        """A completion of this example; `how`: `finish` (by default `stop`), `tokens` and other fields."""
        own = {name: getattr(self, name) for name in ("messages", "reference", "references", "category")}
        who = {"example_id": self.id, "contestant": contestant, "completion": completion}
        return Completion(**{"finish": "stop", "tokens": 0} | own | who | how)


_THINKING = re.compile(r"\s*<think(?:ing)?>(.*?)(?:</think(?:ing)?>|\Z)(.*)", re.DOTALL)
_CHANNELS = re.compile(r"\s*analysis(.*?)(?:assistantfinal|\Z)(.*)", re.DOTALL)


def split_thinking(text: str) -> tuple[str | None, str]:
    """What a model thought before it answered, `None` if it did not, and its answer.

    `<think>` that is never closed is a thought without an answer. `</think>` alone ends a thought that the
    chat template began. GPT-OSS's channels come as text, without the special tokens around their names.
    """
    found = _THINKING.fullmatch(text) or ("assistantfinal" in text and _CHANNELS.fullmatch(text))
    if found:
        return found[1].strip(), found[2].lstrip("\n")
    thought, closed, answer = text.partition("</think>")
    if closed and "<think>" not in thought and "</think>" not in answer:
        return thought.strip(), answer.lstrip("\n")
    return None, text


class Completion(Record):
    """One contestant's answer to one example: a line of `completions/<contestant>.jsonl`."""

    example_id: str
    contestant: str
    messages: tuple[Message, ...]
    """The example's own messages, without what the contestant's own prompt put before it."""
    completion: str
    reference: str | None = None
    references: tuple[str, ...] = Field(default=(), exclude_if=lambda value: not value)
    """Further ones, where there are several."""
    category: str | None = Field(default=None, exclude_if=lambda value: value is None)
    """The example's, where it has one; the key is left out where not."""
    finish: Literal["stop", "length", "refused"]
    """`stop`: the model ended its answer; `length`: it was cut at the token limit; `refused`: the server took
    this question and no other amiss. A refused completion is counted, and neither measured nor judged."""
    tokens: int
    """How many tokens were generated, the end token not counted."""
    error: str | None = Field(default=None, exclude_if=lambda value: value is None)
    """The server's words, where it refused."""
    reasoning: str | None = Field(default=None, exclude_if=lambda value: value is None)
    """What was thought before the answer (`<think>`): kept, and neither scored nor judged nor shown."""

    @model_validator(mode="before")
    @classmethod
    def thinking_apart(cls, fields: Any) -> Any:
        """Wherever a completion comes from, its thinking is no part of the answer."""
        if isinstance(fields, dict) and fields.get("reasoning") is None:
            text = fields.get("completion")
            reasoning, answer = split_thinking(text) if isinstance(text, str) else (None, text)
            if reasoning is not None:
                return fields | {"reasoning": reasoning, "completion": answer}
        return fields

    @property
    def id(self) -> str:
        return f"{self.example_id}/{self.contestant}"

    @property
    def refused(self) -> bool:
        return self.finish == "refused"


class Score(Record):
    """One metric of one contestant over `n` examples, with its 95% interval where one exists."""

    contestant: str
    metric: str
    value: float
    low: float | None = None
    high: float | None = None
    n: int


class Difference(Record):
    """`contestant` minus `against` in one metric, paired on the same `n` examples."""

    metric: str
    contestant: str
    against: str
    value: float
    low: float
    high: float
    p_value: float
    """Two-sided, from a paired permutation test."""
    n: int


class Battle(Record):
    """Two completions of one example, `a` shown first (or left)."""

    example_id: str
    messages: tuple[Message, ...]
    reference: str | None = None
    category: str | None = None
    model_a: str
    model_b: str
    completion_a: str
    completion_b: str
    messages_b: tuple[Message, ...] | None = None
    """What b was answering, where its own earlier turns differ from those in `messages`."""
    reference_shown: bool = True
    """Whether the judge is shown the reference."""

    @property
    def id(self) -> str:
        """32 hex digits of what a judge reads, whoever answered: a judgment is never paid for twice."""
        both = (self.messages, self.messages_b or ())
        turns = [[f"{turn.role}: {turn.content}" for turn in messages] for messages in both]
        shown = self.reference if self.reference_shown else None
        text = json.dumps([turns, self.completion_a, self.completion_b, shown])
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    @property
    def former_id(self) -> str:
        """Its id in earlier versions, 16 hex digits: of names and reference too."""
        turns = [f"{turn.role}: {turn.content}" for turn in (*self.messages, *(self.messages_b or ()))]
        answers = (self.model_a, self.model_b, self.completion_a, self.completion_b)
        return digest(self.example_id, *answers, self.reference or "", *turns)

    @property
    def mirrored(self) -> Battle:
        """The same battle with its sides changed: what is known of one is known of the other."""
        return self.model_copy(
            update={
                "model_a": self.model_b,
                "model_b": self.model_a,
                "completion_a": self.completion_b,
                "completion_b": self.completion_a,
                "messages": self.messages_b or self.messages,
                "messages_b": None if self.messages_b is None else self.messages,
            }
        )


class Judgment(Record):
    """One reply of a judge model."""

    judge: str
    reason: str | None = None
    prompt: str = ""
    """Hash of the judge prompt that was used."""
    attempt: int = 1
    """Which reply this is: a written verdict that cannot be read is requested again."""
    tokens_in: int = 0
    tokens_out: int = 0
    """Of this and the earlier attempts."""
    error: str | None = Field(default=None, exclude_if=lambda value: value is None)
    """The server's message, where it refused the request: no judgment; the next call requests it again."""
    cut_at: int | None = Field(default=None, exclude_if=lambda value: value is None)
    """The limit of tokens that cut the reply: a larger one is reason to ask again."""

    @property
    def readable(self) -> bool:
        raise NotImplementedError

    @property
    def refused(self) -> bool:
        """Whether the server refused the question; logs of version 0.1 say so in `reason`."""
        return self.error is not None or (not self.readable and (self.reason or "").startswith("no reply: "))


class Verdict(Judgment):
    """One reply on one order of a battle."""

    battle_id: str
    order: Literal["ab", "ba"]
    """Which completion the judge saw first."""
    outcome: Outcome | None
    """In terms of the battle's own sides whatever the order; `None` when the reply was unreadable."""
    probability_a: float | None = None
    """The judge's probability that side `a` is better, where it gives one."""

    @property
    def readable(self) -> bool:
        return self.outcome is not None


def turn_id(question: str, turn: int) -> str:
    """The example that a turn of a question is, as MT-bench counts turns: `81`, `81/2`."""
    return question if turn <= 1 else f"{question}/{turn}"


def question_and_turn(example_id: str) -> tuple[str, int]:
    """The question and the turn that an example is (`81/2`); `HumanEval/2` is a question's own name."""
    question, _, turn = example_id.rpartition("/")
    if question.isdecimal() and turn.isdecimal() and turn_id(question, int(turn)) == example_id:
        return question, int(turn)
    return example_id, 1


class Vote(Record):
    """An accepted opinion on a battle. A judge model is a voter like a person."""

    battle_id: str = ""
    example_id: str = ""
    model_a: str
    model_b: str
    outcome: Outcome
    voter: str = ""
    kind: Literal["person", "judge", "simulated"] = "person"
    """Kinds are rated apart; `simulated`: of a program that stands for people."""
    weight: float = Field(default=1.0, ge=0)
    category: str | None = None
    cast_at: float | None = None
    """Seconds since 1970, UTC."""
    probability_a: float | None = Field(default=None, ge=0, le=1, exclude_if=lambda value: value is None)
    """A judge's mean probability, over both orders, that `model_a` is better; what ratings and win rates
    count."""

    @property
    def points(self) -> float:
        """What the vote is worth to `model_a`; the rest of one point is `model_b`'s."""
        return POINTS[self.outcome] if self.probability_a is None else self.probability_a


class Rating(Record):
    """One row of a leaderboard."""

    contestant: str
    value: float
    low: float | None = None
    high: float | None = None
    battles: int
    rank: int
    """1 + the number of contestants that are decided to be better, all decisions of a table right
    together."""


class StageResult(Record):
    """What training one stage gave."""

    name: str
    method: str
    seconds: float
    peak_memory_bytes: int
    train_loss: float
    heldout: dict[str, float] = {}
    """Figures on rows the stage did not train on: `loss`, `accuracy` (of preferences) ..."""
    selected_step: int | None = Field(default=None, exclude_if=lambda value: value is None)
    """Of the checkpoint that is published, where `select` chose it."""


class Ratings(Record):
    people: tuple[Rating, ...] = ()
    judge: tuple[Rating, ...] = ()
    people_and_judge: tuple[Rating, ...] = Field(default=(), exclude_if=lambda value: not value)
    """The judge's votes on all battles, corrected by people's on some; from 100 examples up."""


class Summary(Record):
    """`summary.json`: every figure of a run, for machines."""

    run: str
    contestants: tuple[str, ...]
    scores: tuple[Score, ...]
    differences: tuple[Difference, ...]
    ratings: Ratings
    stages: tuple[StageResult, ...]
    skipped: tuple[str, ...]
    """Steps that were already done and whose inputs had not changed."""
    executed: SkipJsonSchema[tuple[str, ...]] = Field(default=(), exclude=True)
    """Steps that this call did; not written to files."""
    seconds: float
    notes: dict[str, Any] = {}
    """Further facts the report shows: judge consistency and position bias, benchmark sources ..."""


class Finding(Record):
    """One thing `check` found."""

    code: str
    severity: Literal["error", "warning", "info"]
    place: str
    """`file:line`, or the recipe key."""
    message: str
    fix: str


Pair = tuple[str, str]  # two contestants, in alphabetical order


def sorted_pair(one: str, other: str) -> Pair:
    """The two names in alphabetical order."""
    return (one, other) if one < other else (other, one)


def to_frame(records: Iterable[Record]) -> pd.DataFrame:
    """Records as a pandas frame: one row each, one column per field."""
    import pandas as pd

    return pd.DataFrame([record.model_dump() for record in records])
