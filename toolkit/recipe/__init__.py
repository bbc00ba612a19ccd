"""One YAML file -> a frozen `Recipe`: base model, data, stages, contestants, how to score, judge and arena.

All mistakes are listed at once, each with its key and, for unknown keys, the nearest known one. Where a
recipe is silent, the defaults of `sections` hold; their docstrings are the reference of recipe keys.
"""

from toolkit.recipe.files import DATA_FILES, PACKAGED, existing, source_file
from toolkit.recipe.loader import dump, load, parse, read_yaml, yaml_problem
from toolkit.recipe.schema import (
    METRICS,
    ONLINE,
    ArenaOptions,
    Benchmark,
    Check,
    Contestant,
    DataSource,
    Endpoint,
    Format,
    Generation,
    Judge,
    LoraOptions,
    Method,
    ModelOptions,
    Recipe,
    Scoring,
    Section,
    Stage,
    arena_claims,
    contestants,
    fingerprint,
    is_fair_baseline,
)

__all__ = [
    "DATA_FILES",
    "METRICS",
    "ONLINE",
    "PACKAGED",
    "ArenaOptions",
    "Benchmark",
    "Check",
    "Contestant",
    "DataSource",
    "Endpoint",
    "Format",
    "Generation",
    "Judge",
    "LoraOptions",
    "Method",
    "ModelOptions",
    "Recipe",
    "Scoring",
    "Section",
    "Stage",
    "arena_claims",
    "contestants",
    "dump",
    "existing",
    "fingerprint",
    "is_fair_baseline",
    "load",
    "parse",
    "read_yaml",
    "source_file",
    "yaml_problem",
]
