"""Vote files: CSV, JSONL or Parquet with columns `model_a`, `model_b`, `winner`, as FastChat has them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("model_a", "model_b", "winner")


def read_votes(path: Path) -> pd.DataFrame:
    """The votes of a file as a frame; optional columns (`voter`, `judge`, `tstamp`, `weight` ...) are kept.

    Raises:
        DataError: the file is missing, of an unknown kind, torn, or has no such columns.
    """
    import pandas as pd

    if not path.is_file():
        raise DataError(f"{path}: no such vote file")
    try:
        if path.suffix == ".csv":
            frame = pd.read_csv(
                path, dtype={"model_a": str, "model_b": str, "winner": str}, keep_default_na=False
            )
        elif path.suffix == ".parquet":
            frame = pd.read_parquet(path)
        elif path.suffix in (".jsonl", ".json"):
            frame = pd.read_json(path, lines=path.suffix == ".jsonl", dtype=False)
        else:
            raise DataError(
                f"{path}: cannot read {path.suffix or 'this'} files; use .csv, .jsonl, .json or .parquet"
            )
    except ValueError as error:
        raise DataError(f"{path}: {str(error).splitlines()[0]}") from None
    missing = [name for name in COLUMNS if name not in frame.columns]
    if missing:
        raise DataError(f"{path}: no column {missing[0]}; a vote file has {', '.join(COLUMNS)}")
    return frame
