"""Rows of training data: those that do not fit, and those that fit and teach something wrong."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from toolkit.data import Conversation, Preference, Rated, Row, Text, load_examples, load_groups, load_rows
from toolkit.data.formats import RowError, convert
from toolkit.data.reading import raw_rows
from toolkit.data.rows import answer_of, prompt_of
from toolkit.errors import DataError
from toolkit.recipe import DataSource, Recipe
from toolkit.run.checking.findings import error, info, warning
from toolkit.train.methods import stranger
from toolkit.types import Example, Finding

TOLD = 5
"""Places named for one kind of problem; the rest are counted."""

LOPSIDED = 0.9
"""Share of pairs whose chosen answer is the longer (or the shorter), above which length is learned."""

ENOUGH = 20
"""Pairs below which such a share says nothing."""


@dataclass(frozen=True)
class Seen:
    """A data set's rows, and where each stands."""

    rows: list[Row]
    places: list[str]


def read(recipe: Recipe) -> tuple[dict[str, Seen], list[Example], list[Finding]]:
    """The rows of every data set that stages use, the held-out examples, and what does not fit."""
    sets: dict[str, Seen] = {}
    findings: list[Finding] = []
    for name in dict.fromkeys(
        part for stage in recipe.stages for part in (stage.data, stage.heldout) if part
    ):
        source = recipe.data[name]
        try:
            found = load_rows(source.model_copy(update={"skip_bad_rows": True}), seed=recipe.seed)
        except DataError as problem:
            findings.append(_unread(name, source, str(problem)))
            findings += _bad_rows(name, source)
            continue
        sets[name] = Seen(found.rows, found.places)
        if found.skipped and source.skip_bad_rows:
            text = f"{found.skipped} rows do not fit and are left out"
            findings.append(warning("rows-skipped", f"data.{name}", text, "look at them, or drop them"))
        elif found.skipped:
            findings += _bad_rows(name, source)
    examples: list[Example] = []
    if recipe.scoring:
        name = recipe.scoring.examples
        try:
            examples = load_examples(recipe.data[name], seed=recipe.seed)
            if recipe.scoring.groups:
                load_groups(recipe.data[name], recipe.scoring.groups)
        except DataError as problem:
            findings.append(_unread(name, recipe.data[name], str(problem)))
    return sets, examples, findings


def _unread(name: str, source: DataSource, problem: str) -> Finding:
    if "from the hub" in problem:
        fix = "it will be fetched at the first run; to check it now, go online"
        return info("data-not-checked", f"data.{name}", problem, fix)
    return error(
        "data", f"data.{name}", problem.removesuffix(" (or set `skip_bad_rows: true`)"), "mend the file"
    )


def _bad_rows(name: str, source: DataSource) -> Iterator[Finding]:
    """The first rows that do not fit, each by file and line, and how many more there are."""
    told = 0
    try:
        for place, row in raw_rows(source):
            try:
                convert(row, source.format, place)
            except RowError as problem:
                told += 1
                if told <= TOLD:
                    yield error("row", place, str(problem), "mend the row, or set skip_bad_rows: true")
    except DataError:
        return  # told already
    if told > TOLD:
        text = f"{told - TOLD} more rows do not fit"
        yield error("row", f"data.{name}", text, "mend them, or set skip_bad_rows: true")


def kinds(recipe: Recipe, sets: dict[str, Seen]) -> Iterator[Finding]:
    """Stages whose rows are not of the kind their method learns from."""
    for stage in recipe.stages:
        for name in (stage.data, stage.heldout):
            problem = stranger(stage, sets[name].rows) if name in sets else None
            if problem:
                yield error("row-kind", f"stages.{stage.name}", problem, f"give {name} another format")


def contents(sets: dict[str, Seen], special: list[str]) -> Iterator[Finding]:
    """What is wrong with rows that fit. `special`: the tokenizer's special tokens, as text."""
    for name, seen in sets.items():
        yield from _twice(name, seen)
        yield from _texts(name, seen, special)
        yield from _turns(name, seen)
        yield from _pairs(name, seen)


