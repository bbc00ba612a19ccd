"""Read, append and replace files so that nothing is ever half-written.

A whole file or folder appears under its name only when it is complete. JSONL logs grow line by line; the one
thing a crash can leave is a last line without its newline, and it is dropped on the next read or append.
"""

import csv
import fcntl
import json
import math
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from toolkit.errors import DataError
from toolkit.types import Record

R = TypeVar("R", bound=Record)

csv.field_size_limit(1 << 30)  # a cell may be a long document


def read_lines(path: Path, *, ours: bool = True) -> Iterator[tuple[int, str]]:
    """Yield (line number, line) of every line that is not empty.

    Of a log of `ours` a last line without its newline was torn by a crash, and is left out. Files made
    elsewhere may end without one, or begin with a byte order mark.

    Raises:
        DataError: the file does not exist or a line is not UTF-8 text.
    """
    with readable(path), path.open("rb") as lines:  # as bytes: the torn line may end inside a character
        for number, line in enumerate(lines, start=1):
            if line.strip() and (line.endswith(b"\n") or not ours):
                with readable(f"{path}:{number}"):
                    text = line.decode("utf-8-sig" if number == 1 and not ours else "utf-8")
                yield number, text


@contextmanager
def readable(path: Path | str) -> Iterator[None]:
    """Name a file that cannot be opened, or is not UTF-8 text, in a `DataError`."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (IsADirectoryError, PermissionError) as error:
        raise DataError(f"{path}: {error.strerror}") from None


def read(path: Path, kind: type[R]) -> Iterator[R]:
    """Yield the records of a JSONL file of ours; a `DataError` names file and line of what is no `kind`."""
    for place, value in read_rows(path):
        try:
            yield kind.model_validate(value)
        except ValidationError as error:
            raise DataError(f"{place}: {first_problem(error, 'line')}") from None


Part = tuple[int, int]  # (k, n): part k of n, for n processes to share a file
WHOLE: Part = (0, 1)
BLOCK = 256  # lines that are in one part together


def read_rows(path: Path, *, ours: bool = True, part: Part = WHOLE) -> Iterator[tuple[str, Any]]:
    """Yield (`file:line`, value) of every line of a JSONL file; arguments and errors as of `read_lines`."""
    for number, line in read_lines(path, ours=ours):
        if number // BLOCK % part[1] == part[0]:
            yield f"{path}:{number}", parse_json(line, f"{path}:{number}")


def read_csv(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line on which it begins, row) of every row of a CSV file with a heading.

    Cells are separated by the commonest of comma, semicolon, tab and bar in the heading; a `DataError` for a
    row of other length, an open quote or a column that is there twice.
    """
    begins = 1
    try:
        with readable(path), path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            delimiter = max(",;\t|", key=first.count)  # the comma where there is none
            file.seek(0)
            reader = csv.reader(file, strict=True, delimiter=delimiter)
            heading = [name.strip() for name in next(reader, [])]
            twice = [name for name in heading if heading.count(name) > 1]
            if twice:
                raise DataError(f"{path}:1: the column {twice[0]} is there twice; keep one of them")
            begins = reader.line_num + 1
            for row in reader:
                if row and len(row) != len(heading):
                    raise DataError(f"{path}:{begins}: {len(row)} cells where the heading has {len(heading)}")
                if row:
                    yield begins, dict(zip(heading, row, strict=True))
                begins = reader.line_num + 1
    except csv.Error as error:
        problem = "a quote is opened here and never closed" if "unexpected end" in str(error) else str(error)
        raise DataError(f"{path}:{begins}: not CSV: {problem}") from None


def parse_json(text: str, place: str, *, file: bool = False, finite: bool = True) -> Any:
    """The value of a JSON text, strictly; other readers keep the last of two equal keys, and take NaN.

    Messages name `place`, with the line where the text is a whole `file`.

    Raises:
        DataError: it does not parse, a key is there twice, a number is not `finite`, or a text holds half of
            a surrogate pair.
    """
    try:
        value = (_DECODER if finite else DISTINCT).decode(text)
        if "\\ud" in text or "\\uD" in text:
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except RecursionError:
        raise DataError(f"{place}: not JSON that can be read: nested too deeply") from None
    except ValueError as error:
        at, problem = _flaw(text, finite) or (0, f"not JSON: {str(error).partition(';')[0]}")
        if isinstance(error, json.JSONDecodeError) and problem.startswith("not JSON"):
            at, problem = error.pos, f"not JSON: {error.msg} at column {error.colno}"
            if file and error.msg == "Extra data":
                problem += "; if it has one object a line, name it .jsonl"
        line = f":{text.count(chr(10), 0, at) + 1}" if file else ""
        raise DataError(f"{place}{line}: {problem}") from None


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(f"{number} is not a finite number")
    return value


_DECODER = json.JSONDecoder(object_pairs_hook=_distinct, parse_constant=_finite, parse_float=_finite)
DISTINCT = json.JSONDecoder(object_pairs_hook=_distinct)

SURROGATE = re.compile("[\ud800-\udfff]")
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"(\s*:)?|[{}]|-?(?:NaN|Infinity|\d[\d.eE+-]*)', re.DOTALL)


