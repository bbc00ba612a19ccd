"""What perplexity can be measured on: whole texts, or reference answers to questions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from toolkit.data import Text, load_examples
from toolkit.data.reading import RawRow, raw_rows
from toolkit.errors import DataError
from toolkit.recipe import DataSource
from toolkit.types import Example


def load_documents(source: DataSource) -> tuple[list[Text], list[Example]]:
    """The texts in a source, or its examples with references; one of the two lists is empty.

    A `.txt` file is one text. Rows are texts when the first has `text` and no answer.

    Raises:
        DataError: the data cannot be had, a row does not fit, two texts have the same id, or there is
            nothing to measure.
    """
    path = Path(source.source)
    if path.suffix == ".txt" and path.is_file():
        return [Text(id=path.name, text=_whole(path))], []
    rows = list(raw_rows(source))
    if rows and "text" in rows[0][1] and not {"messages", "reference", "completion"} & rows[0][1].keys():
        return _texts(rows[: source.limit]), []
    known = [example for example in load_examples(source) if example.reference is not None]
    if not known:
        raise DataError(f"{source.source}: no texts and no reference answers to measure perplexity on")
    return [], known


def _whole(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from None


def _texts(rows: Sequence[RawRow]) -> list[Text]:
    found: dict[str, Text] = {}
    for number, (place, row) in enumerate(rows):
        text = _text(place, row, number)
        if text.id in found:
            raise DataError(f"{place}: the id {text.id!r} is taken by another text; ids must differ")
        found[text.id] = text
    return list(found.values())


def _text(place: str, row: dict[str, Any], number: int) -> Text:
    if not isinstance(row.get("text"), str):
        raise DataError(f"{place}: `text` is missing or not a text")
    return Text(id=str(row.get("id", number)), text=str(row["text"]))
