"""Scores and paired differences of several contestants, over all examples and over slices of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import yaml

from toolkit import io
from toolkit.data.readers import raw_rows
from toolkit.errors import DataError
from toolkit.metric_info import METRICS, known_figures, metric_info
from toolkit.metrics.intervals import clustered, difference, examples_needed, restricted, score
from toolkit.metrics.measurement import (
    FEWEST_SEEDS,
    Measurement,
    join_seeds,
    pool_samples,
    read_measurements,
    seed_folder,
)
from toolkit.recipe import Check, DataSource, read_yaml
from toolkit.recipe.files import completion_files
from toolkit.statistics import holm
from toolkit.svg import Row, interval_charts
from toolkit.types import Completion, Difference, Example, Record, Score, to_frame

if TYPE_CHECKING:
    import pandas as pd

    from toolkit.metrics.registry import Encoding


@dataclass(frozen=True)
class Comparison:
    """Scores of contestants and their paired differences; `to_frame()` for pandas, a chart in a notebook."""

    scores: list[Score]
    differences: list[Difference]  # every other contestant minus the one compared with, metric by metric
    corrected: list[float]  # p-values of the differences, corrected for their number (Holm)
    examples_needed: list[int | None]
    """For each difference, how many examples would show it at p < 0.05 four times in five."""

    def to_frame(self) -> pd.DataFrame:
        """One row per score: contestant, metric, value, low, high, n."""
        return to_frame(self.scores)

    def differences_frame(self) -> pd.DataFrame:
        """One row per paired difference, with the Holm-corrected p-value and the examples needed."""
        import pandas as pd

        further = pd.DataFrame({"p_holm": self.corrected, "examples_needed": self.examples_needed})
        return pd.concat([to_frame(self.differences), further], axis=1)

    def _repr_svg_(self) -> str:
        panels: dict[str, list[Row]] = {}
        for each in self.scores:
            if math.isfinite(each.value):
                row = Row(each.contestant, each.value, each.low, each.high)
                panels.setdefault(metric_info(each.metric).title, []).append(row)
        return interval_charts(list(panels.items()), "Scores with 95% intervals")


T = TypeVar("T", Completion, Measurement)


def group_by_contestant(rows: Iterable[T]) -> dict[str, list[T]]:
    """Contestant -> its rows, both in the order in which they come."""
    groups: dict[str, list[T]] = {}
    for row in rows:
        groups.setdefault(row.contestant, []).append(row)
    return groups


def score_completions(
    completions: Iterable[Completion],
    metrics: Sequence[str | Check] = ("rouge", "bleu", "chrf", "exact_match", "length"),
    *,
    against: str | None = None,
    groups: Mapping[str, str] | None = None,
    encoding: Encoding | None = None,
) -> Comparison:
    """Score completions of any number of contestants and compare them on shared examples.

    Args:
        completions: of all contestants.
        metrics: as in a recipe: `rouge`, `bleu`, `chrf`, `ter`, `exact_match`, `length`, `bertscore`,
            `FILE.py:FUNCTION`, a `Check`.
        against: contestant that the others are compared with; default the first.
        groups: example id -> group, where intervals are over groups of examples.
        encoding: encoder of BERTScore.

    Raises:
        DataError: `against` names no contestant, or no completion has a reference.
    """
    from toolkit.metrics.registry import Encoding, measure_texts  # imports evaluate

    measure = partial(measure_texts, metrics=metrics, encoding=encoding or Encoding())
    found = [each for own in group_by_contestant(completions).values() for each in measure(own)]
    if not found:
        raise DataError("nothing to score: no completion has a reference")
    return compare(found, against=against, groups=groups)


def compare(
    found: Sequence[Measurement], *, against: str | None = None, groups: Mapping[str, str] | None = None
) -> Comparison:
    """Score all contestants, and compare the others with one (default: the first) on shared examples.

    `groups`: example id -> group, over which intervals are then. An unknown name is a `DataError`.
    """
    if groups:
        found = [clustered(each, groups) for each in found]
    names = list(dict.fromkeys(each.contestant for each in found))
    if against is not None and against not in names:
        raise DataError(f"no contestant is named {against}; there are {', '.join(names)}")
    baseline = against or (names[0] if names else "")
    theirs = {each.metric: each for each in found if each.contestant == baseline}
    others = [each for each in found if each.contestant != baseline and each.metric in theirs]
    differences = (difference(each, theirs[each.metric]) for each in others)
    apart = [paired for paired in differences if paired is not None]
    return Comparison(
        scores=[score(each) for each in found],
        differences=apart,
        corrected=holm([each.p_value for each in apart]),
        examples_needed=[examples_needed(each) for each in apart],
    )


def collect(
    sources: Sequence[Path], metrics: Sequence[str], *, references: Sequence[Path] = (), encoding: Encoding
) -> list[Measurement]:
    """Measure all completions in run folders and files; a `DataError` where a contestant is in two."""
    from toolkit.generate.importers import align, read_references
    from toolkit.metrics.registry import measure_texts  # imports evaluate

    known = read_references(references)
    found: list[Measurement] = []
    answers: dict[str, list[Completion]] = {}
    places: dict[str, Path] = {}
    for source in sources:
        for name, completions in _completions(source).items():
            if name in places:
                raise DataError(f"{source}: contestant {name} is in {places[name]} too; rename one of them")
            places[name], answers[name] = source, completions
    aligned = align(answers, places) if len(sources) > 1 else answers
    repeated = {source: repeats(source) for source in sources}
    for name, completions in aligned.items():
        ids = {old.example_id: new.example_id for old, new in zip(answers[name], completions, strict=True)}
        measure = partial(measure_texts, metrics=metrics, encoding=encoding, references=known)
        answered = _answers_by_seed(places[name], name, completions, ids, repeated[places[name]])
        by_seed = [pool_samples([measure(part) for part in parts]) for parts in answered]
        own = join_seeds(by_seed, len(by_seed))
        new = {each.metric for each in own}
        # what needs the run's model, or its recipe's own metrics, is taken from the run
        there = (places[name] / "measurements" / f"{name}.jsonl").is_file()
        stored = read_measurements(places[name], name, repeated[places[name]][0]) if there else []
        known_names = known_figures().keys() - METRICS["perplexity"].figures.keys()
        kept = [m for m in stored if m.metric not in known_names]
        for each in kept:
            if each.metric not in new:
                renamed = tuple(ids.get(example, example) for example in each.example_ids)
                found.append(each.model_copy(update={"example_ids": renamed}))
        found += own
    return found


SAMPLES = "samples"  # folder of a run with all answers, where there are several to each example


def read_samples(run: Path, contestant: str, *, several: bool) -> list[list[Completion]]:
    """A contestant's answers in a run's folder: the first ones to all examples, the second ones ..."""
    file = run / SAMPLES / f"{contestant}.jsonl"
    first = list(io.read(run / "completions" / f"{contestant}.jsonl", Completion))
    if not several or not file.is_file():
        return [first]
    rows = list(io.read(file, Completion))
    return [rows[start : start + len(first)] for start in range(0, len(rows), len(first))]


def repeats(source: Path) -> tuple[int, bool]:
    """How many seeds a run has, and whether it has several answers to each example, by its recipe."""
    file, raw = source / "recipe.yaml", None
    if file.is_file():
        with suppress(yaml.YAMLError, UnicodeDecodeError):  # a damaged one says nothing of either
            raw = read_yaml(file.read_text(encoding="utf-8"))
    seeds = raw.get("seeds", 1) if isinstance(raw, dict) else 1
    samples = io.mapping(io.mapping(raw, "scoring"), "generation").get("samples", 1)
    return seeds if isinstance(seeds, int) else 1, isinstance(samples, int) and samples > 1


def _answers_by_seed(
    source: Path, name: str, completions: list[Completion], ids: Mapping[str, str], repeated: tuple[int, bool]
) -> Iterator[list[list[Completion]]]:
    """Of each training seed that counts: the first answers to all examples, the second ones ..."""
    seeds, several = repeated
    if seeds < FEWEST_SEEDS and not several:
        yield [completions]
        return
    folders = [source, *(seed_folder(source, number) for number in range(2, seeds + 1))]
    there = [folder for folder in folders if (folder / "completions" / f"{name}.jsonl").is_file()]
    for folder in there if seeds >= FEWEST_SEEDS and there == folders else [source]:
        parts = read_samples(folder, name, several=several)
        yield [
            [
                each.model_copy(update={"example_id": ids.get(each.example_id, each.example_id)})
                for each in part
            ]
            for part in parts
        ]


def sort_by_recipe(source: Path, names: Iterable[str]) -> list[str]:
    """Contestants, each once, in the order of a run's scores, then others; the first is the baseline."""
    file = source / "scores.json"
    found = io.read_json(file, kind=list, finite=False) if file.is_file() else []
    scored = [score.get("contestant") for score in found if isinstance(score, dict)]
    unique_names = dict.fromkeys(names)
    return list(dict.fromkeys([*(name for name in scored if name in unique_names), *unique_names]))


