"""Read completions of other tools: AlpacaEval outputs, MT-bench answers, lm-eval sample logs, plain rows.

Examples get the same id whoever answered them, so that contestants from different files can be compared. A
question that is there twice counts once, with the first answer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from toolkit.data.formats import RowError
from toolkit.data.readers import RawRow, raw_rows, references
from toolkit.errors import DataError
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
"""Column names of the completion, the prompt and the reference in plain rows."""


def read_completions(path: Path, *, contestant: str | None = None) -> list[Completion]:
    """Read the completions in a file, in our format or another tool's, detected by its columns.

    Args:
        path: `.jsonl`, `.json` or `.csv`.
        contestant: who answered; left out, what the file says, else its name.

    Raises:
        DataError: a row fits no format; the message names file and line.
    """
    rows = list(raw_rows(DataSource(source=str(path))))
    if not rows:
        raise DataError(f"{path}: no rows")
    read = _reader(rows[0])
    found: dict[tuple[str, str], Completion] = {}
    for place, row in rows:
        try:
            made = read(row, contestant or path.stem)
        except RowError as error:
            raise DataError(f"{place}: {error}") from None
        except (KeyError, IndexError, TypeError, AttributeError, ValidationError) as error:
            reason = f"{type(error).__name__}: {str(error).splitlines()[0]}"
            raise DataError(f"{place}: not as the file's first row ({reason})") from None
        for completion in made:
            found.setdefault((completion.example_id, completion.contestant), completion)
    if not found:
        raise DataError(f"{path}: no answer in its {len(rows)} rows")
    if contestant is None:
        return list(found.values())
    return [made.model_copy(update={"contestant": contestant}) for made in found.values()]


EXAMPLE_FIELDS = ("messages", "reference", "references", "category")
"""What a completion has of its example."""


def match_answers(path: Path, examples: Sequence[Example], contestant: str) -> list[Completion]:
    """One contestant's answers in a file, matched to examples by id, else by identical messages.

    Args:
        path: in any format of `read_completions`; of several contestants in it, the one of that name counts.
        examples: what was asked.
        contestant: its name.

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


Reader = Callable[[Columns, str], list[Completion]]
"""(row, name of the contestant where the row gives none) -> completions."""


def _reader(first: RawRow) -> Reader:
    place, row = first
    for columns, reader in READERS:
        if columns <= row.keys():
            if reader is _alpaca_eval:
                _check_plain(place, row)
            return reader
    if _first(row, COMPLETION_KEYS) is not None and _first(row, PROMPT_KEYS) is not None:
        _check_plain(place, row)
        return _plain
    raise DataError(
        f"{place}: columns {', '.join(sorted(row))} are of no known format; known: ours, AlpacaEval "
        f"outputs, MT-bench answers, lm-eval samples, or rows with one of {', '.join(PROMPT_KEYS)} and "
        f"one of {', '.join(COMPLETION_KEYS)}"
    )


def _check_plain(place: str, row: Columns) -> None:
    """Refuse rows with two candidate columns for the completion or the reference."""
    completion, known = (
        [name for name in names if row.get(name) is not None] for names in (COMPLETION_KEYS, REFERENCE_KEYS)
    )
    sure = len(completion) == 1 or ("completion" in completion and "reference" in known)
    if not sure:
        raise DataError(
            f"{place}: {' and '.join(completion)} could each be the model's answer; rename the "
            "model's `completion`, and the known right answer `reference`"
        )
    if len(known) > 1 and "reference" not in known:
        raise DataError(f"{place}: {' and '.join(known)} could each be the reference; rename it `reference`")


def _ours(row: Columns, name: str) -> list[Completion]:
    return [Completion.model_validate(row)]


def _alpaca_eval(row: Columns, name: str) -> list[Completion]:
    prompt = "\n\n".join(part for part in (row["instruction"], row.get("input")) if part)
    return [
        _completion(prompt, row["output"], str(row.get("generator") or name), _first(row, REFERENCE_KEYS))
    ]


def _mt_bench(row: Columns, name: str) -> list[Completion]:
    """One completion a turn; the questions are in another file, so the conversation is left empty."""
    turns = row["choices"][0]["turns"]
    return [
        Completion(
            example_id=turn_id(str(row["question_id"]), turn),
            contestant=str(row["model_id"]),
            messages=(),
            completion=completion,
            finish="stop",
            tokens=0,
        )
        for turn, completion in enumerate(turns, start=1)
    ]


def _lm_eval(row: Columns, name: str) -> list[Completion]:
    """The first response of a generated sample; a sample logged once per filter counts once."""
    prompt, completion = row["arguments"], row["resps"][0]
    prompt = prompt["gen_args_0"]["arg_0"] if isinstance(prompt, Mapping) else prompt[0][0]
    text = completion[0] if isinstance(completion, list) else completion
    if not isinstance(text, str):
        raise TypeError("only samples of generating tasks hold completions")
    target = row["target"]
    made = _completion(str(prompt), text, name, target if isinstance(target, list) else str(target))
    return [made.model_copy(update={"example_id": str(row["doc_id"])})]


def _plain(row: Columns, name: str) -> list[Completion]:
    completion, prompt, known = (
        _first(row, COMPLETION_KEYS),
        _first(row, PROMPT_KEYS),
        _first(row, REFERENCE_KEYS),
    )
    if prompt is None or completion is None:
        raise TypeError(f"the {'question' if prompt is None else 'answer'} is missing")
    if not isinstance(prompt, (str, int, float)) or not isinstance(completion, (str, int, float)):
        raise RowError("the question and the answer must be texts")
    made = _completion(
        str(prompt), str(completion), str(row.get("model") or row.get("contestant") or name), known
    )
    own = _first(row, ("id", "example_id"))
    return [made if own is None else made.model_copy(update={"example_id": str(own)})]


READERS: list[tuple[set[str], Reader]] = [
    ({"example_id", "completion", "contestant", "finish"}, _ours),
    ({"question_id", "choices", "model_id"}, _mt_bench),
    ({"doc_id", "resps", "target", "arguments"}, _lm_eval),
    ({"instruction", "output"}, _alpaca_eval),
]
"""Columns that tell a format -> how to read its rows."""


def _completion(prompt: str, completion: str, name: str, reference: Any) -> Completion:
    known = [""] if reference == "" else references(reference, "reference")
    return Completion(
        example_id=digest(prompt),
        contestant=name,
        messages=(Message(role="user", content=prompt),),
        completion=completion,
        reference=known[0] if known else None,
        references=tuple(known[1:]),
        finish="stop",
        tokens=0,
    )


def _first(row: Columns, names: tuple[str, ...]) -> Any:
    return next((row[name] for name in names if row.get(name) is not None), None)
