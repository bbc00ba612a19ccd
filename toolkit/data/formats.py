"""Raw rows in the field's formats -> our rows.

Known formats: `messages` (OpenAI, TRL), ShareGPT `conversations`, Alpaca `instruction/input/output`,
`prompt/completion`, `prompt/chosen/rejected`, unpaired `prompt/completion/label` (strings or messages, as
TRL takes them), and plain `text`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import ValidationError

from toolkit.data.rows import Conversation, Preference, Rated, Row, Text
from toolkit.recipe import Format
from toolkit.types import Message, Role

SHAREGPT_ROLES = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
}


class RowError(ValueError):
    """What is wrong with one row; the reader adds file and line."""


def detect(columns: Mapping[str, Any]) -> Format:
    """The format that these columns show."""
    signs: tuple[tuple[Format, set[str]], ...] = (
        ("preference", {"chosen", "rejected"}),
        ("messages", {"messages"}),
        ("sharegpt", {"conversations"}),
        ("unpaired", {"prompt", "completion", "label"}),
        ("prompt_completion", {"prompt", "completion"}),
        ("alpaca", {"instruction", "output"}),
        ("text", {"text"}),
    )
    for name, needed in signs:
        if needed <= columns.keys():
            return name
    known = "; ".join("/".join(sorted(needed)) for _, needed in signs)
    raise RowError(f"columns {', '.join(columns)} are no known format; rename them to one of: {known}")


def convert(row: Mapping[str, Any], form: Format, row_id: str) -> Row:
    """One raw row as ours.

    Raises:
        RowError: a column is missing or empty, a role unknown, or there is no answer to learn.
    """
    if form == "auto":
        form = detect(row)
    if form == "text":
        return Text(id=row_id, text=_text(row, "text"))
    if form == "preference":
        return _preference(row, row_id)
    if form == "unpaired":
        return _rated(row, row_id)
    turns = conversation(row, form)
    if turns[-1].role != "assistant":
        raise RowError(
            f"the last turn is the {turns[-1].role}'s; a row to learn from ends with the assistant's"
        )
    return Conversation(id=row_id, messages=turns)


def conversation(row: Mapping[str, Any], form: Format) -> tuple[Message, ...]:
    """The turns of a supervised row, the answer last."""
    if form == "messages":
        turns = _messages(_column(row, "messages"), "messages")
    elif form == "sharegpt":
        said = _column(row, "conversations")
        told = [_from_sharegpt(turn) for turn in said] if isinstance(said, (list, tuple)) else said
        turns = _messages(told, "conversations")
    elif form == "alpaca":
        extra = str(row.get("input") or "").strip()
        asked = _text(row, "instruction") + (f"\n\n{extra}" if extra else "")
        turns = (Message(role="user", content=asked), Message(role="assistant", content=_text(row, "output")))
    elif form in ("prompt_completion", "unpaired"):
        turns = (
            *_prompt(row),
            Message(role="assistant", content=answer_text(_column(row, "completion"), "completion")),
        )
    else:
        raise RowError(f"format {form} has no conversation")
    return _with_system(row, turns)


def answer_text(value: Any, column: str) -> str:
    """An answer given as a string or as messages that end with the assistant's turn."""
    if isinstance(value, str):
        if not value.strip():
            raise RowError(f"`{column}` is empty")
        return value
    turns = _messages(value, column)
    if turns[-1].role != "assistant":
        raise RowError(f"`{column}` does not end with an assistant turn")
    return turns[-1].content


def _preference(row: Mapping[str, Any], row_id: str) -> Preference:
    chosen, rejected = (answer_text(_column(row, side), side) for side in ("chosen", "rejected"))
    if chosen == rejected:
        raise RowError("`chosen` and `rejected` are the same: nothing to prefer")
    # TRL's implicit-prompt form: the prompt is what both conversations begin with.
    whole = () if isinstance(row["chosen"], str) else _messages(row["chosen"], "chosen")
    prompt = _prompt(row) if row.get("prompt") else whole[:-1]
    if not prompt:
        raise RowError("no prompt: give a `prompt` column, or chosen/rejected as whole conversations")
    return Preference(id=row_id, prompt=_with_system(row, prompt), chosen=chosen, rejected=rejected)


def _rated(row: Mapping[str, Any], row_id: str) -> Rated:
    label = _column(row, "label")
    if label not in (True, False):
        raise RowError(f"`label` is {label!r}; use true for a wanted answer, false for an unwanted one")
    answer = answer_text(_column(row, "completion"), "completion")
    return Rated(id=row_id, prompt=_with_system(row, _prompt(row)), completion=answer, wanted=bool(label))


def _prompt(row: Mapping[str, Any]) -> tuple[Message, ...]:
    prompt = _column(row, "prompt")
    if isinstance(prompt, str):
        return (Message(role="user", content=_text(row, "prompt")),)
    return _messages(prompt, "prompt")


def _with_system(row: Mapping[str, Any], turns: tuple[Message, ...]) -> tuple[Message, ...]:
    """A `system` column becomes the first turn, unless there is one already."""
    system = str(row.get("system") or "").strip()
    return (Message(role="system", content=system), *turns) if system and turns[0].role != "system" else turns


def _messages(value: Any, column: str) -> tuple[Message, ...]:
    if not isinstance(value, (list, tuple)) or not value:
        raise RowError(f"`{column}` is not a list of messages")
    turns, roles = [], get_args(Role)
    for position, turn in enumerate(value):
        if not isinstance(turn, Mapping) or not {"role", "content"} <= turn.keys():
            raise RowError(f"`{column}`[{position}] has no role and content")
        if turn["role"] not in roles:
            raise RowError(
                f"`{column}`[{position}] has the unknown role {turn['role']!r}; use {', '.join(roles)}"
            )
        if not isinstance(turn["content"], str) or not turn["content"].strip():
            raise RowError(f"`{column}`[{position}] is empty")
        try:
            turns.append(Message(role=turn["role"], content=turn["content"]))
        except ValidationError as error:
            raise RowError(f"`{column}`[{position}]: {error.errors()[0]['msg']}") from None
    return tuple(turns)


def _from_sharegpt(turn: Any) -> Any:
    if not isinstance(turn, Mapping) or "from" not in turn:
        return turn
    return {"role": SHAREGPT_ROLES.get(str(turn["from"]), turn["from"]), "content": turn.get("value")}


def _column(row: Mapping[str, Any], name: str) -> Any:
    if row.get(name) is None:
        raise RowError(f"no column `{name}`; the row has {', '.join(row)}")
    return row[name]


def _text(row: Mapping[str, Any], name: str) -> str:
    value = _column(row, name)
    if not isinstance(value, str) or not value.strip():
        raise RowError(f"`{name}` is empty or not text")
    return value
