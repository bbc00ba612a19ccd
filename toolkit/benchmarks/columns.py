"""Rows of data sets that are kept in another shape than on the hub -> the columns of the hub's set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Columns = dict[str, Any]


def hellaswag(row: Columns) -> Columns:
    """Rows that are lm-eval's documents already (query, choices, gold), whose marks are cleaned away."""
    if "query" not in row:
        return row
    activity, _, context = str(row["query"]).partition(": ")
    return {
        "activity_label": activity,
        "ctx_a": context,
        "ctx_b": "",
        "endings": [str(choice).strip() for choice in row["choices"]],
        "label": str(row["gold"]),
    }


HUB_COLUMNS: dict[str, Callable[[Columns], Columns]] = {"hellaswag": hellaswag}
"""Task -> how its rows are put into the hub's columns."""