def _completions(source: Path) -> dict[str, list[Completion]]:
    """Contestant -> completions."""
    from toolkit.generate.importers import read_completions

    files = list(completion_files(source).values()) if source.is_dir() else [source]
    if not files:
        raise DataError(f"{source}: no completions here; `adapter-arena run` writes them")
    groups = group_by_contestant(each for file in files for each in read_completions(file))
    return {name: groups[name] for name in sort_by_recipe(source, groups)}


FILE = "groups.jsonl"  # in the folder of a run whose recipe names a column of groups


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
    io.write_rows(file, ({"example_id": example, "group": group} for example, group in groups.items()))


def load_groups(sources: Sequence[Path]) -> dict[str, str]:
    """The groups that runs keep in their folders; a `DataError` where two runs differ in an example's."""
    groups: dict[str, str] = {}
    for file in (source / FILE for source in sources):
        for example, group in (read_groups(file) if file.is_file() else {}).items():
            if groups.setdefault(example, group) != group:
                there = f"{group} here and in {groups[example]} in another run"
                raise DataError(f"{file}: example {example} is in group {there}; say which with --groups")
    return groups


LENGTH = "length"  # the slice by terciles of the prompt's characters, where no column has this name
THIRDS = ("short", "middle", "long")
MOST_VALUES = 12  # a column with more values keeps the most frequent ones; the others are `other`
OTHER = "other"


