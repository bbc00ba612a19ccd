"""Read completions of other tools, recognised by the columns of a file's first row.

- ours: `example_id`, `contestant`, `messages`, `completion`
- AlpacaEval outputs: `instruction`, `output`, perhaps `generator`
- MT-bench and Arena-Hard answers: `question_id` or `uid`, `model_id` or `model`, `choices` (their questions
  lie in a file of their own)
- Arena-Hard 2 answers: `uid`, `model`, `messages`
- lm-eval sample logs: `doc_id`, `arguments`, `resps`, `target`
- prompts with outputs: `prompt`, `outputs` or `answers` (contestant -> text)
- plain rows: a prompt, `messages` or `example_id`, a completion, and perhaps `id`, `reference`, `category`

Examples get the same id whoever answered them, so that contestants from different files can be compared. A
question that is there twice counts once, with the first answer.
"""

import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from toolkit import io
from toolkit.data.formats import RowError
from toolkit.data.readers import raw_rows, references
from toolkit.errors import DataError, first_line
from toolkit.recipe import DataSource
from toolkit.types import Completion, Example, Message, digest, turn_id

logger = logging.getLogger(__name__)

Columns = dict[str, Any]

COMPLETION_KEYS = (
    *("completion", "output", "response", "answer", "prediction"),
    *("model_output", "model_answer", "generation", "generated", "generated_text", "predicted_answer"),
)
PROMPT_KEYS = ("prompt", "instruction", "question", "input")
REFERENCE_KEYS = ("reference", "target", "ground_truth", "label")
ID_KEYS = ("id", "example_id")
"""Column names of the completion, the prompt, the reference and the example's id in plain rows."""

UNFIT = re.compile(r"[^\w.@+ -]")  # what no name of a file should hold


@dataclass(frozen=True)
class Question:
    """A question of MT-bench or Arena-Hard: its turns, each with a reference where one is known."""

    turns: tuple[str, ...]
    references: tuple[str | None, ...]
    category: str | None


Questions = Mapping[str, Question]


def read_questions(file: Path) -> dict[str, Question]:
    """MT-bench's or Arena-Hard's question file, by id; a `DataError` names a row without id or turns."""
    found = {}
    for place, row in raw_rows(DataSource(source=str(file))):
        number = row.get("question_id", row.get("uid"))
        turns = row.get("turns") or ([row["prompt"]] if "prompt" in row else None)
        if number is None or not turns:
            raise DataError(f"{place}: a question needs question_id (or uid) and turns (or prompt)")
        texts = tuple(_turn_text(turn) for turn in turns)
        known = (*row.get("reference", ()), *[None] * len(texts))[: len(texts)]
        found[str(number)] = Question(texts, known, row.get("category") or row.get("cluster"))
    return found


def read_completions(
    path: Path, *, contestant: str | None = None, questions: Questions = MappingProxyType({})
) -> list[Completion]:
    """Read the completions in a file, in our format or another tool's, detected by its columns.

    Args:
        path: `.jsonl`, `.json` or `.csv`.
        contestant: who answered; left out, what the file says, else its name.
        questions: by id, of files of answers that do not repeat their question; without them the
            conversations of these are empty.

    Raises:
        DataError: a row fits no format; the message names file and line.
    """
    rows = list(raw_rows(DataSource(source=str(path))))
    if not rows:
        raise DataError(f"{path}: no rows")
    read = _reader(*rows[0])
    found: dict[tuple[str, str], Completion] = {}
    twice = 0
    for place, row in rows:
        try:
            made = read(row, contestant or path.stem, questions)
        except RowError as error:
            raise DataError(f"{place}: {error}") from None
        except ValidationError as error:
            raise DataError(f"{place}: {io.first_problem(error, 'the row')}") from None
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            reason = f"{type(error).__name__}: {first_line(error)}"
            raise DataError(f"{place}: not as the file's first row ({reason})") from None
        for each in made:
            named = each.model_copy(update={"contestant": contestant}) if contestant else each
            first = found.setdefault((named.example_id, named.contestant), named)
            if first.messages != named.messages:
                where = f"{place}: {named.example_id}"
                raise DataError(f"{where} is another question in an earlier row; give each its own id")
            twice += first.completion != named.completion
    if twice:
        logger.warning("%s: %d more answers to questions that are there; the first counts", path, twice)
    if not found:
        raise DataError(f"{path}: no answer in its {len(rows)} rows")
    return list(found.values())


