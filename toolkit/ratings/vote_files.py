"""Vote files: CSV, JSONL, JSON or Parquet with columns `model_a`, `model_b`, `winner`, as FastChat has them.

Our own vote logs, which have `outcome` (`a`, `b`, `tie`, `both_bad`) in place of `winner`, are read too.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit import io
from toolkit.errors import DataError
from toolkit.ratings.vote_table import LABELS, from_frame
from toolkit.types import WINNERS, turn_id

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

logger = logging.getLogger(__name__)

REQUIRED = ("model_a", "model_b", "winner")
RENAMED = {"example_id": "question_id", "cast_at": "tstamp"}
"""Columns of our own vote logs -> their names in battle logs."""
NUMBERS = ("turn", "tstamp", "cast_at", "weight", "probability_a")
RATED = (
    *REQUIRED,
    *(column for columns in LABELS.values() for column in columns),
    *("outcome", "battle_id", "kind", *NUMBERS),
)
"""The columns that ratings and agreement look at."""


def read_votes(path: Path, *, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """The votes of a file, checked, as a frame with at least the columns `model_a`, `model_b`, `winner`.

    Args:
        path: a `.csv`, `.jsonl`, `.json` or `.parquet` file.
        columns: the only ones to read, where they are there; left out, all. `RATED` are those that rating
            needs, and reading only them is many times faster.

    Raises:
        DataError: the file is missing or unreadable, a column is missing, or a row does not fit: the message
            has file and row (the line of a text file, counted from 1).
    """
    if not path.is_file():
        raise DataError(f"{path}: no such vote file")
    readers = {".csv": _csv, ".tsv": _csv, ".jsonl": _jsonl, ".json": _json, ".parquet": _parquet}
    if path.suffix not in readers:
        known = ", ".join(readers)
        raise DataError(f"{path}: cannot read {path.suffix or 'such'} files as votes; use one of {known}")
    try:
        frame = _named(readers[path.suffix](path, columns))
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    except csv.Error as error:
        raise DataError(f"{path}:1: not CSV: {error}") from None
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise DataError(f"{path}: the column {twice} is there twice; keep one of them")
    missing = [name for name in REQUIRED if name not in frame.columns]
    if missing:
        raise DataError(f"{path}: no column {missing[0]}; a vote file has {', '.join(REQUIRED)}")
    from_frame(frame, place=lambda row: f"{path}:{line_of(path, row)}")
    return frame


def line_of(path: Path, row: int) -> int:
    """The line on which a vote begins, its position counted from 0; in other files the row."""
    if path.suffix == ".jsonl":
        lines = (number for number, _ in _objects(path))
    elif path.suffix in (".csv", ".tsv"):
        lines = (number for number, _ in io.read_csv(path))
    else:
        return row + 1
    return next(number for position, number in enumerate(lines) if position == row)


def _named(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with our own logs' column names and outcomes turned into those of battle logs."""
    if "winner" not in frame.columns and "outcome" in frame.columns:
        words: dict[Any, str] = dict(WINNERS)
        winner = frame["outcome"].astype(object).map(lambda value: words.get(value, value))
        frame = frame.assign(winner=winner).drop(columns="outcome")
    if {"question_id", "turn"} <= set(frame.columns):
        frame = _turns_apart(frame)
    return frame.rename(columns={old: new for old, new in RENAMED.items() if new not in frame.columns})


def _turns_apart(frame: pd.DataFrame) -> pd.DataFrame:
    """Questions with votes on several of their turns, as MT-bench has them, named turn by turn.

    Elsewhere `turn` is the length of a conversation, and says nothing about which answer was judged.
    """
    import numpy as np
    import pandas as pd

    turns = pd.to_numeric(frame["turn"], errors="coerce").fillna(1).astype(int)
    questions, _ = pd.factorize(frame["question_id"])
    pairs = questions.astype(np.int64) * (turns.max() + 1) + turns.to_numpy()
    if not len(frame) or len(pd.unique(pairs)) == len(pd.unique(questions)):
        return frame
    named = zip(frame["question_id"].astype(object), turns, strict=True)
    return frame.assign(
        question_id=[name if pd.isna(name) else turn_id(str(name), turn) for name, turn in named]
    )


