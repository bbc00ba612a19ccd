"""Read, append and replace files so that nothing is ever half-written.

A whole file or folder appears under its name only when it is complete. JSONL logs grow line by line; the one
thing a crash can leave is a last line without its newline, and it is dropped on the next read or append.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from toolkit.errors import DataError
from toolkit.types import Record

R = TypeVar("R", bound=Record)


def read_lines(path: Path, *, ours: bool = True) -> Iterator[tuple[int, str]]:
    """Yield (line number, line) of every line that is not empty.

    Args:
        path: the file.
        ours: it is a log of ours: a last line without its newline was torn by a crash, and is left out. Files
            made elsewhere may end without one, or begin with a byte order mark.

    Raises:
        DataError: the file does not exist or a line is not UTF-8 text.
    """
    number = 0
    try:
        with path.open("rb") as lines:  # as bytes: the torn line may end inside a character
            for number, line in enumerate(lines, start=1):
                if line.strip() and (line.endswith(b"\n") or not ours):
                    yield number, line.decode("utf-8-sig" if number == 1 and not ours else "utf-8")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (IsADirectoryError, PermissionError) as error:
        raise DataError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}:{number}: not UTF-8 text (byte {error.start}); save it as UTF-8") from None


def read(path: Path, kind: type[R]) -> Iterator[R]:
    """Yield the records of a JSONL file of ours, in file order.

    Raises:
        DataError: the file is missing, or a line is not a `kind`; the message has file and line.
    """
    for number, line in read_lines(path):
        try:
            yield kind.model_validate_json(line)
        except ValidationError as error:
            raise DataError(f"{path}:{number}: {first_problem(error, 'line')}") from None


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
        size = file.seek(0, os.SEEK_END)
        end, block = size, 4096
        while end > 0:
            start = max(0, end - block)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        if end < size:
            file.truncate(end)


def write(path: Path, records: Iterable[Record]) -> None:
    """Replace a JSONL file by these records, whole or not at all."""
    write_text(path, "".join(record.model_dump_json() + "\n" for record in records))


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file, whole or not at all. Records are written by their fields."""
    plain = value.model_dump(mode="json") if isinstance(value, Record) else value
    write_text(path, json.dumps(plain, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """The value of a JSON file.

    Raises:
        DataError: the file is missing or does not parse; the message has file and line.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (IsADirectoryError, PermissionError) as error:
        raise DataError(f"{path}: {error.strerror}") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        line = getattr(error, "lineno", 1)
        raise DataError(f"{path}:{line}: not JSON: {error}") from None


def write_text(path: Path, text: str) -> None:
    """Replace a text file, whole or not at all: written beside, synced, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder beside `path` to write into; it becomes `path` when the block ends well, else it goes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield beside
        beside.chmod(0o755)
        beside.rename(path)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
