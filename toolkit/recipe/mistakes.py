"""What is wrong with a recipe, all of it, in lines that say the key and what to do."""

from __future__ import annotations

import difflib
import re
from typing import Any

from pydantic import BaseModel

from toolkit.recipe.files import existing
from toolkit.recipe.schema import METRICS, Recipe, contestants, unknown

PLAIN = {
    "missing": "is required",
    "tuple_type": "should be a list",
    "dict_type": "should be a mapping of keys to values",
    "model_type": "should be a mapping of keys to values",
    "string_type": "should be text; put it in quotes",
}
"""Kind of pydantic problem -> what is wrong, in the words of YAML."""

OWN_NAMES = ("data", "contestants", "scoring.benchmarks.files")
"""Sections whose keys are names of the user's own."""

UNION_MEMBERS = ("LoraOptions", "Metric", "Function", "Check", "[key]")
"""What pydantic puts into the place of a problem, and no user wrote."""

NAMES = "a name is letters, digits, `.`, `_`, `-`, at most 64, and starts with a letter or digit"


HUB = re.compile(r"hub_.*|push_to_hub.*|output_dir|trackio_space_id|trust_remote_code")
"""Keys by which TRL and PEFT would send a model away, write elsewhere, or run code of the hub."""

SECRET = re.compile(
    r".*api[_-]?key|.*password|passwd|.*authorization|(?:.*[_-])?(?:auth|access|hf|api|bearer|github)[_-]?token"
    r"|token|.*secret|.*private[_-]key|cookie|credentials?",
    re.I,
)
"""Keys whose values no recipe may hold: it is copied into the run, and shown."""

KEYS = re.compile(
    r"""\bsk-[A-Za-z0-9_-]{20,} | \bhf_[A-Za-z0-9]{25,} | \bA[KS]IA[0-9A-Z]{16}\b
    | \bgh[pousr]_[A-Za-z0-9]{30,} | \bgithub_pat_\w{20,} | \bxox[abprs]-[\w-]{10,} | \bAIza[\w-]{35}
    | \bglpat-[\w-]{20} | \b[rs]k_live_\w{20,}
    | \bnpm_\w{30,} | \bpypi-Ag[\w-]{16,} | \bSG\.[\w-]{16,}\.[\w-]{16,} | hooks\.slack\.com/services/T\w+/
    | -----BEGIN\ [A-Z ]*PRIVATE\ KEY----- | \beyJ[\w-]{15,}\.eyJ[\w-]{15,}\. | \bBearer\ [\w.~+/-]{20,}
    | ://[^/\s:@]{1,40}:(?!pass|pwd|secret|[<${*])[^/\s@:]{4,}@\w""",
    re.VERBOSE,
)
"""What keys of well-known services look like, and passwords in addresses."""

KEY_SIGNS = (
    *(
        "sk-",
        "hf_",
        "AKIA",
        "ASIA",
        "ghp_",
        "gho_",
        "ghu_",
        "ghs_",
        "_pat_",
        "xox",
        "AIza",
        "glpat",
        "k_live_",
    ),
    *("npm_", "pypi-", "SG.", "hooks.slack", "PRIVATE", "eyJ", "Bearer ", "://"),
)
"""Texts without one of them need not be searched."""

CREDENTIALS = re.compile(r"\w+://[^/\s@]*@|[?&](?:api_?key|key|token|access_token|password)=[^&\s]", re.I)


def forbidden(raw: Any, key: str = "") -> list[str]:
    """What a recipe may not hold, wherever it stands: secrets, and settings that reach beyond the run."""
    if isinstance(raw, (dict, list)):
        parts = raw.items() if isinstance(raw, dict) else enumerate(raw)
        return [problem for name, part in parts for problem in _forbidden(part, str(name), key)]
    if isinstance(raw, str) and CREDENTIALS.search(raw):
        return [
            f"{key}: a user, key or password in a URL would be written into the run; name an environment "
            "variable"
        ]
    if isinstance(raw, str) and KEYS.search(raw):
        return [f"{key}: what looks like a key would be written into the run; name an environment variable"]
    return []


def _forbidden(value: Any, name: str, above: str) -> list[str]:
    key = f"{above}.{name}" if above else name
    if value in (None, False, "") or above.endswith(("messages", "rename")) or above in OWN_NAMES:
        return [] if value in (None, False, "") else forbidden(value, key)
    if HUB.fullmatch(name):
        return [
            f"{key}: not in a recipe; a run writes to its own folder, and only `adapter-arena push` sends it"
        ]
    if SECRET.fullmatch(name) and not isinstance(value, (dict, list)):
        return [
            f"{key}: a secret would be written into the run; put it into an environment variable (`key_env`)"
        ]
    return forbidden(value, key)


