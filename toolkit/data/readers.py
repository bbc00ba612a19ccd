"""Data sets from files, the hub or the package -> checked rows and examples."""

import difflib
import random
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from toolkit import io
from toolkit.data.filters import parse_filter
from toolkit.data.formats import VISIBLE, Row, RowError, check_one_format, conversation, convert, detect
from toolkit.errors import DataError, first_line
from toolkit.fingerprints import file_hash
from toolkit.recipe import DATA_FILES, DataSource, existing, fingerprint, source_file
from toolkit.types import Example, split_thinking

BATCH = 4096  # rows of a Parquet file held at a time; characters of a JSON file that are looked at
HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")

T = TypeVar("T")

RawRow = tuple[str, dict[str, Any]]  # where a row stands (`file:line`) and its columns


@dataclass(frozen=True)
class Rows:
    """The rows a source gives."""

    rows: list[Row]
    places: list[str]  # `file:line` of each row
    skipped: int  # rows left out because they did not fit (`skip_bad_rows`)

    @property
    def fingerprint(self) -> str:
        """Changes with any text in the rows or with their order."""
        return fingerprint([row.model_dump(mode="json") for row in self.rows])


def load_rows(source: DataSource, *, seed: int = 0) -> Rows:
    """The rows of a data set; a `DataError` names file and line where one does not fit."""
    chosen, skipped = _load(source, lambda row, row_id: convert(row, source.format, row_id), seed)
    return Rows([row for _, row in chosen], [place for place, _ in chosen], skipped)


def load_examples(source: DataSource, *, seed: int = 0) -> list[Example]:
    """The same for prompts to answer, with their reference answers where the rows have them.

    A row may be supervised data (its answer becomes the reference), or a prompt alone: `prompt`,
    `messages` that end with the user's turn, or `instruction`; `reference` and `category` are kept.

    Raises:
        DataError: as `load_rows`; also when two rows have the same id.
    """
    return [example for _, example in load_placed_examples(source, seed=seed)]


def load_placed_examples(source: DataSource, *, seed: int = 0) -> list[tuple[str, Example]]:
    """`load_examples`, each with its `file:line`; a file is parsed once until it changes."""
    file = existing(str(source_file(source.source)))
    if file is None or not file.is_file():
        return _load_placed.__wrapped__(source.model_dump_json(), seed, "")
    with io.readable(file):
        content = file_hash(file)
    return list(_load_placed(source.model_dump_json(), seed, content))


@lru_cache(maxsize=8)
def _load_placed(as_json: str, seed: int, _content: str) -> list[tuple[str, Example]]:
    source = DataSource.model_validate_json(as_json)
    chosen, _ = _load(source, lambda row, row_id: _example(row, source, row_id), seed)
    seen: dict[str, str] = {}
    for place, example in chosen:
        if example.id in seen:
            raise DataError(f"{place}: the id {example.id!r} is taken by {seen[example.id]}; ids must differ")
        seen[example.id] = place
    return chosen


def load_groups(source: DataSource, column: str) -> dict[str, str]:
    """Example id -> the group it is in, by a column of the rows that `load_examples` reads.

    Raises:
        DataError: as `load_rows`; also when a row has nothing in this column.
    """
    groups = {}
    for place, row in raw_rows(source):
        if row.get(column) in (None, ""):
            raise DataError(f"{place}: the row has no `{column}` that says which group it is in")
        groups[_row_id(place, row)] = str(row[column])
    return groups


def load_columns(source: DataSource) -> dict[str, dict[str, Any]]:
    """Example id -> its row, with all columns, of the rows that `load_examples` reads."""
    stop = None if source.shuffle or source.skip_bad_rows else source.limit
    return {_row_id(place, row): row for place, row in islice(raw_rows(source), stop)}


def split_heldout(rows: list[Row], share: float, seed: int) -> tuple[list[Row], list[Row]]:
    """Rows to train on and rows to measure on: `share` of them, at least one, chosen by the seed."""
    if share <= 0 or len(rows) < 2:  # noqa: PLR2004
        return rows, []
    count = max(1, round(share * len(rows)))
    chosen_rows = set(random.Random(seed).sample(range(len(rows)), count))
    train = [row for index, row in enumerate(rows) if index not in chosen_rows]
    return train, [rows[index] for index in sorted(chosen_rows)]


