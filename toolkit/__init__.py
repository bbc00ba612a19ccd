"""adapter-arena: fine-tune a language model, then measure whether it improved.

`__all__` is the public interface: its names keep their meaning within a major version. Each name is imported
on first use, so `import toolkit` loads nothing else. See docs/api.md.

    import toolkit as tk

    summary = tk.run_recipe(tk.load_recipe("demo"), Path("results"))
    tk.fit_ratings(tk.read_votes(Path("votes.csv"))).to_frame()
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from toolkit.errors import InputError, ToolkitError
    from toolkit.generate import generate_completions
    from toolkit.generate.importers import read_completions
    from toolkit.judge import build_judge, judge_battles
    from toolkit.metrics.compare import score_completions
    from toolkit.models.loading import Loaded, load_base
    from toolkit.ratings import fit_ratings
    from toolkit.ratings.bradley_terry import bradley_terry
    from toolkit.ratings.elo import elo
    from toolkit.ratings.vote_files import read_votes
    from toolkit.recipe import Recipe
    from toolkit.recipe import load as load_recipe
    from toolkit.report import write_report
    from toolkit.report.compare_runs import compare_runs
    from toolkit.report.export import run_datasets
    from toolkit.run import run as run_recipe
    from toolkit.run import train as train_stages
    from toolkit.run.summary import merge_stage
    from toolkit.types import (
        Battle,
        Completion,
        Example,
        Message,
        Rating,
        Score,
        Summary,
        Verdict,
        Vote,
        to_frame,
    )

__version__ = "0.2.0"

_MODULES = {
    "errors": "InputError ToolkitError",
    "generate": "generate_completions",
    "generate.importers": "read_completions",
    "judge": "build_judge judge_battles",
    "metrics.compare": "score_completions",
    "models": "Loaded load_base",
    "ratings": "bradley_terry elo fit_ratings read_votes",
    "recipe": "Recipe load_recipe",
    "report": "write_report",
    "report.compare_runs": "compare_runs",
    "report.export": "run_datasets",
    "run": "run_recipe train_stages",
    "run.summary": "merge_stage",
    "types": "Battle Completion Example Message Rating Score Summary Verdict Vote to_frame",
}
_RENAMED = {"load_recipe": "load", "run_recipe": "run", "train_stages": "train"}
"""Public name -> name in its module."""

__all__ = ["InputError", "ToolkitError", "__version__"]
__all__ += ["Battle", "Completion", "Example", "Message", "Rating", "Score", "Summary", "Verdict", "Vote"]
__all__ += ["Recipe", "load_recipe", "merge_stage", "run_recipe", "train_stages"]
__all__ += ["Loaded", "generate_completions", "load_base", "read_completions", "score_completions"]
__all__ += ["bradley_terry", "build_judge", "elo", "fit_ratings", "judge_battles", "read_votes"]
__all__ += ["compare_runs", "run_datasets", "to_frame", "write_report"]


def __getattr__(name: str) -> Any:
    import importlib

    module = next((module for module, names in _MODULES.items() if name in names.split()), None)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{module}"), _RENAMED.get(name, name))
