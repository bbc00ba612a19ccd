"""Answers to judge, read from files as others write them, told apart by the fields of a row.

- ours: `example_id`, `contestant`, `messages`, `completion`
- AlpacaEval outputs: `instruction`, `output`, `generator`
- MT-bench and Arena-Hard answers: `question_id` or `uid`, `model_id` or `model`, `choices` (their questions
  lie in a file of their own)
- Arena-Hard 2 answers: `uid`, `model`, `messages`
- prompts with outputs: `prompt`, `outputs` or `answers` (contestant -> text), and perhaps `id`, `reference`,
  `category`
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from toolkit import records
from toolkit.errors import DataError
from toolkit.types import Completion, Message, digest, turn_id

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Answers:
    """What contestants said, and what is known of the examples."""

    completions: dict[str, list[Completion]] = field(default_factory=dict)
    categories: dict[str, str] = field(default_factory=dict)

    def add(self, completion: Completion, category: object = None) -> None:
        self.completions.setdefault(completion.contestant, []).append(completion)
        if isinstance(category, str):
            self.categories[completion.example_id] = category


@dataclass(frozen=True)
class Question:
    """A question of MT-bench or Arena-Hard: its turns, each with a reference where one is known."""

    turns: tuple[str, ...]
    references: tuple[str | None, ...]
    category: str | None


def read_answers(files: Iterable[Path], *, questions: Path | None = None) -> Answers:
    """The answers in some files (JSONL, or a JSON list), of any of the formats above.

    Args:
        files: of answers.
        questions: MT-bench's or Arena-Hard's question file, for answers that do not repeat their question.

    Raises:
        DataError: a file is missing or a row fits no format; the message has file and line.
    """
    answers = Answers()
    asked = read_questions(questions) if questions else {}
    for file in files:
        for place, row in rows(file):
            try:
                _format_of(row, place)(row, asked, answers)
            except (KeyError, IndexError, TypeError, AttributeError, ValidationError) as error:
                raise DataError(f"{place}: this row does not fit its format: {_short(error)}") from None
    return answers


def read_questions(file: Path) -> dict[str, Question]:
    """MT-bench's (`question_id, turns, category, reference`) or Arena-Hard's question file."""
    found = {}
    for place, row in rows(file):
        number = row.get("question_id", row.get("uid"))
        turns = row.get("turns") or ([row["prompt"]] if "prompt" in row else None)
        if number is None or not turns:
            raise DataError(f"{place}: a question needs question_id (or uid) and turns (or prompt)")
        texts = tuple(_text(turn) for turn in turns)
        references = (*row.get("reference", ()), *[None] * len(texts))[: len(texts)]
        found[str(number)] = Question(texts, references, row.get("category") or row.get("cluster"))
    return found


def rows(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, object) of every row of a JSONL file or of a JSON list."""
    if file.suffix == ".json":
        listed = records.read_json(file)
        if not isinstance(listed, list):
            raise DataError(f"{file}: expected a list of objects")
        places: Iterable[tuple[str, Any]] = ((f"{file}: row {n}", row) for n, row in enumerate(listed, 1))
    else:
        places = records.read_rows(file, ours=False)
    for place, row in places:
        if not isinstance(row, dict):
            raise DataError(f"{place}: expected an object")
        yield place, row


def _format_of(row: Row, place: str) -> Callable[[Row, Mapping[str, Question], Answers], None]:
    formats: list[tuple[set[str], Callable[[Row, Mapping[str, Question], Answers], None]]] = [
        ({"example_id", "contestant", "completion"}, _ours),
        ({"instruction", "output", "generator"}, _alpaca_eval),
        ({"choices"}, _by_turns),
        ({"uid", "model", "messages"}, _arena_hard_2),
        ({"prompt", "outputs"}, _side_by_side),
        ({"prompt", "answers"}, _side_by_side),
    ]
    for needed, reader in formats:
        if needed <= row.keys():
            return reader
    known = "; ".join(", ".join(sorted(needed)) for needed, _ in formats)
    raise DataError(f"{place}: no known format of answers has the fields {', '.join(row)}; known: {known}")


def _ours(row: Row, _asked: Mapping[str, Question], answers: Answers) -> None:
    made = Completion.model_validate(row)
    answers.add(made, made.category)


def _alpaca_eval(row: Row, _asked: Mapping[str, Question], answers: Answers) -> None:
    prompt = "\n\n".join(part for part in (row["instruction"], row.get("input")) if part)
    answers.add(_completion(digest(prompt), row["generator"], [prompt], row["output"]), row.get("dataset"))


def _side_by_side(row: Row, _asked: Mapping[str, Question], answers: Answers) -> None:
    number = str(row.get("id", row.get("uid", digest(row["prompt"]))))
    for contestant, text in row.get("outputs", row.get("answers", {})).items():
        said = _completion(number, contestant, [row["prompt"]], text, reference=row.get("reference"))
        answers.add(said, row.get("category"))


def _arena_hard_2(row: Row, _asked: Mapping[str, Question], answers: Answers) -> None:
    texts = [_text(message["content"]) for message in row["messages"]]
    answers.add(_completion(str(row["uid"]), row["model"], texts[:-1], texts[-1]), row.get("category"))


def _by_turns(row: Row, asked: Mapping[str, Question], answers: Answers) -> None:
    """One example a turn; the later ones follow on what this contestant itself said before."""
    number, contestant = str(row.get("question_id", row.get("uid"))), row.get("model_id") or row["model"]
    question = asked.get(number)
    if question is None:
        raise DataError(f"question {number} is not known; give the questions' file (--questions)")
    said = [_text(turn) for turn in row["choices"][0]["turns"]]
    talk: list[str] = []
    for turn, (text, answer) in enumerate(zip(question.turns, said, strict=False)):
        talk.append(text)
        example, reference = turn_id(number, turn + 1), question.references[turn]
        answers.add(_completion(example, contestant, talk, answer, reference=reference), question.category)
        talk.append(answer)


def _completion(
    example: str, contestant: str, talk: Sequence[str], answer: str, *, reference: str | None = None
) -> Completion:
    """`talk`: the turns before the answer, the user's first."""
    turns = [Message(role="assistant" if n % 2 else "user", content=text) for n, text in enumerate(talk)]
    return Completion(
        example_id=example,
        contestant=contestant,
        messages=tuple(turns),
        completion=answer,
        reference=reference,
        finish="stop",
        tokens=0,
    )


def _text(turn: Any) -> str:
    """A turn that is a text, or an object with `content` or `answer`."""
    if isinstance(turn, dict):
        return _text(turn["content"] if "content" in turn else turn["answer"])
    return str(turn)


def _short(error: Exception) -> str:
    return f"{type(error).__name__} {error}".splitlines()[0]
