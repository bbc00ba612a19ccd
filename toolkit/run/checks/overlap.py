"""Held-out and benchmark questions that also occur in training data: scores on them tell nothing.

Exact copies, and texts of which at least 80% lies in runs of 13 words that training data hold too (the run of
Brown et al. 2020, the share of Touvron et al. 2023). Case, punctuation and system turns aside. Only what is
measured is kept in memory; rows of training stream by.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from toolkit.benchmarks.results import questions_of
from toolkit.data import Conversation, Preference, Row, Text, load_rows
from toolkit.data.formats import RowError, answer_of
from toolkit.data.readers import raw_rows, stream_rows
from toolkit.errors import DataError
from toolkit.recipe import Benchmark, DataSource, Recipe, contestants, load
from toolkit.run.checks import error, warning
from toolkit.run.checks.quality import all_text, plain, question_of, words_of
from toolkit.run.folder import RunFolder
from toolkit.types import Example, Finding

WORDS = 13  # words in a row that two texts share by copying, hardly by chance
MIDDLE = WORDS // 2

SHARE = 0.8  # share of a text's words in such runs from which on it is a copy with small changes
COMMON = 0.05  # a run of words, or an answer, in more than this share of the training rows is boilerplate
HELD_OUT = "held-out questions"

FEWEST = 4  # words of a question or an answer that two rows hardly share by chance


@dataclass(frozen=True)
class Measured:
    """Texts of one kind that contestants are measured on."""

    place: str
    what: str
    questions: list[str]
    answers: list[str]  # one a question; empty where there is none


@dataclass
class Hits:
    rows: int = 0
    questions: set[str] = field(default_factory=set)
    answers: Counter[str] = field(default_factory=Counter)
    runs: Counter[str] = field(default_factory=Counter)
    inside: Counter[str] = field(default_factory=Counter)
    """Questions shorter than a run that stand in a row's text."""

    def join(self, other: Hits) -> None:
        self.rows += other.rows
        self.questions |= other.questions
        self.answers += other.answers
        self.runs += other.runs
        self.inside += other.inside


