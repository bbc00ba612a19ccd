"""The four kinds of training row, whatever format they came in."""

from __future__ import annotations

from pydantic import Field

from toolkit.types import Message, Record


class Conversation(Record):
    """Supervised row: a conversation whose last turn is the assistant's."""

    id: str
    messages: tuple[Message, ...]
    unlearned: tuple[int, ...] = Field(default=(), exclude_if=lambda value: not value)
    """Positions of assistant turns that are context only (`train: false`, `weight: 0`, those of a prompt)."""


class Preference(Record):
    """Preference row: one prompt, a better and a worse answer."""

    id: str
    prompt: tuple[Message, ...]
    chosen: str
    rejected: str


class Rated(Record):
    """Unpaired preference row: one prompt, one answer, and whether it is wanted."""

    id: str
    prompt: tuple[Message, ...]
    completion: str
    wanted: bool


class Text(Record):
    """Plain text, for language modelling."""

    id: str
    text: str


Row = Conversation | Preference | Rated | Text


def prompt_of(row: Row) -> tuple[Message, ...]:
    """What comes before the last answer."""
    if isinstance(row, Conversation):
        return row.messages[:-1]
    return () if isinstance(row, Text) else row.prompt


def answer_of(row: Row) -> str:
    """The answer that is learned or preferred; a text is all answer."""
    if isinstance(row, Conversation):
        return row.messages[-1].content
    if isinstance(row, Preference):
        return row.chosen
    return row.completion if isinstance(row, Rated) else row.text