class SliceFigure(Record):
    """A metric of one contestant, or the difference of two, on the examples of one slice."""

    column: str
    value: str
    score: Score | None = None
    difference: Difference | None = None

    @property
    def slice(self) -> tuple[str, str]:
        return self.column, self.value

    @property
    def metric(self) -> str:
        found = self.score or self.difference
        assert found is not None
        return found.metric


def slice_examples(
    examples: Sequence[Example], rows: Mapping[str, Mapping[str, Any]], columns: Iterable[str]
) -> dict[tuple[str, str], frozenset[str]]:
    """(column, value) -> ids of its examples, of columns in `rows` or `length`; a `DataError` without one."""
    found: dict[tuple[str, str], frozenset[str]] = {}
    for column in columns:
        values = {example.id: rows.get(example.id, {}).get(column) for example in examples}
        if all(value is None for value in values.values()):
            if column != LENGTH:
                raise DataError(f"scoring.slices: no example has a column `{column}`")
            sizes = np.array([sum(len(turn.content) for turn in each.messages) for each in examples])
            thirds = np.searchsorted(np.quantile(sizes, [1 / 3, 2 / 3]), sizes)
            values = {each.id: THIRDS[third] for each, third in zip(examples, thirds, strict=True)}
        texts = {example: "none" if value is None else str(value)[:80] for example, value in values.items()}
        common = [text for text, _ in Counter(texts.values()).most_common(MOST_VALUES)]
        if len(set(texts.values())) > MOST_VALUES:
            texts = {example: text if text in common[:-1] else OTHER for example, text in texts.items()}
        order = dict.fromkeys(texts[example.id] for example in examples)
        for text in THIRDS if order.keys() == set(THIRDS) else order:
            found[column, text] = frozenset(example for example, each in texts.items() if each == text)
    return found


def slice_figures(
    measured: Sequence[Measurement],
    slices: Mapping[tuple[str, str], frozenset[str]],
    groups: Mapping[str, str],
) -> list[SliceFigure]:
    """Every contestant's score on every slice, and each later contestant minus each earlier one."""
    figures = []
    for (column, value), ids in slices.items():
        by_metric: dict[str, list[Measurement]] = {}
        for each in measured:
            part = restricted(each, ids)
            if part.rows:
                part = clustered(part, groups) if groups else part
                by_metric.setdefault(each.metric, []).append(part)
        for parts in by_metric.values():
            figures += [SliceFigure(column=column, value=value, score=score(part)) for part in parts]
            apart = [difference(later, earlier) for earlier, later in combinations(parts, 2)]
            figures += [SliceFigure(column=column, value=value, difference=each) for each in apart if each]
    return figures