def raw_rows(
    source: DataSource, columns: set[str] | None = None, part: io.Part = io.WHOLE
) -> Iterator[RawRow]:
    """The rows of a part, renamed and filtered, each with its place; their own names go into `columns`."""
    row_filter = parse_filter(source.filter) if source.filter else None
    for place, row in _open(source, part):
        if columns is not None:
            columns.update(row)
        names = [source.rename.get(name, name) for name in row] if source.rename else list(row)
        renamed = dict(zip(names, row.values(), strict=True)) if source.rename else row
        if len(renamed) < len(row):
            twice = next(name for name in names if names.count(name) > 1)
            raise DataError(f"{place}: after `rename`, two columns are called `{twice}`; rename the other")
        try:
            if row_filter is None or row_filter(renamed):
                yield place, renamed
        except DataError as error:
            raise DataError(f"{place}: {error}") from None


def _load(
    source: DataSource, make: Callable[[dict[str, Any], str], T], seed: int
) -> tuple[list[tuple[str, T]], int]:
    """The rows that are kept, as `make` gives them, each with its place; how many did not fit."""
    found, skipped = [], 0
    for place, _, made in _converted(source, make):
        if isinstance(made, RowError):
            if not source.skip_bad_rows:
                raise DataError(f"{place}: {made} (or set `skip_bad_rows: true`)")
            skipped += 1
            continue
        found.append((place, made))
        if not source.shuffle and len(found) == source.limit:
            break
    if not found:
        raise DataError(f"{source.source}: no row fits; all {skipped} were left out (`skip_bad_rows: true`)")
    if source.shuffle:
        found = random.Random(seed).sample(found, len(found))
    return found[: source.limit], skipped


def _converted(
    source: DataSource, make: Callable[[dict[str, Any], str], T], part: io.Part = io.WHOLE
) -> Iterator[tuple[str, dict[str, Any], T | RowError]]:
    """Every row: place, columns, and as `make` gives it, or its error; a `DataError` where there is none."""
    columns: set[str] = set()
    count = 0
    for place, row in raw_rows(source, columns if source.rename else None, part):
        count += 1
        try:
            made: T | RowError = make(row, _row_id(place, row))
        except RowError as error:
            made = error
        if count == source.limit:  # the reader may stop here
            _check_renamed(source, columns)
        yield place, row, made
    if not count and part == io.WHOLE:
        raise DataError(f"{source.source}: no rows{' pass the filter' if source.filter else ''}")
    _check_renamed(source, columns)


def has_parts(source: DataSource) -> bool:
    """Whether several processes can share the reading: lines of a file, all of which are wanted."""
    return source.source.endswith(".jsonl") and source.limit is None and not source.rename


def stream_rows(
    source: DataSource, *, seed: int, part: io.Part = io.WHOLE
) -> Iterator[tuple[str, dict[str, Any], Row | RowError]]:
    """The rows of `load_rows` in file order, and errors of those that do not fit: place, columns, row."""

    def converted() -> Iterator[tuple[str, dict[str, Any], Row | RowError]]:
        return _converted(source, lambda raw, row_id: convert(raw, source.format, row_id), part)

    drawn, limit = None, source.limit
    if source.shuffle and limit:
        good = sum(not isinstance(row, RowError) for _, _, row in converted())
        drawn, limit = set(random.Random(seed).sample(range(good), good)[:limit]), None
    count = 0
    for place, raw, row in converted():
        if isinstance(row, RowError):
            yield place, raw, row
            continue
        if drawn is None or count in drawn:
            yield place, raw, row
        count += 1
        if count == limit:
            return


def _check_renamed(source: DataSource, columns: set[str]) -> None:
    absent = [old for old in source.rename if old not in columns]
    if absent:
        raise DataError(f"{source.source}: rename: no row has a column `{absent[0]}`; drop or mend its name")


def _row_id(place: str, row: dict[str, Any]) -> str:
    return _as_text(row.get("id")) or _as_text(row.get("question_id")) or f"row-{place.rsplit(':', 1)[-1]}"


def _example(row: dict[str, Any], source: DataSource, row_id: str) -> Example:
    form, known = source.format, references(row.get("reference"), "reference")
    known += references(row.get("references"), "references")
    reference, category = known[0] if known else None, _as_text(row.get("category"))
    supervised = {"messages", "output", "chosen"} & row.keys() or {"prompt", "completion"} <= row.keys()
    bare = form == "auto" and not supervised
    if bare and isinstance(row.get("prompt"), str):
        question = [{"role": "user", "content": row["prompt"]}]
        row, form = row | {"messages": question}, "messages"
    elif bare and isinstance(row.get("instruction"), str):  # with `input` and `history`
        *earlier, _ = conversation(row | {"output": "-"}, "alpaca")
        row, form = {"messages": [turn.as_dict() for turn in earlier]}, "messages"
    if form == "auto":
        form = detect(row)
        check_one_format(row, form)
    if form in ("preference", "unpaired"):
        text = f"{form} rows are to train on; examples need a prompt, with a reference if there is one"
        raise RowError(f"{text}; set `format` or `rename`")
    turns = conversation(row, form)
    if turns[-1].role == "assistant":
        turns, reference = turns[:-1], reference or split_thinking(turns[-1].content)[1]
    if not turns or turns[-1].role != "user":
        raise RowError("an example's conversation must end with the user's turn")
    further = tuple(known[1:])
    return Example(id=row_id, messages=turns, reference=reference, references=further, category=category)


