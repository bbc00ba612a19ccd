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

from toolkit import io
from toolkit.errors import DataError
from toolkit.judge.aggregation import Preference, pair_orders
from toolkit.types import (
    WINNERS,
    Battle,
    Completion,
    Message,
    Outcome,
    Verdict,
    Vote,
    digest,
    question_and_turn,
    turn_id,
)

Row = Mapping[str, Any]


@dataclass(frozen=True)
class AnswerSet:
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


def read_answers(files: Iterable[Path], *, questions: Path | None = None) -> AnswerSet:
    """The answers in some files (JSONL, or a JSON list), of any of the formats above.

    Args:
        files: of answers.
        questions: MT-bench's or Arena-Hard's question file, for answers that do not repeat their question.

    Raises:
        DataError: a file is missing or a row fits no format; the message has file and line.
    """
    answers = AnswerSet()
    asked = read_questions(questions) if questions else {}
    for file in files:
        for place, row in rows(file):
            try:
                _format_of(row, place)(row, asked, answers)
            except DataError as error:
                told = str(error)
                raise DataError(told if told.startswith(place) else f"{place}: {told}") from None
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
        listed = io.read_json(file)
        if not isinstance(listed, list):
            raise DataError(f"{file}: expected a list of objects")
        places: Iterable[tuple[str, Any]] = ((f"{file}: row {n}", row) for n, row in enumerate(listed, 1))
    else:
        places = io.read_rows(file, ours=False)
    for place, row in places:
        if not isinstance(row, dict):
            raise DataError(f"{place}: expected an object")
        yield place, row