def _twice(name: str, seen: Seen) -> Iterator[Finding]:
    texts = [row.model_dump_json(exclude={"id"}) for row in seen.rows]
    first: dict[str, int] = {}
    copies = [(first[text], i) for i, text in enumerate(texts) if first.setdefault(text, i) != i]
    if copies:
        one, other = copies[0]
        text = f"{len(copies)} of {len(texts)} rows are copies of others, such as this of {seen.places[one]}"
        yield warning("rows-double", seen.places[other], text + ": they weigh double", "drop the copies")
    asked = Counter(" ".join(turn.content for turn in prompt_of(row)) for row in seen.rows)
    answers = {(question_of(row), answer_of(row)) for row in seen.rows if isinstance(row, Conversation)}
    conflicting = Counter(question for question, _ in answers)
    many = [question for question, count in conflicting.items() if count > 1]
    if many and len(asked) > 1:
        text = f"{len(many)} questions have several different answers"
        yield info("answers-differ", f"data.{name}", text, "keep the one that is wanted, unless variety is")


def _texts(name: str, seen: Seen, special: list[str]) -> Iterator[Finding]:
    for row, place in zip(seen.rows, seen.places, strict=True):
        text = all_text(row)
        if "\ufffd" in text:
            yield warning(
                "mojibake", place, "holds U+FFFD, where bytes were lost in decoding", "read it as what it is"
            )
            break
    for row, place in zip(seen.rows, seen.places, strict=True):
        marks = [token for token in special if token and token in all_text(row)]
        if marks:
            text = f"the text holds the special token {marks[0]}, which would end or begin a turn inside it"
            yield error("template-in-text", place, text, "give messages, not text that a template has made")
            break
    blank = [p for row, p in zip(seen.rows, seen.places, strict=True) if _outer_space(row)]
    if len(blank) > len(seen.rows) / 2:
        text = f"{len(blank)} answers begin or end with spaces or empty lines, and that is learned too"
        yield warning("outer-space", blank[0], text, "strip the answers")


def _outer_space(row: Row) -> bool:
    answer = answer_of(row)
    return bool(answer) and answer != answer.strip()


def _turns(name: str, seen: Seen) -> Iterator[Finding]:
    for row, place in zip(seen.rows, seen.places, strict=True):
        roles = [turn.role for turn in prompt_of(row)]
        if isinstance(row, Text):
            continue
        if "user" not in roles:
            yield warning("no-question", place, "no user turn comes before the answer", "add what was asked")
            return
        if any(one == other == "user" for one, other in itertools.pairwise(roles)):
            text = "two user turns follow each other; most templates were trained on turns that alternate"
            yield warning("turns", place, text, "join them, or put the answer between them")
            return
        if "system" in roles[1:]:
            yield warning("turns", place, "a system turn stands after the first turn", "put it first")
            return


def _pairs(name: str, seen: Seen) -> Iterator[Finding]:
    pairs = [
        (row, place) for row, place in zip(seen.rows, seen.places, strict=True) if isinstance(row, Preference)
    ]
    liked = {(question_of(row), row.chosen) for row, _ in pairs}
    for row, place in pairs:
        if (question_of(row), row.rejected) in liked:
            text = "its rejected answer is the chosen one of another row with the same prompt"
            yield warning("contradiction", place, text, "decide which is better")
            break
    for row, place in pairs:
        if " ".join(row.chosen.lower().split()) == " ".join(row.rejected.lower().split()):
            text = "chosen and rejected differ in case and spaces only: there is hardly anything to prefer"
            yield warning("nearly-same", place, text, "drop the row")
            break
    if len(pairs) >= ENOUGH:
        longer = sum(len(row.chosen) > len(row.rejected) for row, _ in pairs) / len(pairs)
        shorter = sum(len(row.chosen) < len(row.rejected) for row, _ in pairs) / len(pairs)
        for share, what in ((longer, "longer"), (shorter, "shorter")):
            if share > LOPSIDED:
                text = f"the chosen answer is {what} in {share:.0%} of the pairs: length may be learned"
                yield warning(
                    "length-bias", f"data.{name}", text, f"add pairs whose better answer is not {what}"
                )
    rated = [row for row in seen.rows if isinstance(row, Rated)]
    if rated and len({row.wanted for row in rated}) == 1:
        text = (
            f"every answer is {'wanted' if rated[0].wanted else 'unwanted'}: there is nothing to tell apart"
        )
        yield error("one-sided", f"data.{name}", text, "add answers of the other kind")


def question_of(row: Row) -> str:
    """The prompt as one text, in lower case, with single spaces."""
    return plain(" ".join(turn.content for turn in prompt_of(row)))


def all_text(row: Row) -> str:
    rejected = row.rejected if isinstance(row, Preference) else ""
    return "\n".join([*(turn.content for turn in prompt_of(row)), answer_of(row), rejected])


def plain(text: str) -> str:
    """In lower case, words only, with single spaces."""
    return " ".join(re.findall(r"\w+", text.lower()))