def read_answer_files(files: Iterable[Path], *, questions: Path | None = None) -> dict[str, list[Completion]]:
    """Contestant -> its completions in some files, which answer the same questions under the same ids.

    Names become file names: other characters than letters, digits and `.@+_-` become `-`. Answers that do not
    repeat their question need the file of `questions`. Errors as of `read_completions` and `align`.
    """
    known = read_questions(questions) if questions else {}
    found: dict[str, list[Completion]] = {}
    places: dict[str, Path] = {}
    rows = [(file, each) for file in files for each in read_completions(file, questions=known)]
    messages = {each.example_id: each.messages for _, each in rows if each.messages}
    for file, row in rows:
        each = row.model_copy(update={"messages": row.messages or messages.get(row.example_id, ())})
        if not each.messages:
            unknown = f"question {each.example_id} is not known"
            raise DataError(f"{file}: {unknown}; give the questions' file (--questions)")
        name = UNFIT.sub("-", each.contestant)
        found.setdefault(name, []).append(each.model_copy(update={"contestant": name}))
        places.setdefault(name, file)
    return align(found, places)


def align(
    answers: Mapping[str, Sequence[Completion]], places: Mapping[str, Path]
) -> dict[str, list[Completion]]:
    """Give answers to the same question the same id: that of the contestant before, where ids differ.

    Raises:
        DataError: a contestant answers an example twice, an id is another question elsewhere, or under half
            of the answers that two contestants could share are to the same questions.
    """
    by_id: dict[str, Completion] = {}
    by_messages: dict[tuple[Message, ...], str] = {}
    aligned: dict[str, list[Completion]] = {}
    for name, own in answers.items():
        made: dict[str, Completion] = {}
        for each in own:
            twin = by_id.get(each.example_id)
            example = each.example_id if twin else by_messages.get(each.messages, each.example_id)
            if twin and each.messages and twin.messages and each.messages[-1] != twin.messages[-1]:
                other = places[twin.contestant]
                raise DataError(f"{places[name]}: example {example} is another question than in {other}")
            if example in made:
                raise DataError(f"{places[name]}: {name} answers example {example} twice; rename one of them")
            made[example] = each.model_copy(update={"example_id": example})
        shared = sum(example in by_id for example in made)
        if by_id and 2 * shared < min(len(made), len(by_id)):
            raise DataError(
                f"{places[name]}: {shared} of its {len(made)} answers are to questions that the other files "
                "answer, by example_id or identical messages; at least half must be"
            )
        if by_id and shared < len(made):
            alone = len(made) - shared
            logger.warning("%s: %d of %d answers have no counterpart", places[name], alone, len(made))
        for example, each in made.items():
            by_id.setdefault(example, each)
            by_messages.setdefault(each.messages, example)
        aligned[name] = list(made.values())
    return aligned


EXAMPLE_FIELDS = ("messages", "reference", "references", "category")  # what a completion has of its example


def match_answers(path: Path, examples: Sequence[Example], contestant: str) -> list[Completion]:
    """One contestant's answers in a file, matched to examples by id, else by identical messages.

    Raises:
        DataError: the file is not readable, holds several contestants of other names, or answers less than
            half of the examples; the message has the counts.
    """
    found = read_completions(path)
    names = dict.fromkeys(each.contestant for each in found)
    if contestant in names:
        found = [each for each in found if each.contestant == contestant]
    elif len(names) > 1:
        raise DataError(f"{path}: answers of {', '.join(names)}; name the contestant as one of them")
    by_id = {each.example_id: each for each in found}
    by_messages = {each.messages: each for each in found if each.messages}
    matched = []
    for example in examples:
        answer = by_id.get(example.id) or by_messages.get(example.messages)
        if answer and answer.messages and answer.messages[-1] != example.messages[-1]:
            raise DataError(f"{path}: example {example.id} is another question than the recipe's")
        if answer:
            update: dict[str, Any] = {"example_id": example.id, "contestant": contestant}
            update |= {name: getattr(example, name) for name in EXAMPLE_FIELDS}
            matched.append(answer.model_copy(update=update))
    counts = f"{path}: answers {len(matched)} of {len(examples)} examples (by example_id, or same messages)"
    if 2 * len(matched) < len(examples) or not matched:
        raise DataError(f"{counts}; at least half must be there")
    if len(matched) < len(examples):
        logger.warning("%s", counts)
    return matched


