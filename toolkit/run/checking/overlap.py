"""Held-out and benchmark questions that also occur in training data: scores on them tell nothing.

Exact copies, and questions of which at least 80% lies in runs of 13 words that training data hold too (the
run of Brown et al. 2020, the share of Touvron et al. 2023). Case and punctuation aside.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from toolkit.data.reading import raw_rows
from toolkit.errors import DataError
from toolkit.recipe import Benchmark, DataSource, Recipe
from toolkit.run.checking.findings import error, warning
from toolkit.run.checking.rows import Seen, all_text, plain, question_of
from toolkit.types import Example, Finding

WORDS = 13
"""Words in a row that two texts share by copying, hardly by chance."""

SHARE = 0.8
"""Share of a question's words in such runs from which on it is a copy with small changes."""

COMMON = 0.05
"""A run of words in more than this share of the training rows is boilerplate: a shared instruction."""


def overlap(recipe: Recipe, sets: dict[str, Seen], examples: Sequence[Example]) -> Iterator[Finding]:
    """Findings for every training set against everything that is measured on."""
    measured = dict(_measured(recipe, sets, examples))
    for name in dict.fromkeys(stage.data for stage in recipe.stages):
        if name not in sets:
            continue
        rows = sets[name].rows
        asked = {question_of(row) or plain(all_text(row)) for row in rows}
        runs = runs_of([plain(all_text(row)) for row in rows])
        for (place, what), questions in measured.items():
            if place == f"data.{name}":
                yield error(
                    "overlap", place, f"`{name}` is trained on and measured on", "measure on other rows"
                )
                continue
            yield from _compare(name, place, what, questions, asked, runs)


def _compare(
    name: str, place: str, what: str, questions: list[str], asked: set[str], runs: set[str]
) -> Iterator[Finding]:
    same = [question for question in questions if question in asked]
    near = [question for question in questions if question not in asked and copied(question, runs) >= SHARE]
    if same:
        text = f"{len(same)} of {len(questions)} {what} are also in `{name}`: scores on them tell nothing"
        yield error("overlap", place, text, "take them out of the training data")
    if near:
        text = f"{len(near)} of {len(questions)} {what} are nearly copies of rows of `{name}`"
        yield warning("overlap-words", place, text, "take them out of the training data")


def _measured(
    recipe: Recipe, sets: dict[str, Seen], examples: Sequence[Example]
) -> Iterator[tuple[tuple[str, str], list[str]]]:
    if examples and recipe.scoring:
        asked = [plain(" ".join(turn.content for turn in example.messages)) for example in examples]
        yield (f"data.{recipe.scoring.examples}", "held-out questions"), asked
    for name in dict.fromkeys(stage.heldout for stage in recipe.stages if stage.heldout):
        if name in sets:
            yield (f"data.{name}", "held-out rows"), [question_of(row) for row in sets[name].rows]
    for index, benchmark in enumerate(recipe.scoring.benchmarks if recipe.scoring else ()):
        questions = list(_questions(benchmark))
        if questions:
            yield (f"scoring.benchmarks.{index}", f"{benchmark.task} questions"), questions


def _questions(benchmark: Benchmark) -> Iterator[str]:
    """The longest text of each row that is asked: benchmarks name their question columns differently."""
    for split, file in benchmark.files.items():
        if split in ("train", "dev", "fewshot"):
            continue  # worked examples, not what is measured
        try:
            for _, row in raw_rows(DataSource(source=file)):
                texts = [value for value in row.values() if isinstance(value, str)]
                yield plain(max(texts, key=len, default=""))
        except DataError:
            return


def copied(question: str, runs: set[str]) -> float:
    """The share of a question's words that lie in some of these runs."""
    words = question.split()
    inside = [False] * len(words)
    for start in range(len(words) - WORDS + 1):
        if " ".join(words[start : start + WORDS]) in runs:
            inside[start : start + WORDS] = [True] * WORDS
    return sum(inside) / max(1, len(words))


def _runs(text: str) -> set[str]:
    words = text.split()
    return {" ".join(words[i : i + WORDS]) for i in range(len(words) - WORDS + 1)}


def runs_of(texts: list[str]) -> set[str]:
    """The word runs of training texts, but for boilerplate."""
    counts: dict[str, int] = {}
    for text in texts:
        for run in _runs(text):
            counts[run] = counts.get(run, 0) + 1
    most = max(2.0, COMMON * len(texts))
    return {run for run, count in counts.items() if count <= most}
