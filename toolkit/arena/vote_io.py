"""Import and export of votes as FastChat-style battle logs: `model_a`, `model_b`, `winner` per row."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from toolkit import io
from toolkit.arena.battles import Ballot, Cast, Reveal
from toolkit.arena.store import Store
from toolkit.errors import DataError
from toolkit.types import WINNERS, Message, Outcome, digest

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("model_a", "model_b", "winner")
OUTCOMES: dict[str, Outcome] = {winner: outcome for outcome, winner in WINNERS.items()}


def battle_row(reveal: Reveal, *, texts: bool = False) -> dict[str, Any]:
    """One vote as a row of a battle log; with `texts`, the two conversations are in it."""
    ballot, cast = reveal.ballot, reveal.cast
    assert cast.outcome is not None
    row: dict[str, Any] = {
        "question_id": ballot.example_id,
        "model_a": ballot.contestant_a,
        "model_b": ballot.contestant_b,
        "winner": WINNERS[cast.outcome],
        "judge": "arena_user",
        "voter": ballot.voter,
        "turn": sum(message.role == "user" for message in ballot.messages),
        "anony": True,
        "category": ballot.category,
        "tags": ", ".join(cast.tags),
        "comment": cast.comment,
        "tstamp": cast.cast_at,
    }
    if texts:
        prompt_messages = [message.as_dict() for message in ballot.messages]
        row["conversation_a"] = [*prompt_messages, {"role": "assistant", "content": ballot.answer_a}]
        row["conversation_b"] = [*prompt_messages, {"role": "assistant", "content": ballot.answer_b}]
    return row


def write_battle_log(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a battle log, whole or not at all, in the format its name ends with.

    Raises:
        DataError: the name ends with neither `.jsonl` nor `.json` nor `.csv`.
    """
    if path.suffix == ".jsonl":
        io.write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    elif path.suffix == ".json":
        io.write_json(path, list(rows))
    elif path.suffix == ".csv":
        text = StringIO()
        table = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else COLUMNS)
        table.writeheader()
        table.writerows({name: escape_formula(value) for name, value in row.items()} for row in rows)
        io.write_text(path, text.getvalue())
    else:
        raise DataError(f"{path}: cannot write {path.suffix or 'such'} files; use .jsonl, .json or .csv")


def escape_formula(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula: texts that begin like one get an apostrophe before."""
    text = value if isinstance(value, str) else ""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def load_stage_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a frame of votes as plain values; missing values are `None`."""
    plain = frame.astype(object).where(frame.notna(), None)
    return [dict(zip(frame.columns, row, strict=True)) for row in plain.itertuples(index=False, name=None)]


def import_rows(store: Store, rows: Iterable[Mapping[str, Any]], *, run: str, source: str) -> tuple[int, int]:
    """Add the rows of a battle log to a store. A row that is there already is not added again.

    Args:
        store: where to.
        rows: as `battle_row` or FastChat write them; conversations are optional.
        run: name of the run they belong to.
        source: name of the file, for messages and as part of each row's identity.

    Returns:
        Rows added, and rows that were there.

    Raises:
        DataError: a row has no such outcome or names; nothing is added then.
    """
    lines = [_line(row, number, run, source) for number, row in enumerate(rows, start=1)]
    added = store.load(lines)
    return added, len(lines) - added


def _line(row: Mapping[str, Any], number: int, run: str, source: str) -> tuple[Ballot, Cast]:
    winner, a, b = row.get("winner"), row.get("model_a"), row.get("model_b")
    if winner not in OUTCOMES:
        raise DataError(f"{source}:{number}: winner is {winner!r}; it must be one of {', '.join(OUTCOMES)}")
    if not (isinstance(a, str) and isinstance(b, str) and a and b and a != b):
        raise DataError(f"{source}:{number}: model_a and model_b must be two names, not {a!r} and {b!r}")
    key = digest(run, source, str(number), a, b, winner, str(row.get("tstamp")))
    at = _time(row.get("tstamp"))
    if at is None:
        raise DataError(f"{source}:{number}: tstamp is {row['tstamp']!r}; it must be seconds since 1970")
    try:
        messages, answers = _conversations(row)
    except (KeyError, TypeError, IndexError, ValidationError):
        raise DataError(
            f"{source}:{number}: a conversation is a list of turns with role and content"
        ) from None
    ballot = Ballot(
        id=key,
        voter=digest("imported", source, str(row.get("voter") or row.get("judge") or "")),
        number=number,
        kind="imported",
        run=run,
        example_id=str(row.get("question_id") or f"{source}:{number}"),
        category=str(row.get("category") or "") or None,
        messages=messages,
        contestant_a=a,
        contestant_b=b,
        answer_a=answers[0],
        answer_b=answers[1],
        shown_at=at,
    )
    reasons = [tag.strip() for tag in str(row.get("tags") or "").split(",")]
    cast = Cast(
        ballot=key,
        revision=0,
        action="vote",
        outcome=OUTCOMES[winner],
        tags=tuple(filter(None, reasons)),
        comment=str(row.get("comment") or ""),
        cast_at=at,
    )
    return ballot, cast


def _time(value: Any) -> float | None:
    """Seconds since 1970, 0 where there is none; `None`: it is no time."""
    try:
        at = float(value or 0.0)
    except (TypeError, ValueError):
        return None
    return at if math.isfinite(at) else None


def _conversations(row: Mapping[str, Any]) -> tuple[tuple[Message, ...], tuple[str, str]]:
    """The prompt and both answers, where the log has them; else none, and two empty texts."""
    a, b = row.get("conversation_a"), row.get("conversation_b")
    if a is None or b is None or len(a) == 0 or len(b) == 0:
        return (), ("", "")
    prompt_messages = tuple(Message(role=turn["role"], content=turn["content"]) for turn in list(a)[:-1])
    return prompt_messages, (str(a[-1]["content"]), str(b[-1]["content"]))
