"""adapter-arena: fine-tune a language model, then find out whether it got better.

`__all__` is the public interface: what it names keeps its meaning within a major version. Each name is
imported on first use, so `import toolkit` costs nothing.

    summary = toolkit.run_recipe(toolkit.load_recipe("demo"), Path("results"))
    toolkit.bradley_terry(toolkit.read_votes(Path("votes.csv"))).ratings
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from toolkit.errors import InputError, ToolkitError
    from toolkit.generate import generate_completions
    from toolkit.judge import judge_battles, open_judge
    from toolkit.models.loading import Loaded, load_base
    from toolkit.ratings.bradley_terry import bradley_terry
    from toolkit.ratings.elo import elo
    from toolkit.ratings.files import read_votes
    from toolkit.recipe import Recipe
    from toolkit.recipe import load as load_recipe
    from toolkit.report.export import run_datasets
    from toolkit.run import run as run_recipe
    from toolkit.run import train as train_stages
    from toolkit.run.merging import merge_stage
    from toolkit.types import Battle, Completion, Example, Message, Rating, Score, Summary, Verdict, Vote

__version__ = "0.1.0"

__all__ = [
    "Battle",
    "Completion",
    "Example",
    "InputError",
    "Loaded",
    "Message",
    "Rating",
    "Recipe",
    "Score",
    "Summary",
    "ToolkitError",
    "Verdict",
    "Vote",
    "__version__",
    "bradley_terry",
    "elo",
    "generate_completions",
    "judge_battles",
    "load_base",
    "load_recipe",
    "merge_stage",
    "open_judge",
    "read_votes",
    "run_datasets",
    "run_recipe",
    "train_stages",
]

_HOMES = {
    "errors": "InputError ToolkitError",
    "generate": "generate_completions",
    "judge": "judge_battles open_judge",
    "models": "Loaded load_base",
    "ratings": "bradley_terry elo read_votes",
    "recipe": "Recipe load_recipe",
    "report.export": "run_datasets",
    "run": "run_recipe train_stages",
    "run.merging": "merge_stage",
    "types": "Battle Completion Example Message Rating Score Summary Verdict Vote",
}
_THERE = {"load_recipe": "load", "run_recipe": "run", "train_stages": "train"}
"""What a name is called in its room, where `run` needs no further word."""


def __getattr__(name: str) -> Any:
    import importlib

    home = next((room for room, names in _HOMES.items() if name in names.split()), None)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), _THERE.get(name, name))