class Overlap:
    """Compares training rows, one after the other, with everything that is measured on."""

    def __init__(self, recipe: Recipe, examples: Sequence[Example]) -> None:
        self.recipe = recipe
        self.measured = list(_measured(recipe, examples))
        self.questions = {text for each in self.measured for text in each.questions}
        self.answers = {a for each in self.measured for a in each.answers if len(a.split()) >= FEWEST}
        self.runs = runs_in({*self.questions, *self.answers})
        self.keys = {(run[0], run[MIDDLE], run[-1]) for run in map(str.split, self.runs)}
        self.endings: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for words in map(str.split, self.questions):
            if FEWEST < len(words) < WORDS:
                self.endings[tuple(words[-FEWEST:])].append(" ".join(words))
        self.hits: dict[str, Hits] = defaultdict(Hits)

    def add(self, name: str, row: Row) -> None:
        """Note what a row of training data set `name` shares with what is measured."""
        hits = self.hits[name]
        hits.rows += 1
        if not self.questions:
            return
        exchanges = _exchanges(row)
        for question, answer in exchanges:
            hits.questions.update({" ".join(question)} & self.questions)
            hits.answers.update({" ".join(answer)} & self.answers)
        words = [*exchanges[-1][0], *exchanges[-1][1]]
        found = self.endings.keys() & zip(words, words[1:], words[2:], words[3:])  # noqa: B905
        if found:
            text = f" {' '.join(words)} "
            hits.inside.update(q for end in found for q in self.endings[end] if f" {q} " in text)
        if not self.keys.isdisjoint(zip(words, words[MIDDLE:], words[WORDS - 1 :])):  # noqa: B905
            hits.runs.update(runs_in([plain(all_text(row)), " ".join(words)]) & self.runs)

    def findings(self) -> Iterator[Finding]:
        """Findings for every training set, and for the worked examples of contestants."""
        for name, hits in self.hits.items():
            for each in self.measured:
                if each.place == f"data.{name}":
                    text = f"`{name}` is trained on and measured on"
                    yield error("overlap", each.place, text, "measure on other rows")
                else:
                    yield from self._compare(name, each, hits)
        held = [each for each in self.measured if each.what == HELD_OUT]
        questions = {text for each in held for text in each.questions}
        texts = MeasuredTexts(questions, {text for each in held for text in each.answers})
        for name, contestant in contestants(self.recipe).items():
            if texts.shown_in([plain(turn.content) for turn in contestant.prompt]):
                text = f"worked examples of `{name}` are held-out rows: it sees the test in its prompt"
                yield error("prompt-leaks", f"contestants.{name}.prompt", text, "take training rows for them")

    def _compare(self, name: str, each: Measured, hits: Hits) -> Iterator[Finding]:
        fix, count = "take them out of the training data", len(each.questions)
        runs, inside, answers = (_rare(c, hits.rows) for c in (hits.runs, hits.inside, hits.answers))
        same = hits.questions.intersection(each.questions)
        near = [q for q in each.questions if q not in same and (q in inside or copied(q, runs) >= SHARE)]
        others = [a for q, a in zip(each.questions, each.answers, strict=True) if q not in same and a]
        known = sum(answer in answers or copied(answer, runs) >= SHARE for answer in others)
        if same:
            found = sum(question in same for question in each.questions)
            text = f"{found} of {count} {each.what} are also in `{name}`: scores on them tell nothing"
            yield error("overlap", each.place, text, fix)
        if near:
            text = f"{len(near)} of {count} {each.what} are nearly copies of rows of `{name}`"
            yield warning("overlap-words", each.place, text, fix)
        if known:
            text = f"{known} of {count} answers to {each.what} are also in `{name}`, under other questions"
            yield warning("overlap-answers", each.place, text, fix)


def _rare(counts: Counter[str], rows: int) -> set[str]:
    """What is in few enough rows to be no boilerplate."""
    return {text for text, count in counts.items() if count <= max(2.0, COMMON * rows)}


class MeasuredTexts:
    """What contestants are measured on, to be kept out of their worked examples."""

    def __init__(self, questions: set[str], answers: set[str]) -> None:
        """Plain texts; answers of few words are shared by chance."""
        self.questions, self.runs = questions, runs_in(questions)
        self.answers = {text for text in answers if len(text.split()) >= FEWEST}

    def shown_in(self, texts: Sequence[str]) -> bool:
        """Whether plain texts hold a question, nearly all of one, or are one's answer."""
        if any(text in self.questions or text in self.answers for text in texts):
            return True
        runs = runs_in(texts) & self.runs
        return (bool(runs) and any(copied(text, runs) >= SHARE for text in self.questions)) or any(
            len(q.split()) >= FEWEST and f" {q} " in f" {text} " for text in texts for q in self.questions
        )


def _exchanges(row: Row) -> list[tuple[list[str], list[str]]]:
    """Words of each question of a row (all turns but the system's before an answer), and of the answer."""
    if isinstance(row, Text):
        return [([], words_of(row.text)), (words_of(row.text), [])]
    if not isinstance(row, Conversation):
        found = [(question_of(row).split(), words_of(answer_of(row)))]
        return [([], words_of(row.rejected)), *found] if isinstance(row, Preference) else found
    so_far: list[str] = []
    found = []
    for turn in row.messages:
        words = words_of(turn.content)
        if turn.role == "assistant":
            found.append((so_far, words))
        if turn.role != "system":
            so_far = [*so_far, *words]
    return found


