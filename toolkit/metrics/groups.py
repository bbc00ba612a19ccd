"""Which group each example is in (one passage, one talk): read from a file, kept with a run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from toolkit import records
from toolkit.data.reading import raw_rows
from toolkit.errors import DataError
from toolkit.recipe import DataSource

FILE = "groups.jsonl"
"""In the folder of a run whose recipe names a column of groups."""


def read_groups(file: Path) -> dict[str, str]:
    """Example id -> group, from rows with `example_id` (or `id`) and `group`.

    Raises:
        DataError: a row lacks one of them.
    """
    groups = {}
    for place, row in raw_rows(DataSource(source=str(file))):
        name = row.get("example_id", row.get("id"))
        if name is None or row.get("group") is None:
            raise DataError(f"{place}: a row of groups has `example_id` and `group`")
        groups[str(name)] = str(row["group"])
    return groups


def write_groups(file: Path, groups: Mapping[str, str]) -> None:
    """Write a file that `read_groups` reads."""
    rows = ({"example_id": example, "group": group} for example, group in groups.items())
    records.write_text(file, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def groups_of(sources: Sequence[Path]) -> dict[str, str]:
    """The groups that runs keep in their folders, together; other sources have none.

    Raises:
        DataError: two runs have the same example in different groups.
    """
    groups: dict[str, str] = {}
    for file in (source / FILE for source in sources):
        for example, group in (read_groups(file) if file.is_file() else {}).items():
            if groups.setdefault(example, group) != group:
                raise DataError(
                    f"{file}: example {example} is in group {group} here and in {groups[example]} in another "
                    "run; say which with --groups"
                )
    return groups
