"""Where commands find votes: a file, a run folder's arena, or a vote store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from toolkit.ratings import Table

DATABASES = (".db", ".sqlite", ".sqlite3")


def load_texts(source: str, features: Sequence[str]) -> pd.DataFrame:
    """The votes of a file with what style control looks at: the features' columns, or the texts.

    Raises:
        DataError: it is not a vote file, or a row does not fit.
    """
    from toolkit.errors import DataError
    from toolkit.ratings import RATED, read_votes

    path = Path(source)
    if "://" in source or path.is_dir() or path.suffix in DATABASES:
        raise DataError(f"{source}: --control needs a vote file; `votes export --texts` writes one")
    wanted = [f"{name}_{side}" for name in (*features, "conversation") for side in ("a", "b")]
    return read_votes(path, columns=[*RATED, *wanted])


def open_arena_claims(source: str) -> tuple[bool, tuple[tuple[str, str], ...] | None]:
    """Whether a source is an open arena's, and the pairs that its recipe has decided (`None`: all)."""
    from toolkit.recipe import arena_claims, load

    path = Path(source)
    folder = path if path.is_dir() else path.parent
    if "://" in source:
        return True, None
    if path.suffix not in DATABASES and not (path.is_dir() and (path / "arena.db").exists()):
        return False, None
    recipe = folder / "recipe.yaml"
    return True, arena_claims(load(recipe)) if recipe.is_file() else None


def load_votes(source: str) -> Table:
    """The votes of a vote file, an `arena.db`, a database URL, or a run folder.

    A run folder's votes are the people's in its arena, or where no arena was opened the judge's. MT-bench's
    pair judgments and AlpacaEval's annotations are vote files too.

    Raises:
        DataError: there is nothing of the kind, or a row does not fit.
        RatingError: there are no votes.
        StoreError: the database cannot be read.
    """
    from toolkit.arena import accepted_votes
    from toolkit.cli.votes import database_of
    from toolkit.judge import readers
    from toolkit.ratings import RATED, read_votes, tabulate

    path = Path(source)
    judge_votes = path / "votes.jsonl"
    if "://" in source or path.suffix in DATABASES:
        return tabulate(accepted_votes(database_of(source)))
    if path.is_dir() and ((path / "arena.db").exists() or not judge_votes.exists()):
        return tabulate(accepted_votes(database_of(source)))
    if any(readers.has_fields(path, fields) for fields in (readers.MT_BENCH_PAIR, readers.ANNOTATION)):
        return tabulate(readers.read_judgments(path))
    return tabulate(read_votes(judge_votes if path.is_dir() else path, columns=RATED))
