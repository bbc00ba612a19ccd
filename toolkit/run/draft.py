"""Draft a recipe from what one has: training data, preference pairs, examples, adapters, files of answers."""

import json
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from toolkit.data.formats import RowError, detect, guess_rename
from toolkit.data.readers import load_examples, raw_rows
from toolkit.errors import DataError
from toolkit.recipe import DATA_FILES, DataSource, adapter_base, existing
from toolkit.types import Example

LOOK = 200  # rows that are looked at
SHORT_WORDS = 5
FEWEST_PER_SLICE, MOST_SLICES = 5, 8
NUMBER = re.compile(r"(?:^|####\s*|\s)[-+]?\d[\d,]*(?:\.\d+)?\.?\s*$")
NO_SLICES = set("id prompt completion reference messages chosen rejected system label".split())
KINDS = {"preference": "dpo", "unpaired": "kto", "text": "text"}
"""Format of rows -> the method that learns from them; all others are for SFT."""
COMMENTS = {
    "base": "hub id, folder, GGUF file or packaged name",
    "stages": "fields of TRL's configuration go under `trainer`: learning_rate, num_train_epochs ...",
    "contestants": "`shots: auto` tunes the number of worked examples on training rows",
    "scoring": "`primary` is the measure that decides; benchmarks: [{task: gsm8k, limit: 100}]",
}


JUDGE = "# judge: {model: Qwen/Qwen2.5-7B-Instruct, reference: true}   # a model that votes in pairs"


@dataclass(frozen=True)
class Ingredients:
    """What there is; paths as typed, relative to the working directory or to the recipe."""

    base: str | None = None
    data: str | None = None
    pairs: str | None = None
    examples: str | None = None
    adapters: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()


def draft_recipe(file: Path, found: Ingredients) -> tuple[str, str | None]:
    """The recipe that will lie at `file`, and its first method; a `DataError` where columns fit no format."""
    here = file.parent
    test = found.examples or next(iter(found.answers), "")
    named = {"train": found.data, "pairs": found.pairs, "test": test}
    data = {name: _source(here, path, for_scoring=name == "test") for name, path in named.items() if path}
    stages = _stages(here, data)
    sections: dict[str, Any] = {
        "data": data,
        "stages": stages,
        "contestants": _contestants(here, found, stages),
        "scoring": {"examples": "test", **_scoring(here, data["test"])} if "test" in data else {},
    }
    answers_alone = bool(found.answers) and not (stages or found.adapters or found.base)
    if answers_alone:  # which have no likelihoods
        metrics = sections["scoring"].get("metrics", ["rouge", "chrf"])
        sections["scoring"]["metrics"] = [metric for metric in metrics if metric != "perplexity"]
    base = {} if answers_alone else {"base": _base(here, found)}
    recipe: dict[str, Any] = {"name": file.stem, **base, "seed": 0}
    recipe |= {name: section for name, section in sections.items() if section}
    lines = [
        "# What is trained, who is compared, and on what.",
        f"#   adapter-arena check {file}    finds what is wrong before anything is trained",
        f"#   adapter-arena run {file}      does the rest; run it again to continue",
    ]
    for key, value in recipe.items():
        lines += [f"# {COMMENTS[key]}"] if key in COMMENTS else []
        lines.append(yaml.safe_dump({key: value}, sort_keys=False, allow_unicode=True, width=100).rstrip())
    return "\n".join([*lines, JUDGE, ""]), stages[0]["method"] if stages else None


def _beside(here: Path, path: str) -> str:
    """A path as the recipe names it: one from the working directory is made relative to the recipe."""
    there = existing(path)
    return os.path.relpath(there, here) if there and not (here / path).exists() else path


def _source(here: Path, path: str, *, for_scoring: bool = False) -> dict[str, Any]:
    source = {"source": _beside(here, path)}
    if not _is_local(here, source["source"]):
        return source
    rows = _rows(here, source)
    columns: dict[str, Any] = {name: value for row in rows for name, value in row.items()}
    rename = guess_rename(columns, for_scoring=for_scoring)
    try:
        if detect(columns) != "text":  # which beside a label or a summary is a prompt
            return source
    except RowError as error:
        if not rename and not (for_scoring and {"prompt", "instruction"} & columns.keys()):
            raise DataError(f"{path}: {error}") from None
    return source | ({"rename": rename} if rename else {})


