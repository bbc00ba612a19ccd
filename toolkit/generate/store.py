"""Store of replies keyed by content: a request to a model is computed or paid for once.

A store is a folder with one append-only JSONL file for each way of asking: of answers (`.answers`) weights,
adapter, dtype, quantisation, engine and sampling, or server, model and parameters; of verdicts and grades
(`.verdicts`) judge and judge prompt. Its lines are known by what is read: rendered prompt, answers compared.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from toolkit import io
from toolkit.types import Record, digest

logger = logging.getLogger(__name__)

ANSWERS = ".answers"
VERDICTS = ".verdicts"
"""Names of stores: in the folder of runs, or beside a file of completions or judgments."""

T = TypeVar("T")


class Header(Record):
    """The first line of a file: what its replies have in common."""

    settings: dict[str, Any]


class Line(Record):
    """Any other line."""

    key: str
    """Of what is read; of seed and draw too where answers are sampled."""
    reply: dict[str, Any]
    made_with: dict[str, Any]
    """Settings that change a reply only by rounding: batch size, device, attention."""
    check: str
    """Hash of key and reply: a line that was edited is not taken."""


class Store(Generic[T]):
    """The replies to one way of asking, by key."""

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any],
        parse: Callable[[dict[str, Any]], T],
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Read the replies so far; lines that are damaged or edited are reported and left out.

        `settings` are everything but the prompt that shapes a reply; `metadata` is recorded beside each.
        """
        text = json.dumps(settings, sort_keys=True, ensure_ascii=False)
        self.file = folder / f"{digest(text)}.jsonl"
        self.header, self.metadata = Header(settings=dict(settings)), dict(metadata or {})
        self.replies = self._load(parse)
        """Key -> the last reply."""

    def _load(self, parse: Callable[[dict[str, Any]], T]) -> dict[str, T]:
        if not self.file.exists():
            return {}
        replies, damaged = {}, 0
        for line in self.file.read_text(encoding="utf-8", errors="replace").split("\n"):
            if not line or line.startswith('{"settings"'):
                continue
            try:
                stored = Line.model_validate_json(line)
                if stored.check != _check(stored.key, stored.reply):
                    raise ValueError("edited")
                replies[stored.key] = parse(stored.reply)
            except (ValueError, TypeError, ValidationError):
                damaged += 1
        if damaged:
            logger.warning("%s: %d damaged or edited lines; they are asked again", self.file, damaged)
        return replies

    def add(self, key: str, reply: T, fields: dict[str, Any]) -> None:
        """Keep a reply, whose plain JSON `fields` are; it is on disk when this returns."""
        line = Line(key=key, reply=fields, made_with=self.metadata, check=_check(key, fields))
        io.append(self.file, [line] if self.file.exists() else [self.header, line])
        self.replies[key] = reply


def _check(key: str, reply: Mapping[str, Any]) -> str:
    return digest(key, json.dumps(reply, sort_keys=True, ensure_ascii=False))