def _parquet(path: Path, columns: Sequence[str] | None) -> pd.DataFrame:
    """Text columns arrive as categories: no Python string is made for a vote."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        names = [name for name in parquet.read_schema(path).names if columns is None or name in columns]
        words = [name for name in names if name in RATED and name not in NUMBERS]
        return _frame(parquet.read_table(path, columns=names, read_dictionary=words), path)
    except (pa.ArrowException, OSError) as error:
        problem = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: not a Parquet file: {problem}") from None


def _csv(path: Path, columns: Sequence[str] | None) -> pd.DataFrame:
    import pandas as pd
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    with path.open(encoding="utf-8-sig", newline="") as file:
        names = [name for name in next(csv.reader(file), []) if columns is None or name in columns]
    types = {name: pa.dictionary(pa.int32(), pa.string()) for name in names if name in RATED}
    types |= {name: pa.float64() for name in names if name in NUMBERS}
    convert = arrow_csv.ConvertOptions(include_columns=names, column_types=types, null_values=[""])
    try:
        parse = arrow_csv.ParseOptions(newlines_in_values=True)
        table = arrow_csv.read_csv(path, parse_options=parse, convert_options=convert)
    except pa.ArrowException:  # slowly: names the row that cannot be read
        rows = [row for _, row in io.read_csv(path)]
        return pd.DataFrame(rows, columns=None if rows else names)[names]
    return _frame(table, path)


def _jsonl(path: Path, columns: Sequence[str] | None) -> pd.DataFrame:
    import pyarrow as pa
    from pyarrow import json as arrow_json

    if columns is not None:
        schema = pa.schema([(name, pa.float64() if name in NUMBERS else pa.string()) for name in columns])
        options = arrow_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
        try:
            table = arrow_json.read_json(path, parse_options=options)
        except pa.ArrowException:
            logger.debug("%s: read line by line", path)
        else:
            there = [name for name in table.column_names if table[name].null_count < len(table)]
            texts = {name: table[name].dictionary_encode() for name in there if name not in NUMBERS}
            return _frame(pa.table({name: texts.get(name, table[name]) for name in there}), path)
    return _chosen([row for _, row in _objects(path)], columns)


def _json(path: Path, columns: Sequence[str] | None) -> pd.DataFrame:
    rows = io.read_json(path)
    if not (isinstance(rows, list) and all(isinstance(row, dict) for row in rows)):
        raise DataError(f"{path}: a JSON vote file is a list of objects, one a vote")
    return _chosen(rows, columns)


def _chosen(rows: list[dict[str, Any]], columns: Sequence[str] | None) -> pd.DataFrame:
    import pandas as pd

    frame = pd.DataFrame(rows)
    return frame if columns is None else frame[[name for name in frame.columns if name in columns]]


def _frame(table: pa.Table, path: Path) -> pd.DataFrame:
    """The table, if no weight or time in it is NaN, which later on would count as left out."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for name in set(table.column_names) & set(NUMBERS):
        if pa.types.is_floating(table[name].type):
            row = pc.index(pc.is_nan(table[name]), pa.scalar(True)).as_py()
            if row >= 0:
                raise DataError(f"{path}:{line_of(path, row)}: {name} is NaN; it must be a number, or empty")
    frame: pd.DataFrame = table.to_pandas(self_destruct=True, split_blocks=True)
    return frame


def _objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, object) of every line that is not empty; a last line torn by a crash is left out."""
    for number, line in io.read_lines(path, ours=False):
        try:
            value = io.parse_json(line, f"{path}:{number}")
        except DataError:
            if line.endswith("\n"):
                raise
            logger.warning("%s:%d: the last line is torn and left out", path, number)
            return
        if not isinstance(value, dict):
            raise DataError(f"{path}:{number}: a vote is an object, not {type(value).__name__}")
        yield number, value