def read_references(files: Sequence[Path]) -> dict[str, list[str]]:
    """Example id -> its reference answers, one of each file that has one.

    Of each row counts its reference, else its answer (MT-bench's `reference_answer/gpt-4.jsonl`).
    """
    known: dict[str, list[str]] = {}
    for file in files:
        for made in read_completions(file):
            own = [made.completion] if made.reference is None else [made.reference, *made.references]
            known.setdefault(made.example_id, []).extend(own)
    return known


Reader = Callable[[Columns, str, Questions], list[Completion]]
"""(row, name of the contestant where the row gives none, questions by id) -> completions."""


def _reader(place: str, row: Columns) -> Reader:
    reader = next((reader for columns, reader in READERS if columns <= row.keys()), _plain)
    example = _first(row, (*PROMPT_KEYS, "messages", *ID_KEYS))
    if reader is _plain and None in (_first(row, COMPLETION_KEYS), example):
        raise DataError(
            f"{place}: columns {', '.join(sorted(row))} are of no known format; known: ours, AlpacaEval "
            "outputs, MT-bench and Arena-Hard answers, lm-eval samples, a prompt with `outputs`, or rows "
            f"with one of {', '.join(PROMPT_KEYS)}, messages, id and one of {', '.join(COMPLETION_KEYS)}"
        )
    return reader


def _check_plain(row: Columns) -> None:
    """Refuse rows with two candidate columns for the question, the completion or the reference."""
    kinds = (COMPLETION_KEYS, REFERENCE_KEYS, PROMPT_KEYS)
    completion, known, prompts = ([name for name in names if row.get(name) is not None] for names in kinds)
    sure = len(completion) <= 1 or ("completion" in completion and "reference" in known)
    if not sure:
        mend = "rename the model's `completion`, and the known right answer `reference`"
        raise RowError(f"{' and '.join(completion)} could each be the model's answer; {mend}")
    if "prompt" not in row and (len(prompts) > 1 and set(prompts) != {"instruction", "input"}):
        raise RowError(f"{' and '.join(prompts)} could each be the question; rename it `prompt`")
    if len(known) > 1 and "reference" not in known:
        raise RowError(f"{' and '.join(known)} could each be the reference; rename it `reference`")


def _alpaca_eval(row: Columns, name: str, questions: Questions) -> list[Completion]:
    _check_plain(row)
    contestant, category = str(row.get("generator") or name), _category(row.get("dataset"))
    return [_completion(contestant, _prompt(row), row["output"], _references(row), category=category)]


def _by_turns(row: Columns, name: str, questions: Questions) -> list[Completion]:
    """One completion a turn; the later ones follow on what this contestant wrote before."""
    number, contestant = str(row.get("question_id", row.get("uid"))), row.get("model_id") or row["model"]
    question = questions.get(number)
    made: list[Completion] = []
    conversation: list[Message] = []
    for turn, answer in enumerate(_turn_text(each) for each in row["choices"][0]["turns"]):
        example: dict[str, Any] = {"example_id": turn_id(number, turn + 1)}
        if question and turn == len(question.turns):
            break
        if question:
            conversation.append(Message(role="user", content=question.turns[turn]))
            example |= {"reference": question.references[turn], "category": question.category}
        made.append(_completion(str(contestant), "", answer, **example, messages=tuple(conversation)))
        if question:
            conversation.append(Message(role="assistant", content=made[-1].completion))
    return made


def _arena_hard_2(row: Columns, name: str, questions: Questions) -> list[Completion]:
    *conversation, answer = (Message(role=each["role"], content=_turn_text(each)) for each in row["messages"])
    example = {"example_id": str(row["uid"]), "category": _category(row.get("category"))}
    return [_completion(str(row["model"]), "", answer.content, messages=tuple(conversation), **example)]


def _side_by_side(row: Columns, name: str, questions: Questions) -> list[Completion]:
    example = {"reference": _references(row), "category": _category(row.get("category"))}
    number = row.get("id", row.get("uid"))
    example |= {} if number is None else {"example_id": str(number)}
    answers = (row.get("outputs") or row["answers"]).items()
    return [_completion(contestant, row["prompt"], text, **example) for contestant, text in answers]


