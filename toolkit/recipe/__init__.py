"""One YAML file -> a frozen `Recipe`: base model, data, stages, contestants, how to score, judge and arena.

All mistakes are listed at once, each with its key and, for unknown keys, the nearest known one. Where a
recipe is silent, the defaults of `sections` hold; their docstrings are the reference of recipe keys.
"""

from toolkit.recipe.files import DATA_FILES, PACKAGED, existing, source_file
from toolkit.recipe.loader import dump, load, parse, read_yaml, with_keys, yaml_problem
from toolkit.recipe.schema import (
    MOST_SHOTS,
    ArenaOptions,
    Benchmark,
    Check,
    Contestant,
    DataSource,
    Endpoint,
    Generation,
    Judge,
    LoraOptions,
    ModelOptions,
    Recipe,
    Scoring,
    Section,
    Selection,
    Stage,
    adapter_base,
    answered_data,
    arena_claims,
    contestants,
    fingerprint,
    is_fair_baseline,
    with_fewshot_baseline,
)

__all__ = ["DATA_FILES", "MOST_SHOTS", "PACKAGED", "existing", "source_file"]
__all__ += ["ArenaOptions", "Benchmark", "Check", "Contestant", "DataSource", "Endpoint", "Generation"]
__all__ += ["Judge", "LoraOptions", "ModelOptions", "Recipe", "Scoring", "Section", "Selection", "Stage"]
__all__ += ["dump", "load", "parse", "read_yaml", "with_keys", "yaml_problem"]
__all__ += ["adapter_base", "answered_data", "arena_claims", "contestants", "fingerprint"]
__all__ += ["is_fair_baseline", "with_fewshot_baseline"]