def _format_of(row: Row, place: str) -> Callable[[Row, Mapping[str, Question], AnswerSet], None]:
    formats: list[tuple[set[str], Callable[[Row, Mapping[str, Question], AnswerSet], None]]] = [
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


def _ours(row: Row, _asked: Mapping[str, Question], answers: AnswerSet) -> None:
    made = Completion.model_validate(row)
    answers.add(made, made.category)


def _alpaca_eval(row: Row, _asked: Mapping[str, Question], answers: AnswerSet) -> None:
    prompt = "\n\n".join(part for part in (row["instruction"], row.get("input")) if part)
    answers.add(_completion(digest(prompt), row["generator"], [prompt], row["output"]), row.get("dataset"))


def _side_by_side(row: Row, _asked: Mapping[str, Question], answers: AnswerSet) -> None:
    number = str(row.get("id", row.get("uid", digest(row["prompt"]))))
    for contestant, text in row.get("outputs", row.get("answers", {})).items():
        said = _completion(number, contestant, [row["prompt"]], text, reference=row.get("reference"))
        answers.add(said, row.get("category"))


def _arena_hard_2(row: Row, _asked: Mapping[str, Question], answers: AnswerSet) -> None:
    texts = [_text(message["content"]) for message in row["messages"]]
    answers.add(_completion(str(row["uid"]), row["model"], texts[:-1], texts[-1]), row.get("category"))


def _by_turns(row: Row, asked: Mapping[str, Question], answers: AnswerSet) -> None:
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


MT_BENCH: dict[Outcome | None, str] = {"a": "model_1", "b": "model_2", "tie": "tie", None: "error"}
"""Outcome -> the winner in MT-bench's judgment files."""


def battle_log(votes: Iterable[Vote]) -> list[dict[str, Any]]:
    """Votes as rows of a battle log, which FastChat's rating scripts and arena-rank read."""
    return [
        {
            "question_id": question_and_turn(vote.example_id)[0],
            "model_a": vote.model_a,
            "model_b": vote.model_b,
            "winner": WINNERS[vote.outcome],
            "judge": vote.voter,
            "turn": question_and_turn(vote.example_id)[1],
            "anony": True,
            "language": "",
            "category": vote.category or "",
            "tstamp": float(place),
        }
        for place, vote in enumerate(votes)
    ]


def mt_bench_judgments(battles: Sequence[Battle], verdicts: Iterable[Verdict]) -> list[dict[str, Any]]:
    """Verdicts as rows of MT-bench's `*_pair.jsonl`: one a battle and judge, both orders in it."""
    said: dict[str, list[tuple[str, str, Verdict, Verdict]]] = {}
    for (battle_id, judge, prompt), (ab, ba) in pair_orders(verdicts).items():
        said.setdefault(battle_id, []).append((judge, prompt, ab, ba))
    return [
        {
            "question_id": question_and_turn(battle.example_id)[0],
            "model_1": battle.model_a,
            "model_2": battle.model_b,
            "g1_winner": MT_BENCH[ab.outcome],
            "g2_winner": MT_BENCH[ba.outcome],
            "judge": [judge, prompt],
            "g1_judgment": ab.reason,
            "g2_judgment": ba.reason,
            "turn": question_and_turn(battle.example_id)[1],
        }
        for battle in battles
        for judge, prompt, ab, ba in said.get(battle.id, ())
    ]


MT_BENCH_PAIR = {"model_1", "model_2", "g1_winner", "g2_winner"}
ANNOTATION = {"generator_1", "generator_2", "preference"}
"""Fields that tell MT-bench's pair judgments and AlpacaEval's annotations."""


def has_fields(file: Path, fields: set[str]) -> bool:
    """Whether the first row of a file of rows has these fields."""
    if file.suffix not in {".json", ".jsonl"} or not file.is_file():
        return False
    _, first = next(rows(file), ("", {}))
    return fields <= first.keys()


def read_judgments(file: Path) -> list[Vote]:
    """Votes from MT-bench's pair judgments, or from AlpacaEval's annotations.

    MT-bench: two games that agree make a vote, two that do not a tie, an `error` none. AlpacaEval: the
    preference, from 1 (`generator_1`) to 2 (`generator_2`), decides; 1.5 and 0 are a tie, `null` no vote.

    Raises:
        DataError: a row is of neither format.
    """
    votes = []
    for place, row in rows(file):
        if row.keys() >= MT_BENCH_PAIR:
            votes.append(_mt_bench_vote(row, place))
        elif row.keys() >= ANNOTATION:
            votes.append(_alpaca_eval_vote(row, place))
        else:
            raise DataError(f"{place}: neither a judgment of MT-bench nor an annotation of AlpacaEval")
    return [vote for vote in votes if vote is not None]


def read_preferences(file: Path) -> list[Preference]:
    """AlpacaEval's annotations as preferences for `generator_2` over `generator_1`, the baseline."""
    found = []
    for place, row in rows(file):
        if not {*ANNOTATION, "output_1", "output_2"} <= row.keys():
            raise DataError(f"{place}: no annotation of AlpacaEval with both outputs")
        preference = _preference(row, place)
        if preference is not None:
            found.append(
                Preference(
                    contestant=row["generator_2"],
                    against=row["generator_1"],
                    value=preference - 1,
                    length=len(row["output_2"]),
                    length_against=len(row["output_1"]),
                )
            )
    return found


def _mt_bench_vote(row: Mapping[str, Any], place: str) -> Vote | None:
    meaning = {text: outcome for outcome, text in MT_BENCH.items()}
    games = [row["g1_winner"], row["g2_winner"]]
    if not set(games) <= meaning.keys():
        raise DataError(f"{place}: winners must be one of {', '.join(meaning)}")
    first, second = (meaning[game] for game in games)
    if first is None or second is None:
        return None
    judge, example = row["judge"], turn_id(str(row["question_id"]), int(row.get("turn") or 1))
    return Vote(
        battle_id=digest(example, row["model_1"], row["model_2"]),
        example_id=example,
        model_a=row["model_1"],
        model_b=row["model_2"],
        outcome=first if first == second else "tie",
        voter=str(judge[0] if isinstance(judge, list) else judge),
        kind="judge",
    )


def _preference(row: Mapping[str, Any], place: str) -> float | None:
    """AlpacaEval's preference from 1 to 2, 1.5 for a tie; `None`: no verdict."""
    value = row["preference"]
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not (value == 0 or 1 <= value <= 2):  # noqa: PLR2004
        raise DataError(f"{place}: preference is {value!r}; it is from 1 to 2, 0 for a tie, or null")
    return float(value) or 1.5


def _alpaca_eval_vote(row: Mapping[str, Any], place: str) -> Vote | None:
    preference = _preference(row, place)
    if preference is None:
        return None
    outcome: Outcome = "tie" if preference == 1.5 else "a" if preference < 1.5 else "b"  # noqa: PLR2004
    return Vote(
        battle_id=digest(row["instruction"], row["generator_1"], row["generator_2"]),
        example_id=digest(row["instruction"]),
        model_a=row["generator_1"],
        model_b=row["generator_2"],
        outcome=outcome,
        voter=str(row.get("annotator", "")),
        kind="judge",
        category=row.get("dataset"),
    )