def _flaw(text: str, finite: bool) -> tuple[int, str] | None:
    """Where a text is JSON by its grammar and yet ambiguous: offset, and what is wrong."""
    objects: list[set[str]] = []
    for token in _TOKEN.finditer(text):
        word, at = token[0], token.start()
        if word in "{}":
            objects = [*objects, set()] if word == "{" else objects[:-1]
        elif not word.startswith('"'):
            if finite and not word.lstrip("-").isdecimal() and not math.isfinite(float(word)):
                return at, f"{word} is not a finite number; leave the value out, or write null"
        elif SURROGATE.search(name := json.loads(word.removesuffix(token[1] or ""), strict=False)):
            return at, f"half of a surrogate pair stands for a character in {name[:40]!r}; write UTF-8"
        elif token[1] and objects:
            if name in objects[-1]:
                return at, f"the key {name!r} is there twice; keep one of them"
            objects[-1].add(name)
    return None


def first_problem(error: ValidationError, whole: str) -> str:
    """The first thing that did not fit, after the field it is in, or after `whole` where it is in none."""
    problem = error.errors()[0]
    return f"{'.'.join(map(str, problem['loc'])) or whole}: {problem['msg']}"


def append(path: Path, records: Iterable[Record]) -> None:
    """Add records to the end of a JSONL log; each is on disk when its line is complete.

    A torn last line left by a crash is cut off first, so the new records start on a line of their own.
    Several processes may append to one log: each call has it to itself.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8", newline="\n") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        drop_torn_line(path)
        for record in records:
            file.write(record.model_dump_json() + "\n")
            file.flush()
        os.fsync(file.fileno())


def drop_torn_line(path: Path) -> None:
    """Cut off the last line of `path` if it has no newline; a missing file is fine."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        size = end = file.seek(0, os.SEEK_END)
        newline = -1
        while end > 0 and newline < 0:
            start = max(0, end - 4096)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            end = start + newline + 1 if newline >= 0 else start
        if end < size:
            file.truncate(end)


def write(path: Path, records: Iterable[Record]) -> None:
    """Replace a JSONL file by these records, whole or not at all."""
    write_text(path, "".join(record.model_dump_json() + "\n" for record in records))


def write_rows(path: Path, rows: Iterable[Any], default: Callable[[Any], Any] | None = None) -> None:
    """Replace a JSONL file by plain values, whole or not at all; `default` as of `json.dumps`."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False, default=default) + "\n" for row in rows))


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file, whole or not at all. Records are written by their fields."""
    plain = value.model_dump(mode="json") if isinstance(value, Record) else value
    write_text(path, json.dumps(plain, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path, *, finite: bool = True, kind: type = object) -> Any:
    """The value of a JSON file, as of `parse_json`; a `DataError` where it is missing or no `kind`."""
    with readable(path):
        text = path.read_text(encoding="utf-8-sig")
    value = parse_json(text, str(path), file=True, finite=finite)
    if not isinstance(value, kind):
        expected = "object" if kind is dict else "list"
        raise DataError(f"{path}: expected a JSON {expected}, found {text[:20]!r}")
    return value


def mapping(holder: Any, key: str) -> dict[str, Any]:
    """The mapping under a key of plain values; empty where there is none."""
    value = holder.get(key) if isinstance(holder, dict) else None
    return value if isinstance(value, dict) else {}


CHUNK = 1 << 20  # characters of a JSON list that are read at a time


def read_json_list(path: Path) -> Iterator[Any]:
    """Yield the values of a JSON list without holding the whole file; errors as of `read_json`."""
    with readable(path), path.open(encoding="utf-8-sig") as file:
        try:
            yield from _list_values(file.read)
        except (ValueError, RecursionError):
            read_json(path, kind=list)  # names the line
            raise DataError(f"{path}: not one JSON list") from None


def _list_values(read: Callable[[int], str]) -> Iterator[Any]:
    text, at = read(CHUNK).lstrip(), 1
    if not text.startswith("["):
        raise ValueError("not a list")
    expected = "first value"
    while True:
        at = _end_of_space(text, at)
        if at < len(text) and expected != "value" and text[at] == "]":
            if text[at + 1 :].strip() or read(CHUNK).strip():
                raise ValueError("text after the list")
            return
        if at < len(text) and expected == "comma":
            at, expected = at + 1, "value"
            continue
        found = _value_at(text, at) if expected != "comma" else None
        if found:
            yield found[0]
            at, expected = found[1], "comma"
            continue
        more = read(max(CHUNK, len(text) - at))  # what begins here goes on in the file
        if not more:
            raise ValueError("cut short")
        text, at = text[at:] + more, 0


def _value_at(text: str, at: int) -> tuple[Any, int] | None:
    """A value and its end; `None` where it may go on behind `text`."""
    try:
        value, end = _DECODER.raw_decode(text, at)
    except json.JSONDecodeError:
        return None
    after = _end_of_space(text, end)
    if text[after : after + 1] not in (",", "]"):  # half a number is a number, too
        return None
    if "\\ud" in text[at:end] or "\\uD" in text[at:end]:
        json.dumps(value, ensure_ascii=False).encode()
    return value, end


def _end_of_space(text: str, at: int) -> int:
    while text[at : at + 1].isspace():
        at += 1
    return at


def write_text(path: Path, text: str) -> None:
    """Replace a text file, whole or not at all: written beside, synced, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    try:
        with temporary.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _beside(path: Path) -> Path:
    """A new hidden name beside `path`."""
    return path.with_name(f".{path.name[:200]}.{secrets.token_hex(8)}")


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder beside `path` to write into; it becomes `path` when the block ends well, else it goes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = _beside(path)
    beside.mkdir()
    try:
        yield beside
        beside.rename(path)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def folder_bytes(folder: Path) -> int:
    """Size of all files below a folder; 0 where there is none."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else 0