def _measured(recipe: Recipe, examples: Sequence[Example]) -> Iterator[Measured]:
    if examples and recipe.scoring:
        questions = [_question(example) for example in examples]
        answers = [plain(example.reference or "") for example in examples]
        yield Measured(f"data.{recipe.scoring.examples}", HELD_OUT, questions, answers)
    for name in dict.fromkeys(stage.heldout for stage in recipe.stages if stage.heldout):
        rows: list[Row] = []
        with suppress(DataError):  # found when the set is read
            for _, _, row in stream_rows(recipe.data[name], seed=recipe.seed):
                if not isinstance(row, RowError):
                    rows.append(row)
        if rows:
            questions = [question_of(row) or plain(all_text(row)) for row in rows]
            answers = ["" if isinstance(row, Text) else plain(answer_of(row)) for row in rows]
            yield Measured(f"data.{name}", "held-out rows", questions, answers)
    for index, benchmark in enumerate(recipe.scoring.benchmarks if recipe.scoring else ()):
        questions = list(_benchmark_questions(benchmark))
        if questions:
            what = f"{benchmark.task} questions"
            yield Measured(f"scoring.benchmarks.{index}", what, questions, [""] * len(questions))


def _question(example: Example) -> str:
    return plain(" ".join(turn.content for turn in example.messages if turn.role != "system"))


def _benchmark_questions(benchmark: Benchmark) -> Iterator[str]:
    """The longest text of each row's question: benchmarks name their question columns differently."""
    for split, file in benchmark.files.items():
        if split not in ("train", "dev", "fewshot"):  # worked examples, not what is measured
            with suppress(DataError):
                for _, row in raw_rows(DataSource(source=file)):
                    texts = [value for value in row.values() if isinstance(value, str)]
                    yield plain(max(texts, key=len, default=""))


def copied(question: str, runs: set[str]) -> float:
    """The share of a question's words that lie in some of these runs."""
    words = question.split()
    inside = [False] * len(words)
    for start in range(len(words) - WORDS + 1):
        if " ".join(words[start : start + WORDS]) in runs:
            inside[start : start + WORDS] = [True] * WORDS
    return sum(inside) / max(1, len(words))


def runs_in(texts: Iterable[str]) -> set[str]:
    """All runs of words in some texts."""
    split = (text.split() for text in texts)
    return {" ".join(words[i : i + WORDS]) for words in split for i in range(len(words) - WORDS + 1)}


def find_contamination(run: Path) -> list[str]:
    """One sentence for every contestant of a run and benchmark whose questions are in its training data.

    A question counts when nearly all of it lies in runs of words that the training rows hold too (as `check`
    finds it before training), or, where it is shorter than such a run, when a row holds the whole of it.
    """
    folder = RunFolder(run)
    if not folder.recipe.is_file():
        return []
    recipe, notes = load(folder.recipe), []
    for name, spec in contestants(recipe).items():
        by_task = questions_of(folder.benchmarks(name).with_suffix(""))
        if spec.stage is None or not by_task:
            continue
        used = dict.fromkeys(stage.data for stage in recipe.chain(spec.stage))
        try:
            rows = [row for data in used for row in load_rows(recipe.data[data], seed=recipe.seed).rows]
        except DataError as error:
            notes.append(f"{name}: its training data cannot be compared with the benchmarks: {error}")
            continue
        notes += contamination_notes(name, by_task, [all_text(row) for row in rows])
    return notes


def contamination_notes(contestant: str, by_task: dict[str, list[str]], training: list[str]) -> list[str]:
    """The sentences for one contestant."""
    known = [plain(text) for text in training]
    runs = _rare(Counter(run for text in known for run in runs_in([text])), len(known))

    def is_known(question: str) -> bool:
        if FEWEST <= len(question.split()) < WORDS:
            return any(f" {question} " in f" {row} " for row in known)
        return copied(question, runs) >= SHARE

    notes = []
    for task, questions in by_task.items():
        found = [question for question in questions if is_known(plain(question))]
        if found:
            notes.append(
                f"{contestant}: {len(found)} of {len(questions)} questions of {task} are in its training "
                f"data ({found[0][:60]!r}): its score there means nothing"
            )
    return notes