def _is_local(here: Path, source: str) -> bool:
    there = existing(str(here / source))
    return Path(source).suffix in DATA_FILES or bool(there and there.is_file())


def _rows(here: Path, source: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [row for _, row in islice(raw_rows(_opened(here, source)), LOOK)]


def _opened(here: Path, source: Mapping[str, Any]) -> DataSource:
    """The first rows of a local source, from wherever the command runs."""
    return DataSource.model_validate({**source, "source": str(here / source["source"]), "limit": LOOK})


def _base(here: Path, found: Ingredients) -> str:
    """As named, else what the first adapter was trained on."""
    if found.base or not found.adapters:
        return _beside(here, found.base or "smollm2-135m-instruct")
    return adapter_base(Path(here / _beside(here, found.adapters[0])))


def _stages(here: Path, data: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    stages: list[dict[str, Any]] = []
    for name in (name for name in ("train", "pairs") if name in data):
        source, method = data[name], "sft" if name == "train" else "dpo"
        if _is_local(here, source["source"]):
            rows = _rows(here, source)
            if not rows:
                raise DataError(f"{source['source']}: no rows; name a file that has some")
            method = KINDS.get(detect(rows[0]), "sft")
        stages.append({"name": method, "method": method, "data": name})
        if len(stages) > 1:
            stages[1]["start"] = stages[0]["name"]
    return stages


def _contestants(here: Path, found: Ingredients, stages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    shots = bool(stages) and stages[0]["method"] != "text" and bool(found.examples)
    own: dict[str, Any] = {stage["name"]: {"stage": stage["name"]} for stage in stages}
    for kind, paths in (("adapter", found.adapters), ("answers", found.answers)):
        for path in paths:
            stem, number = re.sub(r"[^\w.-]+", "-", Path(path).resolve().stem), 2
            name = stem
            while name in own or name in ("base", "base-fewshot"):
                name, number = f"{stem}-{number}", number + 1
            own[name] = {kind: _beside(here, path)}
    if found.answers and not (stages or found.adapters or found.base):
        return own
    return {"base": {}} | ({"base-fewshot": {"shots": "auto"}} if shots else {}) | own if own else {}


def _scoring(here: Path, source: Mapping[str, Any]) -> dict[str, Any]:
    if not _is_local(here, source["source"]):
        return {}
    rows = _rows(here, source)
    own, primary = guess_measure(load_examples(_opened(here, source)))
    names = sorted(set.intersection(*(set(row) for row in rows)) - NO_SLICES) if rows else []
    slices = [name for name in names if _is_slice([row[name] for row in rows])]
    scoring: dict[str, Any] = {"metrics": [own, "perplexity", "rouge"], "primary": primary} if own else {}
    return scoring | ({"slices": slices} if slices else {})


def guess_measure(examples: Sequence[Example]) -> tuple[dict[str, Any] | None, str]:
    """A measure of a recipe's own that fits the references, and its name; `None`: none is known."""
    texts = [each.reference.strip() for each in examples if each.reference]
    if not texts:
        return None, ""
    objects = [_json_object(text) for text in texts]
    if all(each is not None for each in objects):
        keys = set.intersection(*(set(each or {}) for each in objects))
        schema = {"type": "object", "required": sorted(keys)}
        return {"json_schema": schema}, "json_schema"
    if all(NUMBER.search(text) for text in texts):
        return {"number": "last"}, "number"
    labels = Counter(text.lower() for text in texts)
    if all(len(text.split()) <= SHORT_WORDS for text in texts) and len(labels) <= max(2, len(texts) // 3):
        return {"exact_match": {"fold_case": True}, "name": "right"}, "right"
    return None, ""


def _json_object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _is_slice(values: Sequence[Any]) -> bool:
    """Whether a column is of few short texts, each in several rows."""
    if not all(isinstance(value, str) and value and len(value.split()) <= SHORT_WORDS for value in values):
        return False
    counts = Counter(values)
    return 1 < len(counts) <= MOST_SLICES and min(counts.values()) >= FEWEST_PER_SLICE