def references(value: Any, column: str) -> list[str]:
    """The reference answers in a cell: none, one, or several; a `RowError` where they are no texts."""
    several = value if isinstance(value, (list, tuple)) else [] if value is None or value == "" else [value]
    if any(isinstance(each, bool) or not isinstance(each, (str, int, float)) for each in several):
        raise RowError(f"`{column}` is neither text nor a list of texts")
    return [str(each) for each in several if VISIBLE.search(str(each))]


def _as_text(value: Any) -> str | None:
    """A value as text, 0 and false too; `None` where there is none."""
    return None if value in (None, "", []) else str(value)


def _open(source: DataSource, part: io.Part) -> Iterator[RawRow]:
    path = source_file(source.source)
    found = existing(str(path))
    is_file = found is not None and found.is_file()
    if path.suffix not in DATA_FILES and not is_file:
        return _hub(source)
    if not is_file:
        if found is not None and found.is_dir():
            raise DataError(f"{path}: is a folder; name a file in it")
        beside = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, beside, n=1)
        raise DataError(f"{path}: no such data file{f'; did you mean {near[0]}?' if near else ''}")
    if source.subset or source.split != "train":
        raise DataError(f"{path}: a file has no subset and no split; leave `subset` and `split` out")
    reader = READERS.get(path.suffix)
    if reader is None:
        raise DataError(f"{path}: cannot read {path.suffix or 'such'} files; use {', '.join(READERS)}")
    return _jsonl(path, part) if part != io.WHOLE else reader(path)


def _jsonl(path: Path, part: io.Part = io.WHOLE) -> Iterator[RawRow]:
    return _objects(io.read_rows(path, ours=False, part=part))


def _json(path: Path) -> Iterator[RawRow]:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        if file.read(BATCH).lstrip()[:1] == "{":
            raise DataError(f"{path}: a JSON data file is a list of rows; for one row a line name it .jsonl")
    return _objects((f"{path}:{number}", row) for number, row in enumerate(io.read_json_list(path), start=1))


def _objects(rows: Iterable[tuple[str, Any]]) -> Iterator[RawRow]:
    for place, row in rows:
        if not isinstance(row, dict):
            raise DataError(f"{place}: a row is a JSON object, not {type(row).__name__}")
        yield place, row


def _csv(path: Path) -> Iterator[RawRow]:
    return ((f"{path}:{line}", dict(row)) for line, row in io.read_csv(path))


def _parquet(path: Path) -> Iterator[RawRow]:
    from pyarrow import parquet

    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(BATCH):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}:{number}", row
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a Parquet file: {first_line(error)}") from None


def _text_file(path: Path) -> Iterator[RawRow]:
    """Paragraphs, separated by blank lines, each a row of `text`."""
    with io.readable(path):
        text = path.read_text(encoding="utf-8-sig")
    for number, part in enumerate(re.split(r"\n\s*\n", text), start=1):
        if part.strip():
            yield f"{path}:paragraph {number}", {"text": part.strip()}


READERS: dict[str, Callable[[Path], Iterator[RawRow]]] = {
    ".jsonl": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".tsv": _csv,
    ".parquet": _parquet,
    ".txt": _text_file,
}


def _hub(source: DataSource) -> Iterator[RawRow]:
    import datasets

    if not existing(source.source) and not HUB_ID.fullmatch(source.source):
        forms = f"file ({', '.join(READERS)}) or hub data set (owner/name)"
        raise DataError(f"{source.source}: no such folder, {forms}")
    try:
        rows = datasets.load_dataset(source.source, source.subset, split=source.split)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        reason = first_line(error)
        if existing(source.source):
            text = f"{source.source}: a folder in which `datasets` finds no rows ({reason}); name a file"
            raise DataError(text) from None
        raise DataError(f"{source.source}: cannot be loaded from the hub: {reason}") from None
    for number, row in enumerate(rows):
        yield f"{source.source}[{source.split}]:{number}", dict(row)
