"""lm-eval behind one function, task files for local data, and the leaderboard of results."""

from typing import TYPE_CHECKING, Any

from toolkit.benchmarks.results import scores_of, values_of

if TYPE_CHECKING:
    from toolkit.benchmarks.runner import run_benchmarks

__all__ = ["run_benchmarks", "scores_of", "values_of"]


def __getattr__(name: str) -> Any:
    """Import on first use: reading results must not wait for lm-eval."""
    if name != "run_benchmarks":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from toolkit.benchmarks.runner import run_benchmarks

    return run_benchmarks
