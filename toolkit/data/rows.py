"""The three kinds of training row, whatever format they came in."""

from __future__ import annotations

from toolkit.types import Message, Record


class Conversation(Record):
    """Supervised row: a conversation whose last turn is the assistant's."""

    id: str
    messages: tuple[Message, ...]


class Preference(Record):
    """Preference row: one prompt, a better and a worse answer."""

    id: str
    prompt: tuple[Message, ...]
    chosen: str
    rejected: str


class Text(Record):
    """Plain text, for language modelling."""

    id: str
    text: str


Row = Conversation | Preference | Text