def explain(problem: Any) -> str:
    """One pydantic problem in one line: key, what is wrong, what to do."""
    *parents, last = problem["loc"]
    key = ".".join(str(part) for part in problem["loc"] if part not in UNION_MEMBERS)
    if last == "Function" and problem["type"] == "string_pattern_mismatch":
        return f"{key}: a metric of your own is `FILE.py:FUNCTION`, not `{problem['input']}`"
    if last == "Metric" and problem["type"] == "literal_error":
        near = difflib.get_close_matches(str(problem["input"]), METRICS, n=1)
        mend = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(METRICS)}, `FILE.py:FUNCTION`"
        return f"{key}: unknown metric `{problem['input']}`; {mend}"
    if last in ("[key]", "name") and problem["type"] == "string_pattern_mismatch":
        return f"{key}: {NAMES}"
    if last == "LoraOptions":
        return f"{key}: should be options such as `{{r: 16}}`, or `none` to train all weights"
    if problem["type"] != "extra_forbidden":
        return f"{key}: {PLAIN.get(problem['type'], problem['msg'].removeprefix('Value error, '))}"
    known = _keys_at(tuple(parents))
    close = difflib.get_close_matches(str(last), known, n=1)
    advice = f"; did you mean `{close[0]}`?" if close else f"; known keys: {', '.join(sorted(known))}"
    return f"{key}: unknown key{advice}"


def _keys_at(location: tuple[Any, ...]) -> list[str]:
    """The keys the section at this place of a recipe may have."""
    section: Any = Recipe
    for part in location:
        if isinstance(section, type) and issubclass(section, BaseModel) and part in section.model_fields:
            section = _section_of(section.model_fields[str(part)].annotation)
        elif isinstance(part, str) and part[:1].isupper():  # pydantic names the member of a union it tried
            continue
    return list(section.model_fields) if isinstance(section, type) and issubclass(section, BaseModel) else []


def _section_of(annotation: Any) -> Any:
    """The Section class inside an annotation such as `dict[str, DataSource]` or `Scoring | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _section_of(inner)
        if found is not None:
            return found
    return None


def loose_ends(recipe: Recipe) -> list[str]:
    """Names that point nowhere, and parts that need another part."""
    stages = [stage.name for stage in recipe.stages if stage.method != "reward"]
    names = list(contestants(recipe))
    problems = _loose_stages(recipe)
    for name, contestant in recipe.contestants.items():
        problems += unknown(f"contestants.{name}.stage", contestant.stage, stages, "stage")
    if recipe.scoring:
        problems += unknown("scoring.examples", recipe.scoring.examples, list(recipe.data), "data set")
    problems += _loose_judge(recipe, names)
    for name in dict.fromkeys(name for pair in recipe.arena.claims for name in pair):
        problems += unknown("arena.claims", name, names, "contestant")
    for name in recipe.arena.contestants:
        problems += unknown("arena.contestants", name, names, "contestant")
    return problems


def _loose_judge(recipe: Recipe, names: list[str]) -> list[str]:
    judge = recipe.judge
    if judge is None:
        return []
    problems = unknown("judge.baseline", judge.baseline, names, "contestant")
    if judge.pairs == "baseline" and judge.baseline is None:
        problems.append("judge.baseline: name the contestant that the others are compared with")
    if judge.pairs == "all" and judge.baseline in names:
        problems.append("judge.baseline: no part of `pairs: all`; say `pairs: baseline`, or leave it out")
    if len(names) == 1:
        alone = f"a battle takes two contestants, and there is only `{names[0]}`"
        problems.append(f"judge: {alone}; name another in `contestants`, or leave the judge out")
    if recipe.scoring is None:
        problems.append("judge: needs `scoring.examples`, the prompts to judge on")
    return problems


def _loose_stages(recipe: Recipe) -> list[str]:
    problems, earlier = [], ["base"]
    rewarding: list[str] = []
    for index, stage in enumerate(recipe.stages):
        at = f"stages.{index}"
        problems += unknown(f"{at}.data", stage.data, list(recipe.data), "data set")
        problems += unknown(f"{at}.heldout", stage.heldout, list(recipe.data), "data set")
        problems += unknown(f"{at}.start", stage.start, earlier, "earlier stage")
        for name in stage.rewards:
            if "/" not in name and not existing(name):
                problems += unknown(f"{at}.rewards", name, rewarding, "earlier reward stage")
        rewarding += [stage.name] if stage.method == "reward" else []
        if stage.method != "reward":  # a reward model scores answers and writes none
            earlier.append(stage.name)
    return problems