def _lm_eval(row: Columns, name: str, questions: Questions) -> list[Completion]:
    """The first response of a generated sample; a sample logged once per filter counts once."""
    prompt, completion, target = row["arguments"], row["resps"][0], row["target"]
    prompt = prompt["gen_args_0"]["arg_0"] if isinstance(prompt, Mapping) else prompt[0][0]
    text = completion[0] if isinstance(completion, list) else completion
    if not isinstance(text, str):
        raise TypeError("only samples of generating tasks hold completions")
    target = target if isinstance(target, list) else str(target)
    return [_completion(name, str(prompt), text, target, example_id=str(row["doc_id"]))]


def _plain(row: Columns, name: str, questions: Questions) -> list[Completion]:
    _check_plain(row)
    completion, prompt, own = _first(row, COMPLETION_KEYS), _prompt(row), _first(row, ID_KEYS)
    turns = row.get("messages") or ()
    example: dict[str, Any] = {"category": _category(row.get("category"))}
    if completion is None or (prompt is None and not turns and own is None):
        raise TypeError(f"the {'answer' if completion is None else 'question'} is missing")
    prompt, conversation = ("", turns) if prompt is None else (prompt, None)
    if not isinstance(prompt, (str, int, float)) or not isinstance(completion, (str, int, float)):
        raise RowError("the question and the answer must be texts")
    if conversation is not None:
        example["messages"] = tuple(
            Message(role=turn["role"], content=_turn_text(turn)) for turn in conversation
        )
        example["example_id"] = digest(json.dumps(conversation, sort_keys=True))
    example |= {} if own is None else {"example_id": str(own)}
    contestant = str(row.get("model") or row.get("contestant") or name)
    return [_completion(contestant, str(prompt), str(completion), _references(row), **example)]


def _ours(row: Columns, _name: str, _questions: Questions) -> list[Completion]:
    if isinstance(row.get("reference"), list):
        known = [*references(row["reference"], "reference"), *row.get("references", ())]
        row = row | {"reference": known[0] if known else None, "references": known[1:]}
    return [Completion.model_validate(row)]


READERS: list[tuple[set[str], Reader]] = [
    ({"example_id", "completion", "contestant", "finish"}, _ours),
    ({"question_id", "choices"}, _by_turns),
    ({"uid", "choices"}, _by_turns),
    ({"uid", "model", "messages"}, _arena_hard_2),
    ({"doc_id", "resps", "target", "arguments"}, _lm_eval),
    ({"prompt", "outputs"}, _side_by_side),
    ({"prompt", "answers"}, _side_by_side),
    ({"instruction", "output"}, _alpaca_eval),
]
"""Columns that tell a format -> how to read its rows."""


def _completion(contestant: str, prompt: str, text: str, reference: Any = None, **example: Any) -> Completion:
    """A completion of a prompt of one turn; `example` names what is known of it besides."""
    known = [""] if reference == "" else references(reference, "reference")
    made = {
        "example_id": digest(prompt),
        "messages": (Message(role="user", content=prompt),),
        "reference": known[0] if known else None,
        "references": tuple(known[1:]),
    }
    answer = {"contestant": contestant, "completion": text, "finish": "stop", "tokens": 0}
    return Completion(**made | answer | example)


def _turn_text(turn: Any) -> str:
    """A turn that is a text, or an object with `content` or `answer`."""
    if isinstance(turn, Mapping):
        return _turn_text(turn["content"] if "content" in turn else turn["answer"])
    return str(turn)


def _category(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _prompt(row: Columns) -> Any:
    """The question; Alpaca's `input` follows on its `instruction`."""
    prompt, more = _first(row, PROMPT_KEYS), row.get("input")
    if isinstance(more, str) and more.strip() and prompt == row.get("instruction"):
        return f"{prompt}\n\n{more}"
    return prompt


def _references(row: Columns) -> Any:
    own, more = _first(row, REFERENCE_KEYS), references(row.get("references"), "references")
    return [*references(own, "reference"), *more] if more else own


def _first(row: Columns, names: tuple[str, ...]) -> Any:
    return next((row[name] for name in names if row.get(name) is not None), None)
