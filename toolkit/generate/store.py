"""Answers by what shapes them: one question is put to one model once, whatever the recipe around it becomes.

A store is a folder with one append-only JSONL file for each way of answering (weights, adapter, dtype,
quantisation, engine, sampling; or server, model and parameters). Its lines are known by the rendered prompt.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from toolkit import records
from toolkit.generate.base import Reply
from toolkit.types import Record, digest

logger = logging.getLogger(__name__)

FOLDER = ".answers"
"""Name of a store: in the folder of runs, or beside a file of completions."""


class StoredAnswer(Record):
    """One line of a store."""

    key: str
    """Of the rendered prompt; of seed and draw too where answers are sampled."""
    reply: dict[str, Any]
    made_with: dict[str, Any]
    """What changes no answer but by rounding: batch size, device, attention."""
    check: str
    """Hash of key and reply: a line that was edited is not taken."""


class AnswerStore:
    """The answers of one way of answering, by key."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], made_with: Mapping[str, Any]) -> None:
        """Read the answers made so far.

        Args:
            folder: of the store; made when the first answer is added.
            settings: everything but the prompt that shapes an answer, as plain JSON values.
            made_with: recorded beside each answer.
        """
        text = json.dumps(settings, sort_keys=True, ensure_ascii=False)
        self.file = folder / f"{digest(text)}.jsonl"
        self.header, self.made_with = json.dumps({"settings": settings}, ensure_ascii=False), dict(made_with)
        self.replies = self._load()

    def _load(self) -> dict[str, Reply]:
        if not self.file.exists():
            return {}
        replies, damaged = {}, 0
        for line in self.file.read_text(encoding="utf-8", errors="replace").split("\n"):
            if not line or line.startswith('{"settings"'):
                continue
            try:
                stored = StoredAnswer.model_validate_json(line)
                if stored.check != _check(stored.key, stored.reply):
                    raise ValueError("edited")
                replies[stored.key] = Reply(**stored.reply)
            except (ValueError, TypeError):
                damaged += 1
        if damaged:
            logger.warning("%s: %d damaged lines; their questions are asked again", self.file, damaged)
        return replies

    def add(self, key: str, reply: Reply) -> None:
        """Keep an answer; it is on disk when this returns."""
        plain = asdict(reply)
        if not self.file.exists():
            records.write_text(self.file, self.header + "\n")
        stored = StoredAnswer(key=key, reply=plain, made_with=self.made_with, check=_check(key, plain))
        records.append(self.file, [stored])
        self.replies[key] = reply


def _check(key: str, reply: Mapping[str, Any]) -> str:
    return digest(key, json.dumps(reply, sort_keys=True, ensure_ascii=False))
